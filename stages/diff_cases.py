"""Compare the two prediction files case by case: transitions, an exact paired test, cheap baselines.

    python stages/diff_cases.py --base data/predictions/base.parquet --tuned data/predictions/tuned.parquet \
        --splits data/splits --cases data/cases.jsonl --plots data/plots --metrics metrics/diff_cases.json \
        --baselines metrics/baselines.json --cost metrics/cost/diff_cases.json
"""

from tunediff.cases import read_cases, read_predictions
from tunediff.compare.align import align
from tunediff.compare.baselines import majority_label, tfidf_logistic
from tunediff.compare.transitions import case_records, transition_metrics, transitions
from tunediff.cost import measured
from tunediff.errors import run
from tunediff.files import replacing, write_csv, write_json, write_jsonl
from tunediff.params import read_params
from tunediff.stage import PARAMS, arguments


def main() -> None:
    args = arguments(
        __doc__,
        reads=("base", "tuned", "splits"),
        writes=("cases", "plots", "metrics", "baselines", "cost"),
    )
    params = read_params(PARAMS)
    task, diff = params.task, params.diff
    with measured(args.cost):
        train, test = (
            read_cases(args.splits / f"{name}.jsonl", task.inputs, task.labels) for name in ("train", "test")
        )
        aligned = align(read_predictions(args.base)[0], read_predictions(args.tuned)[0])
        cells = transitions(aligned)
        metrics = transition_metrics(cells, diff.confidence)
        gold = [case.label for case in test]
        alone = task.premise_free_input
        majority = majority_label((case.label for case in train), gold)
        premise_free = tfidf_logistic(
            [case.inputs[alone] for case in train],
            [case.label for case in train],
            [case.inputs[alone] for case in test],
            gold,
        )
        write_jsonl(args.cases, case_records(aligned, cells, test))
        with replacing(args.plots) as folder:
            counts = [{"transition": name, "cases": int((cells == name).sum())} for name in cells.cat.categories]
            write_csv(folder / "transitions.csv", counts)
            for name in ("base", "tuned"):
                answers = aligned[f"prediction_{name}"].fillna("invalid")
                rows = [{"label": a, "prediction": b} for a, b in zip(aligned["label"], answers, strict=True)]
                write_csv(folder / f"confusion_{name}.csv", rows)
        baselines = {"majority_accuracy": majority.accuracy, "premise_free_accuracy": premise_free.accuracy}
        write_json(args.baselines, baselines)
        write_json(args.metrics, metrics)
        print(
            f"diff_cases: accuracy {metrics['accuracy_base']:.1%} -> {metrics['accuracy_tuned']:.1%} on "
            f"{metrics['n']:,} cases: {metrics['repaired']:,} repaired - {metrics['broken']:,} broken "
            f"= {metrics['repaired'] - metrics['broken']:+,}"
        )
        print(
            f"  difference {100 * metrics['accuracy_delta']:+.1f} points, {diff.confidence:.0%} interval "
            f"{100 * metrics['accuracy_delta_low']:+.1f} to {100 * metrics['accuracy_delta_high']:+.1f}, "
            f"exact McNemar p = {metrics['mcnemar_p']:.3g}"
        )
        print(
            f"  for comparison: majority label {majority.accuracy:.1%}, "
            f"{alone} alone (TF-IDF + logistic regression) {premise_free.accuracy:.1%}"
        )


if __name__ == "__main__":
    run(main)
