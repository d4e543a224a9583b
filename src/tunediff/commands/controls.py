"""Measure flips without training: the base evaluated twice (A/A), random adapters of the same norm, scaled changes.

    tunediff controls
    tunediff controls --cases 200 --draws 5
    tunediff controls --strengths 0 0.25 0.5 0.75 1 1.25

Run it after the pipeline. Base and tuned model answer the test set (--set) again, or --cases of it, spread evenly. So
do --draws null adapters, which are random with the trained adapter's norm in each layer, so that flips due to mere
perturbation can be compared with those of training. --strengths evaluates the tuned model with its change scaled: 0 is
the base and 1 the tuned model. Writes metrics/controls.json, which the report shows after dvc repro --single-item
--force report. Bad input ends with one line and exit code 1.
"""

import argparse
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from tunediff.commands.agreement import spread
from tunediff.commands.project import Project, add_set_argument, both_engines, confidence_of_run, read_project
from tunediff.commands.runs import stage_path
from tunediff.commands.table import aligned, change_lines
from tunediff.compare.controls import STRENGTHS, Answers, controls
from tunediff.data.cases import MODELS, read_predictions
from tunediff.engines import open_engine
from tunediff.report.controls_and_epochs import controls_sentence
from tunediff.report.side_metrics import run_hash
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from tunediff.data.cases import Case
    from tunediff.models.load import Network


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `tunediff controls`."""
    parser.add_argument("--cases", type=int, metavar="N", help="number of cases of the test set (all)")
    parser.add_argument("--draws", type=int, default=3, metavar="N", help="number of random adapters (3)")
    parser.add_argument(
        "--strengths",
        type=float,
        nargs="*",
        metavar="S",
        help="strengths of the trained change, 0 or more (without a number: "
        f"{' '.join(f'{one:g}' for one in STRENGTHS)})",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    add_set_argument(parser)


def main(args: argparse.Namespace) -> None:
    """Run `tunediff controls`.

    Raises:
        TunediffError: an argument is invalid, there is no model yet, or the tuned model cannot be varied.
    """
    for name, value, least in (("cases", args.cases, 1), ("draws", args.draws, 0)):
        if value is not None and value < least:
            raise TunediffError(f"--{name}: found {value}, expected a number of at least {least}")
    strengths = tuple(dict.fromkeys((args.strengths or STRENGTHS) if args.strengths is not None else ()))
    for strength in strengths:
        if not 0 <= strength <= 10:
            raise TunediffError(f"--strengths: found {strength}, expected a number in 0..10")
    project = read_project(args.set)
    every = project.cases()
    cases = every if args.cases is None else spread(every, args.cases)
    held = held_answers(project, cases)
    base, tuned = (
        with_sources(project.ask(engine, cases, title), project, cases)
        for engine, title in zip(both_engines(project), MODELS, strict=True)
    )

    from tunediff.models.load import load_base
    from tunediff.models.perturbation import write_null, write_scaled

    def load() -> "Network":
        return load_base(project.base, project.settings.model, project.settings.headline.labels).model

    def ask(title: str, write: Callable[..., None], value: float) -> "pd.DataFrame":
        with TemporaryDirectory() as scratch:
            folder = Path(scratch, "varied")
            write(project.tuned, folder, load, value)
            frame = project.ask(open_engine(project.settings, project.base).tuned(folder), cases, title)
            return with_sources(frame, project, cases)

    null = {seed: ask(f"null {seed}", write_null, seed) for seed in range(1, args.draws + 1)}
    scaled = {one: ask(f"strength {one:g}", write_scaled, one) for one in strengths}
    figures = controls(Answers(held, base, tuned, null, scaled), confidence_of_run())
    found = {"set": args.set, "measure": project.task.words.measure, "total": len(every), **figures}
    keep("controls", found, lines(found), args.json)


def keep(command: str, figures: Mapping[str, Any], lines: Iterable[str], as_json: bool) -> None:
    """Write the figures of a command to its file in metrics/, which the report shows, and print them.

    Args:
        command: name of the command.
        figures: content of the file, except for the key `of`, which identifies the current run.
        lines: the figures for a terminal.
        as_json: whether to print one JSON object instead.
    """
    base, tuned = (read_json(stage_path(f"eval_{model}", "metrics")) for model in MODELS)
    found = {"of": run_hash(base, tuned), **figures}
    path = stage_path("diff_cases", "metrics").with_name(f"{command}.json")
    write_json(path, found)
    if as_json:
        print(json.dumps(found))
        return
    print("\n".join(lines))
    print(f"Written to {path}; to show it in the report: dvc repro --single-item --force report")


def held_answers(project: Project, cases: "Sequence[Case]") -> "pd.DataFrame":
    """Return the base model's answers of the pipeline, in the order of the cases, with clusters."""
    held, _ = read_predictions(project.predictions("base"))
    rows = held.set_index("case_id").loc[[case.case_id for case in cases]].reset_index()
    return with_sources(rows, project, cases)


def with_sources(frame: "pd.DataFrame", project: Project, cases: "Sequence[Case]") -> "pd.DataFrame":
    """Return the answers with the source text of each case as its cluster."""
    return frame.assign(cluster=[case.inputs[project.task.source_input] for case in cases])


def lines(found: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of tables for a terminal."""
    rows = [["", "flips", "repaired", "broken", "answers changed"]]
    steps = [("base, evaluated again (A/A)", found["again"])]
    steps += [(f"null adapter, draw {one['seed']}", one) for one in found["null"]]
    for name, one in [*steps, ("training", found["trained"])]:
        rows.append([name, *(f"{one[key]:,}" for key in ("flips", "repaired", "broken", "changed"))])
    yield f"{found['n']:,} of {found['total']:,} cases of {found['set']}"
    yield from aligned(list(zip(*rows, strict=True)), left=1)
    yield controls_sentence({name: value for name, value in found.items() if name != "strengths"})
    if "strengths" in found:
        yield ""
        yield from change_lines("strength", found["measure"], found["strengths"])
