"""Log the last run of the pipeline to MLflow: parameters, metrics, report and cases.

    tunediff log --mlflow
    tunediff log --mlflow sqlite:///mlflow.db --experiment captions --name lr5e-4

Needs the extra `mlflow`. The address is that of a tracking server or store; without one, what MLFLOW_TRACKING_URI
says, and where that says nothing, what MLflow takes by itself. Logged are params.yaml, flat; the numbers of metrics/, a
file's name before each (diff_cases.accuracy_delta), those of the summary bare; the report in both forms; the card of
the model; and data/cases.jsonl.
"""

import argparse
from pathlib import Path

from tunediff.commands.revisions import flat
from tunediff.commands.runs import pipeline_stages, stage_path, written
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import read_json
from tunediff.runtime.stage import PARAMS
from tunediff.tasks.experiment import read_experiment

# What MLflow's stores take of the value of a parameter.
LONGEST = 6000
PAGES = ("html", "markdown", "model-card")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `tunediff log`."""
    parser.add_argument("--mlflow", nargs="?", const="", required=True, metavar="ADDRESS", help="log to MLflow")
    parser.add_argument("--experiment", default="tunediff", metavar="NAME", help="of MLflow; made where there is none")
    parser.add_argument("--name", help="of the run; none: MLflow makes one up")


def main(args: argparse.Namespace) -> None:
    """Run `tunediff log`.

    Raises:
        TunediffError: MLflow is not installed or refuses, or a file of the pipeline is not there; then no run is left.
    """
    parameters, metrics = logged_parameters(), logged_metrics()
    artifacts = [stage_path("report", page) for page in PAGES] + [stage_path("diff_cases", "cases")]
    if missing := [path for path in artifacts if not path.is_file()]:
        raise TunediffError(f"{missing[0]}: there is no such file, expected what the pipeline writes: run dvc repro")
    try:
        import mlflow
        from mlflow.exceptions import MlflowException
    except ModuleNotFoundError as error:
        raise TunediffError(
            f"log: this needs {error.name}, which is not installed: pip install 'tunediff[mlflow]'"
        ) from None
    try:
        if args.mlflow:
            mlflow.set_tracking_uri(args.mlflow)
        mlflow.set_experiment(args.experiment)
        with mlflow.start_run(run_name=args.name) as run:
            mlflow.log_params(parameters)
            mlflow.log_metrics(metrics)
            for path in artifacts:
                mlflow.log_artifact(str(path))
    except MlflowException as error:
        raise TunediffError(f"log: MLflow: {' '.join(str(error).split())}") from None
    print(
        f"log: run {run.info.run_name} ({run.info.run_id}) in {args.experiment}, {mlflow.get_tracking_uri()}: "
        f"{len(parameters)} parameters, {len(metrics)} metrics, {len(artifacts)} files"
    )


def logged_parameters() -> dict[str, str]:
    """Params.yaml with its defaults filled in, flat: train.learning_rate; a value as text, cut where it is too long."""
    return {
        name: text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
        for name, value in flat(read_experiment(PARAMS).params.model_dump(mode="json")).items()
        for text in [str(value)]
    }


def logged_metrics() -> dict[str, float]:
    """The numbers of the files that stages write to metrics/: those of the summary bare, others behind their file."""
    found: dict[str, float] = {}
    summary = stage_path("diff_cases", "summary")
    for stage in pipeline_stages().values():
        for path in map(Path, written(stage)):
            if path.parts[0] != "metrics" or path.suffix != ".json" or "environment" in path.parts:
                continue
            before = "" if path == summary else ".".join(path.with_suffix("").parts[1:]) + "."
            found |= {
                f"{before}{name}": float(value)
                for name, value in flat(read_json(path)).items()
                if isinstance(value, int | float) and not isinstance(value, bool)
            }
    return found
