"""Export both models' answers for another tool, in its own format.

    tunediff export --format lm-eval --out samples
    tunediff export --format every-eval-ever --out evaluations

lm-eval: samples of lm-evaluation-harness, one file per model; `tunediff diff` of the two gives the figures of the
report. every-eval-ever: JSON of https://github.com/evaleval/every_eval_ever, schema 0.3.0, and one line per case. Reads
the outputs of the predict and eval stages for the test set --set; no model is needed. Writes the folder --out
atomically.
"""

import argparse
from pathlib import Path

from tunediff.commands.project import add_set_argument, read_set
from tunediff.commands.runs import stage_path
from tunediff.config.settings import ReportSettings, read_settings
from tunediff.data.cases import MODELS, RIGHT, read_cases, read_predictions
from tunediff.inputs.settings import HEADLINE
from tunediff.report.exports import FORMS
from tunediff.report.exports.set_answers import SetAnswers
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import replacing
from tunediff.stats.intervals import wilson


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `tunediff export`."""
    parser.add_argument("--format", required=True, choices=list(FORMS), help="the format")
    parser.add_argument("--out", type=Path, required=True, help="a new folder to write to")
    add_set_argument(parser)


def main(args: argparse.Namespace) -> None:
    """Run `tunediff export`.

    Raises:
        TunediffError: an argument is invalid, an output of the pipeline is missing, or the format cannot express an
            answer.
    """
    if args.out.exists():
        raise TunediffError(f"--out: found {args.out}, which exists; expected the name of a new folder")
    answers = [answers_of(model, args.set) for model in MODELS]
    with replacing(args.out) as folder:
        folder.mkdir()
        written = [path.relative_to(folder) for one in answers for path in FORMS[args.format](folder, one)]
    for path in written:
        print(f"written: {args.out / path}")


def answers_of(model: str, set_name: str = HEADLINE) -> SetAnswers:
    """Return the answers of a model to a test set in the last run.

    Args:
        model: base or tuned.
        set_name: the test set.

    Raises:
        TunediffError: there is no such test set, a file is missing, or predictions and cases are of different runs.
    """
    settings, task = read_set(model, set_name)
    case_set = settings.sets[set_name]
    path = stage_path(f"eval_{model}", "predictions") / f"{set_name}.parquet"
    cases = read_cases(
        stage_path(f"predict_{model}", "test-sets") / f"{set_name}.jsonl", case_set.inputs, case_set.labels
    )
    predictions, _ = read_predictions(path)
    if predictions["case_id"].tolist() != [case.case_id for case in cases]:
        raise TunediffError(f"{path}: its cases differ from those of the test set, expected the same: run dvc repro")
    about = read_settings(stage_path("report", "settings"), ReportSettings)
    source = about.tuned if model == "tuned" else about.model
    # A path of this machine does not identify a model elsewhere.
    model_id = source.id if source.id and source.source == "hub" else f"local/{Path(source.id or model).name}"
    right, n = int((predictions["outcome"] == RIGHT).sum()), len(cases)
    low, high = wilson(right, n, about.diff.confidence)
    figures = {"accuracy": right / n, "accuracy_low": low, "accuracy_high": high}
    hub = about.data.hub.id if set_name == HEADLINE and about.data.hub is not None else None
    return SetAnswers(
        model=model,
        model_id=model_id,
        set_name=set_name,
        dataset=hub or f"{about.data.source} {set_name}",
        hub_dataset=hub,
        case_set=case_set,
        cases=cases,
        predictions=predictions,
        figures=figures | {stem: float(predictions[stem].mean()) for stem in task.scores},
        score_names=task.scores,
        confidence=about.diff.confidence,
    )
