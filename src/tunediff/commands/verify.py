"""Run stages again, evaluations on a sample of their cases, and say whether the cache still tells the truth here.

    tunediff verify
    tunediff verify --sample 500 --stage eval_tuned

What the last run wrote may come from another machine, by dvc pull or the run cache, or from older libraries. The splits
are drawn again and the parameters counted again, whole. Base and tuned model answer --sample cases, spread over the
test split, with their scorer. A case agrees where its prompt is the same, no log-probability is off by more than other
batches explain (0.001 nats in float32, 0.1 in float16, 0.3 in bfloat16), and the prediction is the same one or was as
likely within that. A model is not trained again: that takes as long as the stage.

Writes nothing. Exit code 3 when something differs. Bad input: one line and exit code 1.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from operator import eq
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tunediff.commands.diff import GATE_CLOSED
from tunediff.commands.project import BASE, both_models, project
from tunediff.commands.runs import outdated, read_stages
from tunediff.commands.table import aligned
from tunediff.config.params import Params, read_params
from tunediff.data.cases import Case, environment_of, read_cases, read_predictions
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import read_json, shown
from tunediff.runtime.stage import PARAMS

if TYPE_CHECKING:
    from tunediff.models.load import Loaded

SPLITS, COUNTS = Path("data/splits"), Path("metrics/count_params.json")
PREDICTIONS = {"eval_base": Path("data/predictions/base.parquet"), "eval_tuned": Path("data/predictions/tuned.parquet")}
STAGES = ("prepare", "count_params", *PREDICTIONS)
NAMED = 5


class Checked(NamedTuple):
    """What running a stage again gave."""

    stage: str
    what: str
    run: int
    of: int
    agree: int
    same: int | None = None  # predictions
    furthest: float | None = None  # nats that a log-probability was off by
    notes: Sequence[str] = ()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `tunediff verify`."""
    parser.add_argument("--sample", type=int, default=100, metavar="N", help="cases of each evaluation (100)")
    parser.add_argument("--stage", choices=STAGES, help="this stage alone")


def main(args: argparse.Namespace) -> None:
    """Run `tunediff verify`.

    Raises:
        TunediffError: an argument is at fault, or what a stage wrote is not there.
    """
    if args.sample < 1:
        raise TunediffError(f"--sample: found {args.sample}, expected a number of cases from 1 up")
    stages = [args.stage] if args.stage else list(STAGES)
    params = project() if "eval_tuned" in stages else read_params(PARAMS)
    found = [check(params) for name, check in (("prepare", _splits), ("count_params", _counts)) if name in stages]
    found += _evaluations(params, [name for name in PREDICTIONS if name in stages], args.sample)
    print("\n".join(table(found)))
    for one in found:
        for note in one.notes:
            print(f"  {one.stage}: {note}")
    differing = [one.stage for one in found if one.agree < one.run]
    sys.stdout.flush()
    if differing:
        print(
            f"tunediff: {', '.join(differing)}: found other results than are computed here; {_next(differing)}",
            file=sys.stderr,
        )
        sys.exit(GATE_CLOSED)
    print("The cache tells the truth here, as far as it was checked.")


def _next(differing: Sequence[str]) -> str:
    """What to do about stages that differ."""
    if set(differing) & (outdated(read_stages()) or set()):
        return "they are not of the present code, data and parameters: run dvc repro"
    return f"to compute them anew: dvc repro --force --single-item {' '.join(differing)}"


def _splits(params: Params) -> Checked:
    """The splits drawn again from the rows of the source."""
    from tunediff.data.sources.source import read_source
    from tunediff.data.splits import draw_splits
    from tunediff.tasks import cases_of
    from tunediff.tasks.columns import groups_of

    data, task = params.data, params.task
    rows = read_source(data, Path(data.path))
    sources = {name: cases_of(rows[name], task, data) for name in rows}
    groups = {name: groups_of(rows[name], data.group) for name in rows} if data.group else None
    run = agree = 0
    notes = []
    for name, split in draw_splits(sources, data, task.source_input, groups).items():
        path = SPLITS / f"{name}.jsonl"
        held = read_cases(path, task.inputs, task.labels)
        n, same = max(len(held), len(split.cases)), sum(map(eq, held, split.cases))
        run, agree = run + n, agree + same
        if same < n:
            notes.append(f"{path} holds {len(held):,} cases, {len(split.cases):,} are drawn; {same:,} are the same")
    return Checked("prepare", "cases", run, run, agree, notes=notes)


def _counts(params: Params) -> Checked:
    """The parameters counted again from the layout."""
    from tunediff.models.counts import count_recipe
    from tunediff.models.parameters import totals
    from tunediff.models.sources import CONFIG

    held = read_json(COUNTS)
    if not isinstance(held, dict):
        raise TunediffError(f"{COUNTS}: found {shown(held)}, expected the counts as a JSON object")
    rows = count_recipe(read_json(BASE / CONFIG), params.task, params.model, params.adapt)
    counted = totals(rows, params.model.published_parameters)
    wrong = [name for name in {**held, **counted} if held.get(name) != counted.get(name)]
    notes = [f"{name}: {COUNTS} has {held.get(name)}, counted {counted.get(name)}" for name in wrong]
    return Checked("count_params", "counts", len(counted), len(counted), max(0, len(counted) - len(wrong)), notes=notes)


def _evaluations(params: Params, stages: Sequence[str], n: int) -> Iterator[Checked]:
    """Cases of the test split answered again, at most `n` by each of the models of these stages."""
    if not stages:
        return
    cases = read_cases(SPLITS / "test.jsonl", params.task.inputs, params.task.labels)
    for stage, loaded in zip(PREDICTIONS, both_models(params), strict=False):
        if stage in stages:
            yield _evaluation(stage, params, loaded, cases, n)
        if stage == stages[-1]:
            return


def _evaluation(stage: str, params: Params, loaded: "Loaded", cases: Sequence[Case], n: int) -> Checked:
    from tunediff.engines.agreement import ask_again, spread
    from tunediff.models.environment import environment

    held, about = read_predictions(PREDICTIONS[stage])
    then, here = environment_of(about), environment(loaded.model)
    asked = params.task, params.prompt, params.evaluate
    found = ask_again(loaded, spread(cases, n), held, *asked, f"{stage}, again")
    changed = [name for name in here if here[name] != then.get(name)]
    notes = [f"{name}: computed with {then.get(name, 'none')}, here {here[name]}" for name in changed]
    if not then:
        notes = ["the file does not say what it was computed with"]
    if found.differing:
        named = ", ".join(found.differing[:NAMED]) + ", ..." * (len(found.differing) > NAMED)
        notes.append(f"{len(found.differing):,} cases differ by more than rounding: {named}")
    furthest = found.furthest if held["log_probs"].notna().any() else None
    return Checked(stage, "cases", found.n, len(cases), found.n - len(found.differing), found.same, furthest, notes)


def table(found: Sequence[Checked]) -> list[str]:
    """The lines of a table, a stage each."""
    rows = [["stage", "run again", "agree", "same prediction", "largest difference, nats"]]
    for one in found:
        part = f"{one.run:,} of {one.of:,}" if one.run < one.of else f"all {one.of:,}"
        same = "" if one.same is None else f"{one.same:,}"
        furthest = "" if one.furthest is None else f"{one.furthest:.2g}"
        rows.append([one.stage, f"{part} {one.what}", f"{one.agree:,}", same, furthest])
    return aligned(list(zip(*rows, strict=True)), left=2)
