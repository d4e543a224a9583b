r"""Create a project from a table of labelled texts: inspect the table, and write everything that a run needs.

    tunediff init tickets --data tickets.csv --text subject,body --label team
    cd tickets && tunediff repro
    tunediff init replies --data replies.jsonl --text ticket --answer reply --base ID

--text names the columns that the model reads, --label the column of labels that it learns to predict. Use --answer
instead for a column of free text, or of lists of texts that are all right. Rows with the same value in the column
--group stay in the same split. --base is the model to start from: a folder, a GGUF file, or an id on the hub (ID, or
ID@COMMIT); for --answer it must be a language model. Without --base, labels are learned by the sentence encoder of the
extra `minilm` if it is installed; otherwise a small model is trained from scratch on the texts of the table. --tuned is
an adapter for BASE or a whole model; then nothing is trained, and the two are compared.

Writes FOLDER: params.yaml with a comment on each line, dvc.yaml, stages/, requirements.txt, and the table in data/raw,
which is tracked by DVC and ignored by Git. A run writes its report to reports/report.html.
"""

import argparse
import itertools
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tunediff.commands.compare import MOST_LABELS, check_columns, checked
from tunediff.commands.diff import comma_names
from tunediff.commands.runs import dvc
from tunediff.commands.scaffold import RAW, copy, write_pipeline
from tunediff.commands.starting_model import starting_model
from tunediff.commands.starting_params import gold_column, gold_kind, params_yaml, text_lengths
from tunediff.data.sources import Row
from tunediff.data.sources.table_files import read_rows
from tunediff.data.splits import Drawn
from tunediff.data.survey import Survey, survey
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import UTF8, write_text
from tunediff.tasks.draws import read_splits

# Tried if a file is not UTF-8: Windows' encoding for Western Europe and America.
OTHER_ENCODING = "cp1252"
# A label with fewer rows gets too few test cases.
FEW = 20
IGNORED = f"# Data are kept by DVC, not by Git.\n/{RAW}/*\n!/{RAW}/*.dvc\n/.scratch/\n/dvc_plots/\n__pycache__/\n"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `tunediff init`."""
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="folder of the new project")
    kinds = ".csv .tsv .jsonl (also .gz), .xlsx or .parquet"
    parser.add_argument("--data", type=Path, required=True, metavar="FILE", help=f"the table: {kinds}")
    parser.add_argument("--text", required=True, metavar="COLUMN,...", help="the columns that the model reads")
    gold = parser.add_mutually_exclusive_group(required=True)
    gold.add_argument("--label", metavar="COLUMN", help="the column of labels")
    gold.add_argument("--answer", metavar="COLUMN", help="the column of answers, free text")
    parser.add_argument("--group", metavar="COLUMN", help="a column whose rows stay in one split, such as the customer")
    parser.add_argument("--base", metavar="ID", help="the model to start from: a folder or an id on the hub")
    parser.add_argument("--tuned", metavar="ID", help="an existing tuned model, for --base")


def main(args: argparse.Namespace) -> None:
    """Run `tunediff init`.

    Raises:
        TunediffError: an argument, the table or a model is invalid; then nothing is written.
    """
    if args.folder.exists() and (not args.folder.is_dir() or any(args.folder.iterdir())):
        raise TunediffError(f"{args.folder}: exists, expected a new or an empty folder")
    if args.tuned is not None and args.base is None:
        raise TunediffError("--tuned: given without --base, expected the model that it was tuned from")
    dvc()
    rows, encoding = _read(args.data)
    columns = _columns(rows[0], args)
    found = survey(rows, list(columns.values()), gold_column(args))
    if args.label and not 2 <= len(found.labels) <= MOST_LABELS:
        raise TunediffError(
            f"{args.data}: {args.label}: found {len(found.labels):,} different values, expected 2 to {MOST_LABELS} "
            "labels (--label), or free text (--answer)"
        )
    start = starting_model(args, columns)
    text = params_yaml(args, columns, found, start, encoding)
    drawn = _draw(text, args.data)
    for line in itertools.chain(_findings(args, found, encoding), _how_long(args, found, start.tokenizer)):
        print(f"init: {line}")
    for name in ("train", "validation", "test"):
        if name in drawn:
            print(f"init: {name}: {drawn[name].arithmetic}")
    print(f"init: {start.description}", flush=True)
    _write(args.folder, text, args.data)
    print(f"init: {args.folder} is ready: cd {args.folder} && tunediff repro, then open reports/report.html")


def _read(path: Path) -> tuple[list[Row], str]:
    """The rows of the table, and its encoding."""
    try:
        return read_rows(path), UTF8
    except TunediffError as error:
        if "Windows-1252" not in str(error):
            raise
    return read_rows(path, OTHER_ENCODING), OTHER_ENCODING


def _columns(row: Row, args: argparse.Namespace) -> dict[str, str]:
    """The columns of text by their names in params.yaml."""
    texts = comma_names(args.text)
    columns = {re.sub(r"\W", "_", column): column for column in texts}
    if not texts or len(columns) < len(texts) or gold_column(args) in texts:
        raise TunediffError(
            f"--text: found {args.text}, expected distinct columns that differ in their letters and digits and are not "
            f"that of {'--label' if args.label else '--answer'}"
        )
    check_columns(args.data, row, [*texts, gold_column(args), *([args.group] if args.group else [])])
    return columns


def _draw(text: str, data: Path) -> dict[str, Drawn]:
    """Read and sample the cases like the stage prepare, from the user's file."""
    experiment = checked(text)
    files = dict.fromkeys(experiment.params.data.files or {}, data.name)
    drawn, _ = read_splits(experiment.task, experiment.params.data.model_copy(update={"files": files}), data.parent)
    return drawn


def _findings(args: argparse.Namespace, found: Survey, encoding: str) -> Iterator[str]:
    kind = "" if encoding == UTF8 else f", in {encoding}"
    yield f"{args.data}: {found.rows:,} rows{kind}"
    if args.answer:
        yield f"{args.answer}: {len(found.labels):,} different answers, in {len(found.golds):,} rows"
    else:
        yield from _about_labels(args.label, found)
    if found.unlabelled:
        yield f"{gold_column(args)}: empty in {found.unlabelled:,} rows, which are dropped (data.unlabelled)"
    for column, count in found.empty.items():
        yield f"{column}: empty in {count:,} rows, which are dropped (data.empty)"
    if found.duplicates:
        yield f"{found.duplicates:,} rows repeat the texts of an earlier row; rows with the same text stay in one split"
    if found.contradictory:
        kind = gold_kind(args)
        yield f"{found.contradictory:,} texts occur with more than one {kind}: no model can get all of them right"


def _about_labels(column: str, found: Survey) -> Iterator[str]:
    labels = ", ".join(f"{label} {count:,}" for label, count in found.labels.items())
    yield f"{column}: {len(found.labels)} labels: {labels}"
    if found.spellings:
        pairs = ", ".join(f"{other!r} for {usual!r}" for other, usual in found.spellings.items())
        yield f"{column}: treated as other spellings of a label: {pairs} (data.labels)"
    for rare, frequent in found.alike.items():
        yield (
            f"{column}: {rare!r} may be a misspelt {frequent!r}; it is kept as a separate label (to merge them, add "
            f"{{{rare}: {frequent}}} to data.labels and remove it from task.labels)"
        )
    few = [label for label, count in found.labels.items() if count < FEW]
    if few:
        yield f"{column}: fewer than {FEW} rows each, too few for a test: {', '.join(few)}"


def _how_long(args: argparse.Namespace, found: Survey, tokenizer: Path | None) -> Iterator[str]:
    for column, texts in (found.texts | ({args.answer: found.golds} if args.answer else {})).items():
        lengths, unit = text_lengths(texts, tokenizer)
        middle, most = (int(np.quantile(lengths, share, method="higher")) for share in (0.5, 0.95))
        yield f"{column}: half have at most {middle:,} {unit}, 95 % at most {most:,}, the longest {lengths.max():,}"


def _write(folder: Path, text: str, data: Path) -> None:
    """Write the project; if a step fails, remove everything, except for an existing folder, which is emptied."""
    was_there = folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise TunediffError(f"{folder}: is no longer empty, expected an empty folder")
    try:
        _set_up(folder)
        write_pipeline(folder)
        write_text(folder / ".gitignore", IGNORED)
        write_text(folder / "params.yaml", text)
        copy(data, folder / RAW / data.name)
        _run(folder, *dvc("add", "--quiet", str(RAW / data.name)))
    except BaseException:
        shutil.rmtree(folder)
        if was_there:
            folder.mkdir()
        raise


def _set_up(folder: Path) -> None:
    """Set up DVC, and Git unless the folder is in a repository."""
    git = shutil.which("git")
    if git is None:
        print("init: git is not installed: DVC works without it, but experiments (dvc exp) do not")
        _run(folder, *dvc("init", "--quiet", "--no-scm"))
        return
    top = [git, "rev-parse", "--show-toplevel"]
    inside = subprocess.run(top, cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603
    if inside.returncode == 0:
        print(f"init: {folder} is inside the Git repository {inside.stdout.strip()}, and becomes part of it")
        _run(folder, *dvc("init", "--quiet", "--subdir"))
    else:
        _run(folder, git, "init", "--quiet")
        _run(folder, *dvc("init", "--quiet"))


def _run(folder: Path, *command: str) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        reason = " ".join((done.stderr or done.stdout).split())
        raise TunediffError(f"{folder}: {' '.join(command[-3:])} failed: {reason}")
