"""Compare the two prediction files case by case: what changed, what the gain consists of, how far to trust it.

    python stages/diff_cases.py --settings data/settings/diff_cases.json --base data/predictions/base \
        --tuned data/predictions/tuned --splits data/splits --test-sets data/test_sets --notes data/notes.json \
        --prepare metrics/prepare.json --base-model metrics/base_model.json --eval-base metrics/eval_base.json \
        --eval-tuned metrics/eval_tuned.json --train-log data/train_log.csv --cases data/cases.jsonl \
        --plots data/plots --checks data/checks.json --metrics metrics/diff_cases.json \
        --baselines metrics/baselines.json --calibration metrics/calibration.json --cost metrics/cost/diff_cases.json

What the other stages found is read for the checks alone.
"""

from tunediff.compare.checks import read_run
from tunediff.compare.comparison import compare_run
from tunediff.compare.diff_summary import diff_summary
from tunediff.compare.evidence import gather
from tunediff.config.settings import DiffSettings, read_settings
from tunediff.data.cases import environment_of, read_cases, read_predictions, read_split
from tunediff.data.notes import read_notes
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
        writes=("cases", "plots", "checks", "metrics", "baselines", "calibration", "cost"),
    )
    settings = read_settings(args.settings, DiffSettings)
    task = task_of(settings.sets["test"])
    with measured(args.cost):
        train = read_split(args.splits / "train.jsonl", task.inputs, task.labels)
        test = read_cases(args.test_sets / "test.jsonl", task.inputs, task.labels)
        notes = read_notes(args.notes)["test"]
        (base, about_base), (tuned, about_tuned) = (
            read_predictions(folder / "test.parquet") for folder in (args.base, args.tuned)
        )
        labels = about_base["labels"], about_tuned["labels"]
        environments = environment_of(about_base), environment_of(about_tuned)
        comparison = compare_run(
            base, tuned, train, test, notes.leaks, task, settings.diff, labels, environments, notes.slices
        )
        evaluations = {"base": args.eval_base, "tuned": args.eval_tuned}
        acknowledged = settings.checks.acknowledge
        found = gather(comparison, read_run(args.prepare, args.base_model, evaluations, args.train_log, acknowledged))
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
        write_json(args.metrics, found.metrics)
        print(diff_summary(found))


if __name__ == "__main__":
    run(main)
