"""Compare the predictions of both models case by case: what changed, the parts of the gain, and the checks.

    python stages/diff_cases.py --settings data/settings/diff_cases.json --base data/predictions/base \
        --tuned data/predictions/tuned --splits data/splits --test-sets data/test_sets --notes data/notes.json \
        --prepare metrics/prepare.json --base-model metrics/base_model.json --eval-base metrics/eval_base.json \
        --eval-tuned metrics/eval_tuned.json --train-log data/train_log.csv --cases data/cases.jsonl \
        --plots data/plots --checks data/plots/checks.json --metrics metrics/diff_cases.json \
        --summary metrics/summary.json \
        --baselines metrics/baselines.json --calibration metrics/calibration.json --cost metrics/cost/diff_cases.json

The metrics of other stages are read only for the checks. Further test sets (`also`) are compared as well.
"""

from argparse import Namespace
from collections.abc import Sequence

from tunediff.compare.checks import read_run
from tunediff.compare.comparison import Comparison, compare_run
from tunediff.compare.diff_summary import diff_summary
from tunediff.compare.evidence import gather
from tunediff.compare.key_figures import summary
from tunediff.config.settings import DiffSettings, read_settings
from tunediff.config.task import TaskSection
from tunediff.data.cases import Case, environment_of, read_cases, read_predictions, read_split
from tunediff.data.notes import Notes, read_notes
from tunediff.inputs.settings import HEADLINE
from tunediff.runtime.cost import measured
from tunediff.runtime.errors import run
from tunediff.runtime.files import replacing, write_json, write_jsonl
from tunediff.runtime.stage import arguments
from tunediff.tasks import task_of

FOUND = ("prepare", "base_model", "eval_base", "eval_tuned", "train_log")


def main() -> None:
    args = arguments(
        __doc__,
        reads=("settings", "base", "tuned", "splits", "test_sets", "notes", *FOUND),
        writes=("cases", "plots", "checks", "metrics", "summary", "baselines", "calibration", "cost"),
    )
    settings = read_settings(args.settings, DiffSettings)
    task = task_of(settings.sets[HEADLINE])
    with measured(args.cost):
        train = read_split(args.splits / "train.jsonl", task.inputs, task.labels)
        compared = {name: compare(args, name, section, settings, train) for name, section in settings.sets.items()}
        evaluations = {"base": args.eval_base, "tuned": args.eval_tuned}
        acknowledged = settings.checks.acknowledge
        run_found = read_run(args.prepare, args.base_model, evaluations, args.train_log, acknowledged)
        found = gather(compared.pop(HEADLINE), run_found, compared)
        write_jsonl(args.cases, found.records)
        with replacing(args.plots) as folder:
            folder.mkdir()
            for name, table in found.tables.items():
                table.to_csv(folder / f"{name}.csv", index=False, lineterminator="\n")
            if "contamination" in found.figures:
                write_json(folder / "contamination.json", found.figures["contamination"])
        write_json(args.checks, [check._asdict() for check in found.checks])
        write_json(args.baselines, found.figures["baselines"])
        write_json(args.calibration, found.figures["calibration"])
        write_json(args.metrics, found.metrics | ({"also": found.retained} if found.retained else {}))
        write_json(args.summary, summary(found))
        print(diff_summary(found))


def compare(
    args: Namespace, name: str, section: TaskSection, settings: DiffSettings, train: Sequence[Case]
) -> Comparison:
    """Compare both models on a test set; the training split and leaks are only used for that of the headline."""
    task, headline = task_of(section), name == HEADLINE
    test = read_cases(args.test_sets / f"{name}.jsonl", task.inputs, task.labels)
    notes = read_notes(args.notes)[name] if headline else Notes()
    (base, about_base), (tuned, about_tuned) = (
        read_predictions(folder / f"{name}.parquet") for folder in (args.base, args.tuned)
    )
    labels = about_base["labels"], about_tuned["labels"]
    environments = environment_of(about_base), environment_of(about_tuned)
    known = train if headline else ()
    about = labels, environments, notes.slices
    return compare_run(base, tuned, known, test, notes.leaks, task, settings.diff, *about)


if __name__ == "__main__":
    run(main)
