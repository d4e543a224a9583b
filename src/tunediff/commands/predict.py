"""Show the answers of base and tuned model to one case, or to a file of cases, side by side.

    tunediff predict premise="A man sleeps." hypothesis="A man is awake."
    tunediff predict --file cases.csv
    tunediff predict --file cases.jsonl --out predictions.jsonl

Give a case as NAME=TEXT for each of task.inputs in params.yaml, or a file (.jsonl .csv .tsv .parquet) with these
columns. Evaluates models/base and models/tuned like the pipeline (with --set, like that test set), so run the pipeline
first. --out and --json give one JSON object per line: case_id, the inputs, and for both models the prediction (null if
it cannot be parsed), the probability of each label, and the lead (the log-probability of the most likely label minus
that of the next, in nats); also the label, if the file has a column of that name, so that `tunediff diff answers.jsonl`
compares the models.
"""

import argparse
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunediff.commands.project import add_set_argument, both_answer, read_project
from tunediff.commands.table import aligned
from tunediff.data.cases import MODELS, Case, make_cases
from tunediff.data.sources import Row
from tunediff.data.sources.table_files import read_rows
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import LONE_SURROGATE, NOT_TEXT, shown, visible, write_jsonl
from tunediff.tasks.columns import key_of

if TYPE_CHECKING:
    import pandas as pd

Record = Mapping[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `tunediff predict`."""
    parser.add_argument("inputs", nargs="*", metavar="NAME=TEXT", help="an input of the case, such as premise=TEXT")
    parser.add_argument("--file", type=Path, help="file of cases, instead of a single case")
    parser.add_argument("--out", type=Path, help="file to write the answers to (.jsonl)")
    parser.add_argument("--json", action="store_true", help="print a JSON object per case")
    add_set_argument(parser)


def main(args: argparse.Namespace) -> None:
    """Run `tunediff predict`.

    Raises:
        TunediffError: an argument or a file is invalid, or there is no model yet; then nothing is written.
    """
    if args.out and args.out.suffix != ".jsonl":
        raise TunediffError(f"--out: found {args.out}, expected a name that ends in .jsonl")
    if args.out and args.file and args.out.resolve() == args.file.resolve():
        raise TunediffError(f"--out: found {args.out}, which is the file of cases; expected another file")
    project = read_project(args.set)
    task = project.task
    rows = _file_rows(args.file, task.inputs, args.inputs) if args.file else []
    # Gold answers are unknown, and not needed here.
    made = make_cases(({name: row[name] for name in task.inputs}, "", ()) for row in rows)
    cases = made if args.file else [_one_case(args.inputs, task.inputs)]
    found = records(cases, task.labels, *both_answer(project, cases))
    if task.answers_are_labels and rows and all("label" in row for row in rows):
        # With labels, `tunediff diff` can read the written file.
        found = [record | {"label": key_of(row["label"])} for record, row in zip(found, rows, strict=True)]
    if args.out:
        write_jsonl(args.out, found)
    if args.json:
        print("\n".join(json.dumps(record, ensure_ascii=False) for record in found))
        return
    if args.file is None:
        print("\n".join(side_by_side(found[0], task.inputs, task.labels)))
    else:
        if args.out is None:
            print("\n".join(_listed(found, task.inputs)))
        differing = sum(record["differs"] for record in found)
        print(f"predict: base and tuned model answer {differing:,} of {len(found):,} cases differently")
    if args.out:
        print(f"  written to {args.out}")


def _one_case(given: Sequence[str], inputs: Sequence[str]) -> Case:
    """The case given by the arguments."""
    expected = " ".join(f"{name}=TEXT" for name in inputs)
    values: dict[str, str] = {}
    for argument in given:
        name, equals, text = argument.partition("=")
        if not equals or name not in inputs:
            raise TunediffError(f"predict: found {shown(argument)}, expected {expected}")
        if name in values:
            raise TunediffError(f"predict: {name}: found a second time, expected {expected}")
        if LONE_SURROGATE.search(text):  # Python decodes invalid bytes to surrogates
            raise TunediffError(f"predict: {name}: found bytes that are not UTF-8 text")
        values[name] = text
    if missing := [name for name in inputs if name not in values]:
        raise TunediffError(f"predict: found no {', '.join(missing)}, expected {expected}, or a file of cases (--file)")
    return make_cases([({name: values[name] for name in inputs}, "", ())])[0]


def _file_rows(path: Path, inputs: Sequence[str], given: Sequence[str]) -> list[Row]:
    """The rows of a file of cases, checked to have text in every input."""
    if given:
        raise TunediffError(f"predict: found {shown(given[0])} together with --file {path}, expected only one of them")
    rows = read_rows(path)
    for row in rows:
        for name in inputs:
            if not isinstance(row.get(name), str):
                raise TunediffError(f"{row.place}: {name}: found {shown(row.get(name))}, expected text")
            if found := NOT_TEXT.search(row[name]):
                raise TunediffError(f"{row.place}: {name}: found the character {found[0]!r}, expected text without it")
    return rows


def records(
    cases: Sequence[Case], labels: Sequence[str], base: "pd.DataFrame", tuned: "pd.DataFrame"
) -> list[dict[str, Any]]:
    """Return the answers of both models, one JSON-ready record per case.

    Args:
        cases: the cases, of length n_cases.
        labels: the labels, in the order of the probabilities.
        base: predictions of the base model, in the order of the cases.
        tuned: predictions of the tuned model, in the order of the cases.

    Returns:
        case_id, the inputs, differs; for both models prediction (None if invalid), text (as generated), probabilities
        (0..1 by label; None if there are none), lead (nats, at least 0, or None); truncated: whether the prompt was
        truncated.
    """
    found = []
    for case, *rows in zip(cases, base.to_dict("records"), tuned.to_dict("records"), strict=True):
        answers = [_answer(row, labels) for row in rows]
        found.append(
            {"case_id": case.case_id, **case.inputs}
            | {"differs": answers[0]["prediction"] != answers[1]["prediction"], "truncated": rows[0]["truncated"]}
            | {
                f"{model}_{key}": value
                for model, answer in zip(MODELS, answers, strict=True)
                for key, value in answer.items()
            }
        )
    return found


def _answer(row: Mapping[Any, Any], labels: Sequence[str]) -> dict[str, Any]:
    scores, prediction = row["log_probs"], row["prediction"]
    known = isinstance(scores, Sequence) and len(scores) > 1
    first, second = sorted(scores, reverse=True)[:2] if known else (0.0, 0.0)
    return {
        # Tables may have NaN instead of None.
        "prediction": prediction if isinstance(prediction, str) else None,
        "text": row["text"],
        "probabilities": dict(zip(labels, map(math.exp, scores), strict=True)) if known else None,
        "lead": first - second if known else None,
    }


def side_by_side(record: Record, inputs: Sequence[str], labels: Sequence[str]) -> Iterator[str]:
    """Yield the lines about one case: its inputs, then one column per model."""
    width = max(map(len, inputs))
    for name in inputs:
        yield f"{name:<{width}}  {_line(record[name])}"
    yield ""
    rows = [["", *MODELS], ["answer", *_both(record, "prediction", _shown)]]
    if None in _both(record, "prediction"):
        rows.append(["written", *_both(record, "text", lambda text: shown(text, 40))])
    probabilities = _both(record, "probabilities")
    if None not in probabilities:
        rows += [[label, *(f"{each[label]:.1%}" for each in probabilities)] for label in labels]
        rows.append(["lead, nats", *_both(record, "lead", lambda lead: f"{lead:.2f}")])
    yield from aligned(list(zip(*rows, strict=True)), left=len(rows[0]))
    yield ""
    cut = " The prompt was truncated to fit the context." if record["truncated"] else ""
    yield f"The answers {'differ' if record['differs'] else 'are the same'}.{cut}"


def _both(record: Record, key: str, say: Callable[[Any], Any] = lambda value: value) -> list[Any]:
    return [say(record[f"{model}_{key}"]) for model in MODELS]


def _listed(found: Sequence[Record], inputs: Sequence[str]) -> Iterator[str]:
    """One line per case: both answers, a mark if they differ, and the beginning of the inputs."""
    rows = [["", *MODELS, "", " | ".join(inputs)]]
    for number, record in enumerate(found, start=1):
        text = " | ".join(_line(record[name]) for name in inputs)
        rows.append([str(number), *_both(record, "prediction", _shown), "differs" * record["differs"], text[:80]])
    yield from aligned(list(zip(*rows, strict=True)), left=len(rows[0]))


def _shown(prediction: str | None) -> str:
    if prediction is None:
        return "(invalid)"
    return _line(prediction) or "(no answer)"


def _line(text: str) -> str:
    """Text of a case on one line of a terminal, without control sequences."""
    return visible(" ".join(text.split()))
