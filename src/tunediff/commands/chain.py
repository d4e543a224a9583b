"""Compare variants of a model step by step: cases that flip from each variant to the next, and from first to last.

    tunediff chain base.jsonl nf4.jsonl tuned.jsonl merged.jsonl --out chain
    tunediff chain BASE BASE:nf4 ADAPTER MERGED --data test.csv --input text --label label

A variant is a prediction file, with the field options of `tunediff diff`; the folder of a project, which stands for its
tuned model; or a model named as for `tunediff compare`: the folder or hub id of an adapter or a whole model, optionally
with :PRECISION. Models are evaluated on the cases of --data, with the options of `tunediff compare`, in a project in
reports (or --out); the first of them is the base of the adapters. All variants must have answered the same cases.

--json prints one object; --out writes chain.json, chain.md, chain.html and changed.jsonl (the cases that any step
changes, with the answers of all variants). For models they are always written. Bad input ends with one line and exit
code 1.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from tunediff.commands.compare import add_evaluation_options, params_text, project_of, run_project, write_project
from tunediff.commands.diff import add_fields, fields_of
from tunediff.commands.revisions import file_run, folder_files, read_run
from tunediff.commands.runs import PIPELINE
from tunediff.commands.table import aligned
from tunediff.compare.board import Answered
from tunediff.compare.chain import Chain, changed_cases, make_chain
from tunediff.compare.pairs.prediction_files import KINDS, read_predictions
from tunediff.report.chain_page import chain_json, chain_lines, chain_pages, chain_tables
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import replacing, write_json, write_jsonl, write_text

REPORTS = Path("reports")
WRITTEN = ("chain.json", "chain.md", "chain.html", "changed.jsonl")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `tunediff chain`."""
    parser.add_argument("variants", nargs="+", metavar="VARIANT", help="the variants, in the order of the steps")
    add_fields(parser, "labelled cases to evaluate models on; for prediction files, the data set of SQuAD predictions")
    add_evaluation_options(parser, required=False)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--out", type=Path, help="folder to write to")


def main(args: argparse.Namespace) -> None:
    """Run `tunediff chain`.

    Raises:
        TunediffError: an argument is invalid, or the variants cannot be compared.
    """
    if not 0.5 < args.confidence < 1:
        raise TunediffError(f"--confidence: found {args.confidence}, expected more than 0.5 and less than 1")
    if args.out is not None and args.out.exists() and not args.out.is_dir():
        raise TunediffError(f"{args.out}: is not a folder, expected one to write to (--out)")
    repeated = next((name for name in args.variants if args.variants.count(name) > 1), None)
    if repeated is not None:
        raise TunediffError(f"chain: found the run {repeated} twice, expected each once")
    places = dict(_places(args.variants))
    models = [name for name, path in places.items() if path is None]
    project = project_of(args.out or REPORTS, models) if models else None
    answered = _ask(args, models, project) if project is not None else {}
    data = None if models else args.data
    files = {name: _read(name, path, args, data) for name, path in places.items() if path is not None}
    chain = make_chain([(answered | files)[name] for name in args.variants], args.confidence)
    out = args.out if project is None else project / "chain"
    if out is not None:
        write(out, chain)
    if args.json:
        print(json.dumps(chain_json(chain), allow_nan=False))
        return
    print("\n".join(printed_lines(chain)))
    if out is not None:
        print(f"written to {out}: {', '.join(WRITTEN)}")


def printed_lines(chain: Chain) -> list[str]:
    """Return the tables and sentences about a chain for the terminal."""
    variants, steps = (aligned(table, left=1) for table in chain_tables(chain))
    return [*variants, "", *steps, "", *chain_lines(chain)]


def write(folder: Path, chain: Chain) -> None:
    """Write the files of the chain, all or none."""
    with ExitStack() as stack:
        figures, markdown, html, cases = (stack.enter_context(replacing(folder / name)) for name in WRITTEN)
        pages = chain_pages(chain)
        write_json(figures, chain_json(chain))
        write_text(markdown, pages.markdown)
        write_text(html, pages.html)
        write_jsonl(cases, changed_cases(chain))


def _places(variants: Sequence[str]) -> Iterator[tuple[str, Path | None]]:
    """The variants with their paths: a prediction file or the folder of a project; None for a model."""
    for name in variants:
        path = Path(name)
        is_file = path.is_file() and path.suffix.lower() in KINDS
        yield name, path if is_file or (path / PIPELINE).is_file() else None


def _read(name: str, path: Path, args: argparse.Namespace, data: Path | None) -> Answered:
    if path.is_file():
        return file_run(name, read_predictions(path, fields_of(args), data, args.metric, args.filter, args.threshold))
    return read_run(name, folder_files(path), args.confidence, clustered=True)


@contextmanager
def _stdout_to_stderr() -> Iterator[None]:
    """Redirect the standard output of programs to standard error, so that --json prints only the object."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


def _ask(args: argparse.Namespace, models: Sequence[str], project: Path) -> dict[str, Answered]:
    """The answers of each model, by name: in one project, the first is the base, the others are tuned models in turn.

    Raises:
        TunediffError: an argument, the data or a model is invalid (before anything is computed), or a stage fails.
    """
    if len(models) == 1:
        raise TunediffError(
            f"{models[0]}: is neither a prediction file nor a folder with a {PIPELINE}, and as a model it is the "
            "only one; expected at least two"
        )
    for option, value in (("--data", args.data), ("--input", args.input)):
        if value is None:
            raise TunediffError(
                f"{models[0]}: is not a prediction file, and {option}, which gives the cases for models, is missing"
            )
    wanted = {}
    for name in models[1:]:
        wanted[name], lines = params_text(argparse.Namespace(**{**vars(args), "base": models[0], "tuned": name}))
        print("\n".join(f"chain: {line}" for line in lines), file=sys.stderr)
    found: dict[str, Answered] = {}
    for name, text in wanted.items():
        with _stdout_to_stderr():
            write_project(project, text, args.data)
            code = run_project(project)
        if code:
            raise TunediffError(f"{name}: the pipeline in {project} ended with exit code {code}")
        run = read_run(name, folder_files(project), args.confidence, clustered=True)
        if run.base is not None:
            shared = run.frame[["case_id", "cluster"]] if "cluster" in run.frame else run.frame[["case_id"]]
            found.setdefault(models[0], replace(run, name=models[0], frame=run.base.merge(shared, on="case_id")))
        found[name] = run
    return found
