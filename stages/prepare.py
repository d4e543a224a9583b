"""Read the source rows, draw the splits and the test sets, and count what leaks between them.

python stages/prepare.py --settings data/settings/prepare.json --raw data/raw --splits data/splits \
    --test-sets data/test_sets --notes data/notes.json --metrics metrics/prepare.json --cost metrics/cost/prepare.json
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from tunediff.config.settings import PrepareSettings, read_settings
from tunediff.config.task import TaskSection
from tunediff.data.cases import write_cases
from tunediff.data.leaks import Leaks, find_leaks
from tunediff.data.notes import Notes, write_notes
from tunediff.data.splits import Drawn
from tunediff.runtime.cost import measured
from tunediff.runtime.errors import run
from tunediff.runtime.files import replacing, write_json
from tunediff.runtime.stage import arguments, check_path
from tunediff.tasks import task_of
from tunediff.tasks.draws import read_splits


def main() -> None:
    args = arguments(__doc__, reads=("settings", "raw"), writes=("splits", "test_sets", "notes", "metrics", "cost"))
    settings = read_settings(args.settings, PrepareSettings)
    data = settings.data
    check_path("data.path", data.path, args.raw)
    with measured(args.cost):
        splits, notes = read_splits(task_of(settings.task), data, args.raw)
        sets = {"test": (settings.task, splits["test"])}
        for name, also_set in settings.also.items():
            section = also_set.task or settings.task
            drawn, set_notes = read_splits(task_of(section), also_set.data, args.raw / also_set.data.path)
            sets[name] = section, drawn["test"]
            notes += [f"{name}, {note}" for note in set_notes]
        learned_from = {name: splits[name] for name in ("train", "validation") if name in splits}
        measured_on = dict(sets)
        if "validation" in splits:
            measured_on["validation"] = settings.task, splits["validation"]
        # Without known training cases, leaks are not known either.
        leaks = {
            name: find_leaks(split.cases, splits["train"].cases, section, settings.task)
            for name, (section, split) in measured_on.items()
            if "train" in splits
        }
        with replacing(args.splits) as folder:
            for name in ("train", "validation"):
                write_cases(folder / f"{name}.jsonl", splits[name].cases if name in splits else [])
        with replacing(args.test_sets) as folder:
            for name, (_, split) in sets.items():
                write_cases(folder / f"{name}.jsonl", split.cases)
        write_notes(args.notes, {name: Notes(leaks.get(name), split.slices) for name, (_, split) in sets.items()})
        leaked = {name: found.counts() for name, found in leaks.items()}
        also = {
            name: {"n": len(split.cases), **dropped({name: split}), **leaked.get(name, {})}
            for name, (_, split) in sets.items()
            if name in settings.also
        }
        metrics: dict[str, Any] = {
            **{f"{name}_n": len(split.cases) for name, split in splits.items()},
            **dropped(splits),
            **leaked.get("test", {}),
            **{f"validation_{key}": n for key, n in leaked.get("validation", {}).items()},
            **({"also": also} if also else {}),
        }
        write_json(args.metrics, metrics)
    for name, split in learned_from.items():
        print(line(name, settings.task, split, data.group))
    for name, (section, split) in sets.items():
        print(line(name, section, split, data.group if name == "test" else None))
    print(*notes, sep="\n", end="\n" if notes else "")
    for name, found in leaks.items():
        print(leak_line(name, len(measured_on[name][1].cases), found))


def dropped(splits: Mapping[str, Drawn]) -> dict[str, int]:
    """Count dropped rows by reason; a row that is dropped from two splits counts once."""
    empty = len({(d.source, row) for d in splits.values() for row in d.empty})
    return {
        **({"dropped_empty": empty} if empty else {}),
        "dropped_unlabelled": len({(d.source, row) for d in splits.values() for row in d.unlabelled}),
        "dropped_shared_sources": len({(d.source, row) for d in splits.values() for row in d.shared_premise}),
    }


def line(name: str, task: TaskSection, drawn: Drawn, group: str | None) -> str:
    """Describe a split: how its number of cases comes about, the shares of the labels, and distinct source inputs."""
    labels = Counter(case.label for case in drawn.cases)
    shares = ", ".join(f"{label} {labels[label] / len(drawn.cases):.1%}" for label in task.labels)
    different = f"{task.source_input}: {drawn.premises:,} different"
    different += f", {group}: {drawn.groups:,} different" if group else ""
    return f"{name}: {drawn.arithmetic} ({shares}; {different})"


def leak_line(name: str, n: int, leaks: Leaks) -> str:
    """Describe how many cases of a split are also in the training split."""
    counts = ", ".join(f"{key.replace('_', ' ')} {count:,}" for key, count in leaks.counts().items())
    return f"of {n:,} {name} cases also in train: {counts}"


if __name__ == "__main__":
    run(main)
