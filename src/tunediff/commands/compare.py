r"""Compare two existing models on a file of labelled cases, without writing a params.yaml.

    tunediff compare BASE TUNED --data test.csv --input text --label label
    tunediff compare microsoft/phi-2 ./my-adapter --data test.csv --input premise --input hypothesis \
        --template "{premise}\n{hypothesis}\nTrue?" --choices "yes= Yes,no= No" --limit 500
    tunediff compare BASE BASE:nf4 --data test.csv --input text --label label
    tunediff compare http://localhost:8000/v1#base http://localhost:8000/v1#tuned --data test.csv --input text

BASE and TUNED are folders, GGUF files, or ids on the hub (ID, or ID@COMMIT for a commit other than the newest); TUNED
is an adapter in peft's layout or a whole model. Append :PRECISION to load weights in another precision: nf4, fp4 or
int8 (quantized by bitsandbytes), float32, bfloat16 or float16, or several of these. A checkpoint that is stored
quantized (GPTQ, AWQ, FP8, ...) needs none. Instead, both can be addresses of models on servers with OpenAI's interface:
URL#NAME, or URL if the server has one model; --api-key-env names the environment variable with the key. --input names a
column of text, and can be repeated. A language model is prompted with a template, in which {NAME} stands for a column,
and chooses among the labels, or among their texts given by --choices. With --head classification, classifiers answer
directly.

Writes a DVC project to a folder in DIR (params.yaml, the data, the pipeline), runs it without training and prints the
path of the report. In this project, `dvc repro` finds nothing to do, and params.yaml can be changed as in any
experiment. Run the same command to resume. A params.yaml with different content is kept as params.yaml.before.
"""

import argparse
import contextlib
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from tunediff.commands import repro
from tunediff.commands.model_names import CONFIG_FILES, Named, named_model, precisions, without_precision
from tunediff.commands.scaffold import RAW, copy, write_pipeline
from tunediff.config.engine import SERVED
from tunediff.config.loading import nearest
from tunediff.config.model import HEADS
from tunediff.data.sources import Row
from tunediff.data.sources.table_files import read_rows
from tunediff.data.values import key_of
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import PACKED, kind_of, read_json, read_text, shown, write_text
from tunediff.runtime.hub import snapshot
from tunediff.tasks.columns import value_of
from tunediff.tasks.draws import read_splits
from tunediff.tasks.experiment import Experiment, read_experiment

# DVC's configuration in the project: no Git repository is required, and no usage statistics are sent.
DVC_CONFIG = "[core]\n    analytics = false\n    no_scm = true\n"
# Backup of a params.yaml with different content.
BEFORE = "params.yaml.before"
REPORT = Path("reports/report.html")
# More distinct values are free text, not labels.
MOST_LABELS = 100
FIRST_LINE = "# Written by tunediff compare; docs/params.md explains every key.\n"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `tunediff compare`."""
    parser.add_argument("base", metavar="BASE", help="the model before: a folder, an id on the hub, or URL#NAME")
    parser.add_argument(
        "tuned", metavar="TUNED", help="the model after: an adapter for BASE or a whole model, given in the same way"
    )
    parser.add_argument("--data", type=Path, required=True, help="labelled cases: .csv, .tsv, .jsonl or .parquet")
    add_evaluation_options(parser, required=True)
    parser.add_argument(
        "--out", type=Path, default=Path("reports"), metavar="DIR", help="folder for the report (reports)"
    )


def add_evaluation_options(parser: argparse.ArgumentParser, required: bool) -> None:
    """Add the options for evaluating models on the cases of a file."""
    parser.add_argument(
        "--input", action="append", required=required, metavar="COLUMN", help="a column with a text of the case"
    )
    parser.add_argument("--label", default="label", metavar="COLUMN", help="the column of the gold label (label)")
    parser.add_argument("--template", help="the prompt, with {COLUMN} for each input; \\n is a new line")
    parser.add_argument("--choices", metavar="LABEL=TEXT,...", help="the answer text of each label")
    parser.add_argument("--head", choices=["lm", "classification"], default="lm", help="the head that answers (lm)")
    parser.add_argument(
        "--head-labels", metavar="LABEL,...", help="classification: the label of each output of TUNED's head, in order"
    )
    parser.add_argument("--api-key-env", metavar="NAME", help="URLs: the environment variable that holds the key")
    parser.add_argument("--limit", type=int, metavar="N", help="evaluate on N cases, drawn at random")


def main(args: argparse.Namespace) -> None:
    """Run `tunediff compare`.

    Raises:
        TunediffError: an argument, the data or a model is invalid; then nothing is written or computed.
    """
    project = project_of(args.out, [args.base, args.tuned])
    text, notes = params_text(args)
    for line in notes:
        print(f"compare: {line}")
    sys.stdout.flush()
    write_project(project, text, args.data)
    code = run_project(project)
    if code == 0:
        print(f"compare: {project / REPORT}")
    sys.exit(code)


def project_of(out: Path, models: Sequence[str]) -> Path:
    """Return the folder of the project in which models are compared.

    Raises:
        TunediffError: the folder exists, and was not written by this command.
    """
    project = out / "--".join(map(_slug, models))
    if project.exists() and not (project / "params.yaml").is_file():
        raise TunediffError(
            f"{project}: exists without a params.yaml, expected a folder written by tunediff compare, or none"
        )
    return project


def params_text(args: argparse.Namespace) -> tuple[str, list[str]]:
    """Return the params.yaml for the arguments, checked with data and models, and the assumptions made.

    Raises:
        TunediffError: an argument, the data or a model is invalid.
    """
    values = parameters(args)
    text = FIRST_LINE + yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=110)
    experiment = checked(text)
    _check_data(experiment, args.data)
    unusual = _check_models(experiment)
    return text, [*_assumptions(experiment, args), *unusual]


def parameters(args: argparse.Namespace) -> dict[str, Any]:
    """Return the values of the params.yaml for the arguments.

    Raises:
        TunediffError: an argument is invalid, or the data cannot be read.
    """
    rows = read_rows(args.data)
    columns = {re.sub(r"\W", "_", column): column for column in args.input}
    if len(columns) < len(args.input):
        raise TunediffError(
            f"--input: found {', '.join(args.input)}, which params.yaml would have to name {', '.join(columns)}; "
            "expected columns that differ in their letters and digits"
        )
    check_columns(args.data, rows[0], [*args.input, args.label])
    if args.limit is not None and args.limit < 1:
        raise TunediffError(f"--limit: found {args.limit}, expected a number of cases of at least 1")
    writes = HEADS[args.head].writes
    option, given = ("--head-labels", args.head_labels) if writes else ("--choices", args.choices)
    if given is not None:
        raise TunediffError(f"{option}: given with --head {args.head}, expected none")
    found = _labels(rows, args.label, args.data)
    choices = _choices(args.choices) if args.choices is not None else {label: f" {label}" for label in found}
    base, tuned = (named_model(text, args.api_key_env) for text in (args.base, args.tuned))
    engine, held = _engine(base, tuned, args), precisions(base, tuned)
    elsewhere = {} if tuned.url in (None, base.url) else {"url": tuned.url}
    tuned_labels = args.head_labels.split(",") if args.head_labels is not None else None
    prompt: dict[str, Any] = {"template": args.template.replace("\\n", "\n")} if args.template is not None else {}
    if writes:
        prompt = {"template": default_template(columns, args.label), **prompt, "choices": choices}
    blank = [value for value in ("", None) if any(value_of(row, args.label) == value for row in rows)]
    draw: dict[str, Any] = {"select": "all"}
    if args.limit is not None:
        draw = {"select": "random", "limit": args.limit, "seed": 0}
    return {
        "task": {
            "name": "classification",
            "inputs": list(columns),
            "labels": list(choices),
            "source_input": next(iter(columns)),
            "partial_input": list(columns)[-1],
        },
        "data": {
            "source": "files",
            "path": str(RAW),
            "files": {"test": _test_file(args.data)},
            "columns": {**columns, "label": args.label},
            **({"unlabelled": blank} if blank else {}),
            "test": {"source": "test", **draw},
        },
        "model": {**base.place(), "head": args.head, **held[0]},
        "prompt": prompt,
        "evaluate": {"scoring_method": "choices" if writes else "head"},
        **({"engine": engine} if engine else {}),
        "tuned": {**tuned.place(), **elsewhere, **({"head_labels": tuned_labels} if tuned_labels else {}), **held[1]},
        "report": {"title": f"{args.tuned} against {args.base}"},
    }


def check_columns(path: Path, row: Row, wanted: Sequence[str]) -> None:
    """Check that a table, given by one of its rows, has the wanted columns.

    Raises:
        TunediffError: it lacks one.
    """
    available = [str(name) for name in row]
    for column in wanted:
        if column not in row:
            expected = f"{', '.join(available)}{nearest(column, available)}"
            raise TunediffError(f"{path}: found no column {column!r}, expected one of {expected}")


def _engine(base: Named, tuned: Named, args: argparse.Namespace) -> dict[str, Any]:
    """The section engine for two served models; empty for others.

    Raises:
        TunediffError: only one of the two is served.
    """
    if base.source != tuned.source and SERVED in (base.source, tuned.source):
        address, other = (args.base, args.tuned) if base.source == SERVED else (args.tuned, args.base)
        raise TunediffError(
            f"{address}: is an address, but {other} is not; expected both or neither: one engine evaluates both models"
        )
    if base.source != SERVED:
        if args.api_key_env is not None:
            raise TunediffError("--api-key-env: given, but BASE and TUNED are not addresses; expected none")
        return {}
    return {"kind": SERVED, "url": base.url, **({"api_key_env": args.api_key_env} if args.api_key_env else {})}


def default_template(columns: Sequence[str] | dict[str, str], label: str) -> str:
    r"""Return a plain prompt: one line per input with its name, then the name of the label.

    >>> default_template(["premise", "hypothesis"], "label")
    'Premise: {premise}\nHypothesis: {hypothesis}\nLabel:'
    """
    lines = [f"{_title(name)}: {{{name}}}" for name in columns]
    return "\n".join([*lines, f"{_title(label)}:"])


def _title(name: str) -> str:
    words = name.replace("_", " ").strip()
    return words[:1].upper() + words[1:]


def _labels(rows: Sequence[Row], column: str, path: Path) -> list[str]:
    """The distinct labels of the rows, sorted."""
    found = sorted({key for row in rows if (key := key_of(value_of(row, column)))})
    if not 2 <= len(found) <= MOST_LABELS:
        raise TunediffError(
            f"{path}: {column}: found {len(found):,} different values, expected 2 to {MOST_LABELS} labels (--label)"
        )
    return found


def _choices(text: str) -> dict[str, str]:
    """Parse texts by label, such as `positive= positive,negative= negative`."""
    pairs = [pair.partition("=") for pair in text.split(",")]
    found = {label.strip(): answer for label, _, answer in pairs if answer.strip()}
    if "" in found or len(found) < len(pairs):
        raise TunediffError(f"--choices: found {shown(text)}, expected LABEL=TEXT,LABEL=TEXT with each label once")
    return found


def _test_file(data: Path) -> str:
    """The name of the file of cases in the project, such as test.csv.gz."""
    packed = PACKED if data.suffix.lower() == PACKED else ""
    return f"test{kind_of(data)}{packed}"


def _slug(text: str) -> str:
    """The name of a model as part of a file name; for a folder, its last component."""
    model, words = without_precision(text)
    name = Path(model).resolve().name if Path(model).exists() else model
    return re.sub(r"[^\w.-]+", "-", "-".join([name, *words])).strip("-.")


def checked(text: str) -> Experiment:
    """Return the experiment of a params.yaml that is not written yet."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "params.yaml"
        path.write_text(text, encoding="utf-8")
        try:
            return read_experiment(path)
        except TunediffError as error:
            lines = [str(line).replace(f"{path}: ", "") for line in error.args]
            raise TunediffError(*lines) from None


def _check_data(experiment: Experiment, path: Path) -> None:
    """Read and sample the cases like the stage prepare, from the user's file."""
    data = experiment.params.data.model_copy(update={"files": {"test": path.name}})
    read_splits(experiment.task, data, path.parent)


def _check_models(experiment: Experiment) -> list[str]:
    """Check local models like the pipeline, without reading weights; return notes on anything unusual."""
    from tunediff.models.precision import check_precision
    from tunediff.models.sources import find_weights, read_layout
    from tunediff.models.tuned import check_tuned, find_tuned

    model, tuned = experiment.params.model, experiment.params.tuned
    for section, key in ((model, "model"), (tuned, "tuned")):
        if section.source == "hub":  # fail before downloading gigabytes
            folder = snapshot(str(section.id), str(section.revision), patterns=CONFIG_FILES)
            layout, adapter = (folder / name for name in CONFIG_FILES)
            if layout.is_file() and not adapter.is_file():
                held = section.quantization or model.quantization
                check_precision(dict(read_json(layout)), held, f"{key}.quantization", layout.parent)
    base = find_weights(model) if model.source == "folder" else None
    if base is not None:
        check_precision(read_layout(base), model.quantization, "model.quantization", base)
    if tuned.source == "folder":
        find_tuned(tuned)
        if base is not None and (found := check_tuned(tuned, read_layout(base), model, list(experiment.task.labels))):
            return [found]
    return []


def _assumptions(experiment: Experiment, args: argparse.Namespace) -> Iterator[str]:
    """The assumptions of the command, and the options that change them."""
    params = experiment.params
    for section, place in ((params.model, "BASE"), (params.tuned, "TUNED")):
        at = f" at commit {section.revision}" if section.revision else ""
        at += f" at {getattr(section, 'url', None) or params.engine.url}" if section.source == SERVED else ""
        held = [str(value) for value in (section.quantization, section.dtype) if value not in (None, "none", "auto")]
        yield f"{place} is {section.id}{at} ({section.source}{''.join(f', {one}' for one in held)})"
    if params.prompt.choices is not None:
        if args.template is None:
            yield f"the prompt is {shown(params.prompt.template, 200)} (--template)"
        if args.choices is None:
            yield f"the choices are {shown(list(params.prompt.choices.values()), 200)} (--choices)"


def write_project(project: Path, text: str, data: Path) -> None:
    """Write the DVC project, or update that of an earlier run."""
    write_pipeline(project)
    copy(data, project / RAW / _test_file(data))
    params = project / "params.yaml"
    if params.is_file() and (before := read_text(params)) != text:
        write_text(project / BEFORE, before)
        print(f"compare: {params} had different content, now kept in {project / BEFORE}", flush=True)
    for name, content in ((".dvc/config", DVC_CONFIG), ("params.yaml", text)):
        if not (project / name).is_file() or read_text(project / name) != content:
            write_text(project / name, content)


def run_project(project: Path) -> int:
    """Run the pipeline of the project; return its exit code."""
    with contextlib.chdir(project):
        try:
            repro.main(argparse.Namespace(seeds=1))
        except SystemExit as end:
            return int(end.code or 0)
    return 0
