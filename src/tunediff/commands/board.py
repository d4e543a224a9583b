"""Compare many runs on the same cases: significant differences, ranks as intervals, groups of ties, recipes by seed.

    tunediff board                                     # this folder and the DVC experiments of its commit
    tunediff board lr1e-4 lr3e-4 main ../other         # experiments, revisions, folders of projects
    tunediff board a.jsonl b.jsonl c.csv --id-field id --base a.jsonl --out board
    tunediff board predictions/ --data dev-v2.0.json --json
    tunediff board answers.csv --prediction-field small,large,tuned --label-field gold

A run is a DVC experiment or a Git revision of the current project, the folder of a project, a prediction file, or any
prediction file in another folder; for files, use the field options of `tunediff diff`. A single file can have several
runs: the comma-separated columns of --prediction-field or --correct-field, or the filters or models of --filter. All
runs must have answered the same cases. For projects, the base model is a run too, and runs that differ only in
train.seed are also reported as a recipe. Predictions are read from the project or from DVC's cache; no model runs.
--json prints one object; --out writes board.json, board.md, board.html, labels_to_review.jsonl (cases on which all runs
agree against the label) and, for recipes, flips.jsonl. Bad input ends with one line and exit code 1.
"""

import argparse
import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from tunediff.commands.diff import add_fields, comma_names, fields_of
from tunediff.commands.revisions import experiments, file_run, folder_files, kept_files, read_run, revision_files
from tunediff.commands.table import aligned
from tunediff.compare.board import Answered, Board, make_board
from tunediff.compare.board_health import Health, health_of
from tunediff.compare.effects.health import review_lines
from tunediff.compare.pairs.prediction_files import KINDS, read_predictions
from tunediff.compare.pairs.predictions import Fields
from tunediff.compare.recipes import Recipe, case_lines, find_recipes, recipe_figures
from tunediff.report.board_page import board_json, board_lines, board_pages, board_table
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import replacing, write_json, write_jsonl, write_text
from tunediff.runtime.hashing import content_hash

WORKSPACE, BASE = "workspace", "base"
HALF_WIDTH = 0.01


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `tunediff board`."""
    parser.add_argument(
        "runs", nargs="*", metavar="EXPERIMENT", help="runs (this folder and the experiments of its current commit)"
    )
    parser.add_argument("--base", metavar="NAME", help="the run to compare the others with (projects: base)")
    add_fields(parser)
    parser.add_argument(
        "--half-width",
        type=float,
        default=HALF_WIDTH,
        metavar="W",
        help="half-width wanted for a recipe's interval, in 0..1, to compute the number of seeds needed "
        f"({HALF_WIDTH})",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--out", type=Path, help="folder to write to")


def write_recipe(runs: Sequence[str], folder: Path) -> None:
    """Write the board of the seeds of a recipe, and print its findings.

    Raises:
        TunediffError: see `main`.
    """
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    main(parser.parse_args([*runs, "--out", str(folder)]))


def main(args: argparse.Namespace) -> None:
    """Run `tunediff board`.

    Raises:
        TunediffError: an argument is invalid, or the runs cannot be compared.
    """
    for option, value, least in (("--confidence", args.confidence, 0.5), ("--half-width", args.half_width, 0.0)):
        if not least < value < 1:
            raise TunediffError(f"{option}: found {value}, expected more than {least} and less than 1")
    if args.out is not None and args.out.exists() and not args.out.is_dir():
        raise TunediffError(f"{args.out}: is not a folder, expected one to write to (--out)")
    runs = _read_runs(args)
    if args.base is not None:  # it replaces the base model of each run
        runs = [replace(run, base_name=None) for run in runs]
    board = make_board(runs, args.base or (BASE if any(run.name == BASE for run in runs) else None), args.confidence)
    recipes = find_recipes(runs)
    health = health_of(board, recipes)
    figures = [recipe_figures(recipe, args.confidence, board.clusters, args.half_width) for recipe in recipes]
    if args.out is not None:
        write(args.out, board, recipes, figures, health)
    if args.json:
        print(json.dumps(board_json(board, figures, health), allow_nan=False))
        return
    print("\n".join([*aligned(board_table(board), left=1), "", *board_lines(board, figures, health)]))
    if args.out is not None:
        print(f"written to {args.out}")


def write(
    folder: Path, board: Board, recipes: Sequence[Recipe], figures: Sequence[dict[str, Any]], health: Health
) -> None:
    """Write the files of the board, all or none."""
    flips = [line for recipe in recipes for line in case_lines(recipe)]
    lines = {"labels_to_review.jsonl": [*review_lines(health.suspected)]} | ({"flips.jsonl": flips} if recipes else {})
    names = ["board.json", "board.md", "board.html", *lines]
    with ExitStack() as stack:
        paths = [stack.enter_context(replacing(folder / name)) for name in names]
        write_json(paths[0], board_json(board, figures, health))
        pages = board_pages(board, figures, health, flips)
        write_text(paths[1], pages.markdown)
        write_text(paths[2], pages.html)
        for path, rows in zip(paths[3:], lines.values(), strict=True):
            write_jsonl(path, rows)


def _read_runs(args: argparse.Namespace) -> list[Answered]:
    found: list[Answered] = []
    named = _named(args.runs or [".", *experiments()], args.data)
    parts = _parts(args, len(named))
    with kept_files() as kept:
        for name, place in named:
            if isinstance(place, Path) and place.is_file():
                for part, fields, chosen in parts:
                    called = name if part is None else part if len(named) == 1 else f"{name} ({part})"
                    read = read_predictions(place, fields, args.data, args.metric, chosen, args.threshold)
                    found.append(file_run(called, read))
                continue
            files = folder_files(place) if isinstance(place, Path) else revision_files(place, kept())
            # The runs have the same cases, so the clusters of one run are enough.
            clustered = not any("cluster" in run.frame for run in found)
            found.append(read_run(name, files, args.confidence, clustered=clustered))
    return _with_bases(found)


def _parts(args: argparse.Namespace, places: int) -> list[tuple[str | None, Fields, str | None]]:
    """The runs in a file: name (None if there is only one), columns, and filter or model of each.

    Raises:
        TunediffError: several columns are given for several files, or by several options.
    """
    options = {"--prediction-field": args.prediction_field, "--correct-field": args.correct_field}
    options |= {"--filter": args.filter}
    several = {option: comma_names(value) for option, value in options.items() if value and len(comma_names(value)) > 1}
    if not several:
        return [(None, fields_of(args), args.filter)]
    if len(several) > 1:
        raise TunediffError(f"{' and '.join(several)}: found several names in each, expected them in only one of these")
    [(option, names)] = several.items()
    if option == "--filter":
        return [(name, fields_of(args), name) for name in names]
    if places > 1:
        raise TunediffError(f"{option}: found {len(names)} columns with {places} runs, expected one file")
    if option == "--correct-field":
        return [(name, fields_of(args, args.prediction_field, name), None) for name in names]
    # For files of other tools, the names of columns are names of models.
    return [(name, fields_of(args, name), name) for name in names]


def _named(runs: Sequence[str], data: Path | None) -> list[tuple[str, Path | str]]:
    """The runs by name: the path of a file or of a project's folder, or the name of a revision.

    The data set may be in the folder of the prediction files.
    """
    named: list[tuple[str, Path | str]] = []
    for run in runs:
        path = Path(run)
        if path.is_file():
            named.append((run, path))
        elif path.is_dir() and (path / "dvc.yaml").is_file():
            named.append((WORKSPACE if run == "." else run, path))
        elif path.is_dir():
            files = sorted(one for one in path.iterdir() if one.suffix.lower() in KINDS and one.is_file())
            files = [one for one in files if data is None or not data.exists() or not one.samefile(data)]
            if not files:
                raise TunediffError(f"{run}: has neither a dvc.yaml nor a file of {', '.join(KINDS)}")
            named += [(one.name, one) for one in files]
        else:
            named.append((run, run))
    return named


def _with_bases(runs: Sequence[Answered]) -> list[Answered]:
    """The runs, preceded by their base models, each of which is included once."""
    bases: dict[str, list[Answered]] = {}
    for run in runs:
        if run.base is not None:
            answers = run.base.sort_values("case_id")[["case_id", "outcome"]].to_numpy().tolist()
            bases.setdefault(content_hash(answers), []).append(run)
    added: list[Answered] = []
    of_run: dict[str, str] = {}
    for tuned in bases.values():
        first = tuned[0]
        assert first.base is not None
        name = BASE if len(bases) == 1 else f"{BASE} of {first.name}"
        added.append(Answered(name, first.base, first.measure))
        of_run |= {run.name: name for run in tuned}
    return [*added, *(replace(run, base_name=of_run.get(run.name)) for run in runs)]
