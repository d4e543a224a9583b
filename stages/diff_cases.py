"""Compare the two prediction files case by case: what changed, what the gain consists of, how far to trust it.

    python stages/diff_cases.py --base data/predictions/base.parquet --tuned data/predictions/tuned.parquet \
        --splits data/splits --cases data/cases.jsonl --plots data/plots --metrics metrics/diff_cases.json \
        --baselines metrics/baselines.json --calibration metrics/calibration.json --cost metrics/cost/diff_cases.json
"""

from tunediff.compare.diff_summary import diff_summary
from tunediff.compare.evidence import gather
from tunediff.config.params import read_params
from tunediff.data.cases import environment_of, read_cases, read_predictions
from tunediff.data.leaks import read_leaks
from tunediff.runtime.cost import measured
from tunediff.runtime.errors import run
from tunediff.runtime.files import replacing, write_json, write_jsonl
from tunediff.runtime.stage import PARAMS, arguments


def main() -> None:
    args = arguments(
        __doc__,
        reads=("base", "tuned", "splits"),
        writes=("cases", "plots", "metrics", "baselines", "calibration", "cost"),
    )
    params = read_params(PARAMS)
    task, diff = params.task, params.diff
    with measured(args.cost):
        train, test = (
            read_cases(args.splits / f"{name}.jsonl", task.inputs, task.labels) for name in ("train", "test")
        )
        leaks = read_leaks(args.splits / "leaks.json")
        (base, about_base), (tuned, about_tuned) = (read_predictions(path) for path in (args.base, args.tuned))
        labels = about_base["labels"], about_tuned["labels"]
        environments = environment_of(about_base), environment_of(about_tuned)
        found = gather(base, tuned, train, test, leaks, task, diff, labels, environments)
        write_jsonl(args.cases, found.records)
        with replacing(args.plots) as folder:
            folder.mkdir()
            for name, table in found.tables.items():
                table.to_csv(folder / f"{name}.csv", index=False, lineterminator="\n")
            write_json(folder / "contamination.json", found.clean)
            write_json(folder / "alarms.json", [alarm._asdict() for alarm in found.alarms])
        write_json(args.baselines, found.baselines)
        write_json(args.calibration, found.calibration)
        write_json(args.metrics, found.metrics)
        print(diff_summary(found, task, diff.confidence))


if __name__ == "__main__":
    run(main)
