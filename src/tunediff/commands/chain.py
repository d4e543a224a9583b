"""Compare variants of a model step by step: which cases flip from each to the next, and from the first to the last.

    tunediff chain base.jsonl nf4.jsonl tuned.jsonl merged.jsonl --out chain

A variant is a prediction file, which takes the field options of `tunediff diff`, or the folder of a project, of which
the tuned model is taken. All must have answered the same cases. --json prints one object; --out writes chain.json,
chain.md, chain.html and changed.jsonl, the cases that some step changes with the answer of each variant. Bad input: one
line and exit code 1.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from tunediff.commands.diff import add_fields, fields_of
from tunediff.commands.revisions import PIPELINE, folder_files, read_file, read_run
from tunediff.commands.table import aligned
from tunediff.compare.board import Answered
from tunediff.compare.chain import Chain, changed_cases, make_chain
from tunediff.compare.comparison import CONFIDENCE
from tunediff.report.chain_page import chain_json, chain_lines, chain_pages, chain_tables
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import replacing, write_json, write_jsonl, write_text

WRITTEN = ("chain.json", "chain.md", "chain.html", "changed.jsonl")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `tunediff chain`."""
    parser.add_argument("variants", nargs="+", metavar="VARIANT", help="the variants, in the order of the steps")
    add_fields(parser)
    parser.add_argument("--confidence", type=float, default=CONFIDENCE, help=f"of every interval ({CONFIDENCE})")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--out", type=Path, help="folder to write to")


def main(args: argparse.Namespace) -> None:
    """Run `tunediff chain`.

    Raises:
        TunediffError: an argument is at fault, or variants that cannot be compared.
    """
    if not 0.5 < args.confidence < 1:
        raise TunediffError(f"--confidence: found {args.confidence}, expected more than 0.5 and less than 1")
    if args.out is not None and args.out.exists() and not args.out.is_dir():
        raise TunediffError(f"{args.out}: is no folder, expected one to write to (--out)")
    chain = make_chain(list(_read(args)), args.confidence)
    if args.out is not None:
        write(args.out, chain)
    if args.json:
        print(json.dumps(chain_json(chain), allow_nan=False))
        return
    print("\n".join(said(chain)))
    if args.out is not None:
        print(f"written to {args.out}: {', '.join(WRITTEN)}")


def said(chain: Chain) -> list[str]:
    """What the terminal says of a chain."""
    variants, steps = (aligned(table, left=1) for table in chain_tables(chain))
    return [*variants, "", *steps, "", *chain_lines(chain)]


def write(folder: Path, chain: Chain) -> None:
    """Write the chain; no file takes its place before all of them are whole."""
    with ExitStack() as stack:
        figures, markdown, html, cases = (stack.enter_context(replacing(folder / name)) for name in WRITTEN)
        pages = chain_pages(chain)
        write_json(figures, chain_json(chain))
        write_text(markdown, pages.markdown)
        write_text(html, pages.html)
        write_jsonl(cases, changed_cases(chain))


def _read(args: argparse.Namespace) -> Iterator[Answered]:
    fields, variants = fields_of(args), _named(args.variants)
    for name, path in variants:
        if path.is_file():
            yield read_file(name, path, fields, args.data, args.metric, args.filter, args.threshold)
        else:
            yield read_run(name, folder_files(path), args.confidence, clustered=True)


def _named(variants: Sequence[str]) -> Iterator[tuple[str, Path]]:
    """Each variant with its path: a file, or the folder of a project."""
    for name in variants:
        path = Path(name)
        if not path.is_file() and not (path / PIPELINE).is_file():
            raise TunediffError(f"{name}: is no file, and no folder with a {PIPELINE}")
        yield name, path
