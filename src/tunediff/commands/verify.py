"""Check that cached results reproduce on this machine, by running stages again, predictions on a sample of cases.

    tunediff verify
    tunediff verify --sample 500 --stage predict_tuned
    tunediff verify --accept

Results may come from another machine, by dvc pull or the run cache, or from older libraries. All splits are drawn
again, all parameters counted again, and all stored answers graded again. Base and tuned model answer --sample cases,
spread over a test set (--set). A case agrees if its prompt is the same, all log-probabilities differ by no more than
other batches explain (0.001 nats in float32, 0.1 in float16, 0.6 in bfloat16), and the prediction is the same or was
equally likely within that tolerance. Models are not trained again, because that takes as long as the stage.

Writes nothing without --accept. With it, after an upgrade, it runs the cheap stages, and if both models reproduce the
sample, it accepts the results of the other stages for the current code (`dvc commit`). The exit code is 3 if anything
differs. Bad input ends with one line and exit code 1.
"""

import argparse
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from operator import eq
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tunediff.commands.accept import accept_results, ready_to_accept
from tunediff.commands.agreement import ask_again, first_named, spread
from tunediff.commands.gate import GATE_CLOSED
from tunediff.commands.project import Project, add_set_argument, both_engines, read_project
from tunediff.commands.runs import outdated, read_stages, stage_path
from tunediff.commands.table import aligned
from tunediff.config.settings import CountSettings, PrepareSettings, read_settings
from tunediff.data.answers import read_answers
from tunediff.data.cases import MODELS, environment_of, read_cases, read_predictions
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import read_json, shown
from tunediff.tasks import task_of
from tunediff.tasks.draws import read_splits

if TYPE_CHECKING:
    import pandas as pd

    from tunediff.engines.engine import Engine

PREDICTION_STAGES, SCORING_STAGES = ("predict_base", "predict_tuned"), ("eval_base", "eval_tuned")
STAGES = ("prepare", "count_params", *PREDICTION_STAGES, *SCORING_STAGES)


class Checked(NamedTuple):
    """The result of running a stage again."""

    stage: str
    what: str
    run: int
    total: int
    agree: int
    same: int | None = None  # equal predictions
    furthest: float | None = None  # largest difference of a log-probability, in nats
    notes: Sequence[str] = ()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `tunediff verify`."""
    parser.add_argument(
        "--sample", type=int, default=100, metavar="N", help="number of cases to evaluate each model on (100)"
    )
    parser.add_argument("--stage", choices=STAGES, help="only this stage")
    add_set_argument(parser)
    parser.add_argument(
        "--accept", action="store_true", help="if both models agree, accept results computed by other code as current"
    )


def main(args: argparse.Namespace) -> None:
    """Run `tunediff verify`.

    Raises:
        TunediffError: an argument is invalid, or an output of a stage is missing.
    """
    if args.sample < 1:
        raise TunediffError(f"--sample: found {args.sample}, expected a number of cases of at least 1")
    if args.accept and args.stage:
        raise TunediffError(f"--stage: found {args.stage} with --accept, which evaluates both models")
    if args.accept:
        ready_to_accept()
    stages = [args.stage] if args.stage else PREDICTION_STAGES if args.accept else STAGES
    found = list(check(stages, args.set, args.sample))
    print("\n".join(table(found)))
    for one in found:
        for note in one.notes:
            print(f"  {one.stage}: {note}")
    differing = [one.stage for one in found if one.agree < one.run]
    sys.stdout.flush()
    if differing:
        print(
            f"tunediff: {', '.join(differing)}: results differ from those computed here; {_next(differing)}",
            file=sys.stderr,
        )
        sys.exit(GATE_CLOSED)
    if args.accept:
        accept_results()
    else:
        print("Cached results reproduce here, as far as they were checked.")


def _next(differing: Sequence[str]) -> str:
    """Advice about stages that differ."""
    stale: set[str] = set()
    with suppress(TunediffError):  # the differing stages are known even if DVC fails
        stale = outdated(read_stages())
    if stale & set(differing):
        return "the results do not match the current code, data and parameters: run dvc repro"
    return f"to recompute them: dvc repro --force --single-item {' '.join(differing)}"


def check(stages: Sequence[str], set_name: str, n: int) -> Iterator[Checked]:
    """Run stages again, in the order of `STAGES`.

    Args:
        stages: names of the stages.
        set_name: name of the test set that predictions are checked on.
        n: maximum number of cases that each model answers.

    Raises:
        TunediffError: an output of a stage is missing.
    """
    if "prepare" in stages:
        yield _splits()
    if "count_params" in stages:
        yield _counts()
    if not set(stages) & {*PREDICTION_STAGES, *SCORING_STAGES}:
        return
    project = read_project(set_name)
    if set(stages) & set(PREDICTION_STAGES):
        for stage, model, engine in zip(PREDICTION_STAGES, MODELS, both_engines(project), strict=False):
            if stage in stages:
                yield _answers(stage, model, project, engine, n)
            if not set(stages) & set(PREDICTION_STAGES[PREDICTION_STAGES.index(stage) + 1 :]):
                break
    for stage, model in zip(SCORING_STAGES, MODELS, strict=True):
        if stage in stages:
            yield _grades(stage, model, project)


def _splits() -> Checked:
    """Draw the splits and test sets again from their sources."""
    settings = read_settings(stage_path("prepare", "settings"), PrepareSettings)
    splits, test_sets = stage_path("prepare", "splits"), stage_path("prepare", "test-sets")
    raw = Path(settings.data.path)
    drawn, _ = read_splits(task_of(settings.task), settings.data, raw)
    again = {splits / f"{name}.jsonl": (settings.task, split) for name, split in drawn.items() if name != "test"}
    again[test_sets / "test.jsonl"] = settings.task, drawn["test"]
    for name, one in settings.also.items():
        section = one.task or settings.task
        further, _ = read_splits(task_of(section), one.data, raw / one.data.path)
        again[test_sets / f"{name}.jsonl"] = section, further["test"]
    run = agree = 0
    notes = []
    for path, (section, split) in again.items():
        held = read_cases(path, section.inputs, section.labels)
        n, same = max(len(held), len(split.cases)), sum(map(eq, held, split.cases))
        run, agree = run + n, agree + same
        if same < n:
            notes.append(f"{path} has {len(held):,} cases, {len(split.cases):,} are drawn; {same:,} are the same")
    return Checked("prepare", "cases", run, run, agree, notes=notes)


def _counts() -> Checked:
    """Count the parameters again from the layout."""
    from tunediff.models.parameters import totals
    from tunediff.models.sources import CONFIG
    from tunediff.models.tuned_counts import count_tuned

    settings = read_settings(stage_path("count_params", "settings"), CountSettings)
    path, layout = stage_path("count_params", "metrics"), read_json(stage_path("count_params", "base") / CONFIG)
    held = read_json(path)
    if not isinstance(held, dict):
        raise TunediffError(f"{path}: found {shown(held)}, expected the counts as a JSON object")
    rows = count_tuned(layout, settings.labels, settings.model, settings.adapt, settings.tuned)
    counted = totals(rows, settings.model.published_parameters)
    wrong = [name for name in {**held, **counted} if held.get(name) != counted.get(name)]
    notes = [f"{name}: {path} has {held.get(name)}, counted {counted.get(name)}" for name in wrong]
    return Checked("count_params", "counts", len(counted), len(counted), max(0, len(counted) - len(wrong)), notes=notes)


def _answers(stage: str, model: str, project: Project, engine: "Engine", n: int) -> Checked:
    """Evaluate a model on at most `n` cases of a test set again."""
    cases = project.cases()
    answers, about = read_answers(project.answers(model))
    held = project.task.grade(cases, answers, project.case_set.ask)
    found = ask_again(project, engine, spread(cases, n), held, f"{stage}, again")
    notes = _environment_notes(environment_of(about), engine.environment())
    if found.differing:
        notes.append(f"{len(found.differing):,} cases differ by more than rounding: {first_named(found.differing)}")
    furthest = found.furthest if held["log_probs"].notna().any() else None
    return Checked(stage, "cases", found.n, len(cases), found.n - len(found.differing), found.same, furthest, notes)


def _environment_notes(then: Mapping[str, str], here: Mapping[str, str]) -> list[str]:
    if not then:
        return ["the file does not record its environment"]
    changed = [name for name in here if here[name] != then.get(name)]
    return [f"{name}: computed with {then.get(name, 'none')}, here {here[name]}" for name in changed]


def _grades(stage: str, model: str, project: Project) -> Checked:
    """Grade all stored answers of a model again."""
    cases, path = project.cases(), project.predictions(model)
    answers, _ = read_answers(project.answers(model))
    held, _ = read_predictions(path)
    graded = project.task.grade(cases, answers, project.case_set.ask)
    before = dict(zip(held["case_id"], _rows(held, held.columns), strict=True))
    now = dict(zip(graded["case_id"], _rows(graded, held.columns), strict=True))
    run = {**before, **now}
    differing = [case_id for case_id in run if before.get(case_id) != now.get(case_id)]
    notes = []
    if differing:
        notes = [f"{len(differing):,} cases of {path} are graded differently: {first_named(differing)}"]
    return Checked(stage, "cases", len(run), len(run), len(run) - len(differing), notes=notes)


def _rows(frame: "pd.DataFrame", columns: Iterable[str]) -> list[str]:
    """Each row as text, with lists equal to arrays, and None to NaN."""
    text = frame.reindex(columns=list(columns)).to_json(orient="records", lines=True, double_precision=15)
    return str(text).splitlines()


def table(found: Sequence[Checked]) -> list[str]:
    """Return the lines of a table with one row per stage."""
    rows = [["stage", "run again", "agree", "same prediction", "largest difference, nats"]]
    for one in found:
        part = f"{one.run:,} of {one.total:,}" if one.run < one.total else f"all {one.total:,}"
        same = "" if one.same is None else f"{one.same:,}"
        furthest = "" if one.furthest is None else f"{one.furthest:.2g}"
        rows.append([one.stage, f"{part} {one.what}", f"{one.agree:,}", same, furthest])
    return aligned(list(zip(*rows, strict=True)), left=2)
