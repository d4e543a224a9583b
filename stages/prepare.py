r"""Read the source rows, draw train, validation and test, and count what leaks between them.

python stages/prepare.py --raw data/raw --splits data/splits --metrics metrics/prepare.json \
    --cost metrics/cost/prepare.json
"""

from collections import Counter

from tunediff.config.params import read_params
from tunediff.data.cases import write_cases
from tunediff.data.leaks import find_leaks, write_leaks
from tunediff.data.sources.source import read_source
from tunediff.data.splits import draw_splits
from tunediff.runtime.cost import measured
from tunediff.runtime.errors import run
from tunediff.runtime.files import replacing, write_json
from tunediff.runtime.stage import PARAMS, arguments
from tunediff.tasks import cases_of
from tunediff.tasks.columns import groups_of
from tunediff.tasks.question_answering import starts


def main() -> None:
    args = arguments(__doc__, reads=("raw",), writes=("splits", "metrics", "cost"))
    params = read_params(PARAMS)
    task, data = params.task, params.data
    with measured(args.cost):
        rows = read_source(data, args.raw)
        sources = {name: cases_of(rows[name], task, data) for name in rows}
        groups = {name: groups_of(rows[name], data.group) for name in rows} if data.group else None
        splits = draw_splits(sources, data, task.source_input, groups)
        train, validation, test = (splits[name].cases for name in ("train", "validation", "test"))
        leaks = {name: find_leaks(cases, train, task) for name, cases in (("test", test), ("validation", validation))}
        with replacing(args.splits) as folder:
            for name, drawn in splits.items():
                write_cases(folder / f"{name}.jsonl", drawn.cases)
            write_leaks(folder / "leaks.json", leaks["test"])
        metrics = {
            **{f"{name}_n": len(drawn.cases) for name, drawn in splits.items()},
            # Two splits may look at the same row of one source; it is dropped once.
            "dropped_unlabelled": len({(d.source, row) for d in splits.values() for row in d.unlabelled}),
            "dropped_shared_sources": len({(d.source, row) for d in splits.values() for row in d.shared_premise}),
            **leaks["test"].counts(),
            **{f"validation_{key}": n for key, n in leaks["validation"].counts().items()},
        }
        write_json(args.metrics, metrics)
    for name, drawn in splits.items():
        labels = Counter(case.label for case in drawn.cases)
        shares = ", ".join(f"{label} {labels[label] / len(drawn.cases):.1%}" for label in task.labels)
        different = f"{task.source_input}: {drawn.premises:,} different"
        different += f", {data.group}: {drawn.groups:,} different" if data.group else ""
        print(f"{name}: {drawn.arithmetic} ({shares}; {different})")
    if task.name == "question_answering":
        for name in rows:
            counts = ", ".join(f"{n:,} {how}" for how, n in starts(rows[name], sources[name], data).items())
            print(f"starts of the answers of {name}: {counts}")
    for name, found in leaks.items():
        counts = ", ".join(f"{key.replace('_', ' ')} {n:,}" for key, n in found.counts().items())
        print(f"of {len(splits[name].cases):,} {name} cases also in train: {counts}")


if __name__ == "__main__":
    run(main)
