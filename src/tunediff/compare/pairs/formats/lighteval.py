"""Details of lighteval: details_TASK_DATE.parquet, a row per document, in its three layouts.

    doc {query, choices, gold_index, ...}  metric {acc, ...}  model_response {text, logprobs, ...}     0.11 and later
    example  full_prompt  choices  gold  gold_index  predictions  metrics {acc, ...}                   0.8 to 0.10
    the same columns, each as the text that Python prints for it: "{'acc': 1}", "[0]"                  before 0.8

From likelihoods, the prediction follows by the rule of `harness_choices` that agrees best with the outcomes. Several
predictions for one document (num_samples) are one case, because they have a single metric.
"""

import ast
import re
from collections.abc import Mapping
from typing import Any

from tunediff.compare.pairs.file_format import FileFormat, ReadOptions, Rows
from tunediff.compare.pairs.graded import Graded, chosen_metric, from_graded, object_or_empty, text_or_none
from tunediff.compare.pairs.harness_choices import Choices
from tunediff.compare.pairs.predictions import Predictions
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import shown
from tunediff.tasks.columns import is_number

# Longer values are refused instead of parsed.
LONGEST = 2**24


def is_details(row: Mapping[str, Any]) -> bool:
    """Whether columns are those of details of lighteval."""
    return {"doc", "metric", "model_response"} <= row.keys() or {"example", "metrics", "predictions"} <= row.keys()


def read_details(rows: Rows, name: str, options: ReadOptions) -> Predictions:
    """Return the documents of details as predictions.

    Args:
        rows: documents, each with its number.
        name: name of the file for error messages.
        options: metric: the metric that decides what is right; None: the first. fields: the cluster, a field of the
            document.

    Raises:
        TunediffError: a document is malformed, there is no such metric, or its value is neither right nor wrong.
    """
    details = [(number, _detail(row, f"{name}, row {number}")) for number, row in rows]
    metric, described = chosen_metric([key for _, one in details for key in one["metric"]], options.metric, name)
    answers = [_answer(number, one, metric) for number, one in details]
    ids = [one.case_id for one in answers]
    if len(set(ids)) < len(ids):
        # Some tasks do not name their documents; their order is that of the data set.
        answers = [one._replace(case_id=str(at)) for at, one in enumerate(answers)]
    return from_graded(answers, name, options, f"details of lighteval, {described}", metric)


def _detail(row: Mapping[str, Any], place: str) -> dict[str, Any]:
    """A document in the layout of the newest version, with the keys doc, metric and model_response."""
    if "model_response" in row:
        found: dict[str, Any] = {key: row.get(key) for key in ("doc", "metric", "model_response")}
    else:
        old = {key: _unprinted(value, key, place) for key, value in row.items()}
        predictions = old.get("predictions")
        likelihoods = isinstance(predictions, list) and bool(predictions) and all(map(is_number, _firsts(predictions)))
        found = {
            "doc": {
                "query": old.get("full_prompt") or old.get("example"),
                "choices": old.get("choices"),
                "gold_index": old.get("gold_index"),
                "gold": old.get("gold"),
                "specific": old.get("specifics"),
            },
            "metric": old.get("metrics"),
            "model_response": {"logprobs": _firsts(predictions or [])} if likelihoods else {"text": predictions},
        }
    for key, value in found.items():
        if not isinstance(value, dict):
            raise TunediffError(f"{place}: {key}: found {shown(value)}, expected an object")
    # In Parquet, every row has all metrics, some of them null.
    return found | {"metric": {key: value for key, value in found["metric"].items() if value is not None}}


def _firsts(predictions: list[Any]) -> list[Any]:
    """The likelihoods of pairs (likelihood, whether it is the greedy answer)."""
    return [one[0] if isinstance(one, list | tuple) and one else one for one in predictions]


def _unprinted(value: Any, key: str, place: str) -> Any:
    """The value of a Python literal."""
    if not isinstance(value, str) or key in ("example", "full_prompt", "instruction"):
        return value
    text = re.sub(r"\bnp\.\w+\(([^()]*)\)", r"\1", value[:LONGEST])
    for one in (text, re.sub(r"\bnan\b", "None", text)):
        try:
            return ast.literal_eval(one)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
    if key in ("metrics", "gold_index"):
        raise TunediffError(f"{place}: {key}: found {shown(value)}, expected what lighteval writes")
    return value


def _answer(number: int | str, detail: Mapping[str, Any], metric: str) -> Graded:
    doc, response = detail["doc"], detail["model_response"]
    choices, gold = doc.get("choices"), _as_list(doc.get("gold_index"))
    likelihoods = response.get("logprobs")
    alone = response.get("unconditioned_logprobs")
    offered: Choices | None = None
    texts = [one for one in _as_list(choices) if isinstance(one, str)]
    several = isinstance(likelihoods, list) and len(likelihoods) > 1 and all(map(is_number, likelihoods))
    # Some files leave the texts of the choices out.
    size = len(texts) or (len(likelihoods) if several else 0)
    inside = bool(gold) and all(type(one) is int and 0 <= one < size for one in gold)
    if several and size > 1 and inside:
        if len(likelihoods) == 2 * size:
            likelihoods, alone = likelihoods[:size], likelihoods[size:]
        if len(likelihoods) == size:
            tokens = response.get("output_tokens")
            known = isinstance(tokens, list) and len(tokens) >= size
            known = known and all(isinstance(one, list) for one in tokens[:size])
            lengths = list(map(len, tokens[:size])) if known else None
            alone = list(alone) if isinstance(alone, list) and len(alone) == size else None
            offered = Choices(texts, likelihoods, [], alone, lengths)
    score = detail["metric"].get(metric)
    golds = [texts[one] for one in gold] if inside and texts else _as_list(doc.get("gold"))
    label = str(gold[0] if len(gold) == 1 else gold) if offered else text_or_none(golds)
    # Without a score, the rule of the likelihoods cannot be checked.
    offered = offered if score is not None else None
    written = response.get("text_post_processed") or response.get("text")
    return Graded(
        number,
        str(doc.get("id") or number),
        score,
        _first_text(written),
        label,
        str(doc.get("query") or ""),
        offered,
        about=object_or_empty(doc.get("specific")),
    )


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _first_text(written: Any) -> str | None:
    while isinstance(written, list):
        different = len(set(map(str, written))) > 1
        if not written or different:
            return text_or_none(written)
        written = written[0]
    return text_or_none(written)


FORMAT = FileFormat("details of lighteval", is_details, read_details)
