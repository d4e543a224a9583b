"""Samples of lm-evaluation-harness (`--log_samples`), as predictions.

A line of samples_TASK_DATE.jsonl, as version 0.4 writes it (shortened; numbers of `resps` are text there):

    {"doc_id": 0, "doc": {...}, "target": "2", "arguments": {"gen_args_0": {"arg_0": "A dog runs. True or False?",
     "arg_1": " True"}, ...}, "filtered_resps": [["-1.5", "False"], ["-0.3", "True"], ["-2.0", "False"]],
     "filter": "none", "metrics": ["acc", "acc_norm"], "doc_hash": "...", "prompt_hash": "...", "acc": 0.0, ...}

The outcome is the metric of the file, which must be 0 or 1 a case. Two runs are compared only where documents and
prompts are the same, by the hashes in the file: other few-shot examples or a chat template are other prompts.
"""

import re
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from tunediff.compare.pairs.predictions import Predictions
from tunediff.data.cases import INVALID, RIGHT, WRONG
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import HALF_PAIR, shown
from tunediff.runtime.hashing import content_hash

Sample = dict[str, Any]

# What files of versions that name no metrics may hold, the usual one of a task first.
METRICS = ("acc", "exact_match", "em", "acc_norm", "pass@1")
# What the harness's filters put where they find no answer.
NO_ANSWER = "[invalid]"
OTHER = "(not the target)"


def is_sample(row: Sample) -> bool:
    """Whether a JSON object is a sample of lm-evaluation-harness."""
    return {"doc_id", "target", "filtered_resps"} <= row.keys()


def read_samples(
    rows: Iterable[tuple[int, Sample]],
    name: str,
    metric: str | None = None,
    filter_name: str | None = None,
    cluster: str | None = None,
) -> Predictions:
    """Return the samples of one task as predictions.

    Args:
        rows: samples, each after the number of its line.
        name: of the file, for errors.
        metric: which of the file's metrics says what is right; None takes the first.
        filter_name: which of the file's filters; None where there is only one.
        cluster: a field of `doc` that several documents may share.

    Raises:
        TunediffError: a row that is no sample, several filters and none named, or a metric that is not 0 or 1.
    """
    records, choices, filters = [], [], set()
    for number, row in rows:
        if not is_sample(row):
            raise TunediffError(f"{name}, row {number}: found no sample of lm-evaluation-harness, expected only such")
        filters.add(str(row.get("filter", "none")))
        if filter_name is not None and str(row.get("filter", "none")) != filter_name:
            continue
        metric = metric or _usual_metric(row, name)
        record, texts = _record(row, f"{name}, row {number}", metric, cluster)
        records.append(record)
        choices.append(texts)
    if not records or (filter_name is None and len(filters) > 1):
        raise TunediffError(
            f"{name}: filter: found {', '.join(sorted(filters))}, expected one of them as --filter"
            + (f" instead of {filter_name}" if filter_name else "")
        )
    frame = pd.DataFrame(records)
    labels = _name_choices(frame, choices)
    frame["scorer"] = f"{metric}, filter {filter_name or filters.pop()}"
    text = ["case_id", "label", "prediction", "outcome", "prompt_hash", "scorer", "prompt", "doc_hash"]
    text += ["cluster"] if cluster else []
    frame[text] = frame[text].astype("str")
    scores = np.array(frame["scores"].tolist(), dtype=np.float64) if labels else None
    # A choice that cannot be, such as one longer than the context, has a likelihood of minus infinity.
    scores = scores if scores is not None and np.isfinite(scores).all() else None
    same = ("doc_hash", "cluster") if cluster else ("doc_hash",)
    return Predictions(frame.drop(columns="scores"), ("prompt",), labels, scores, same)


def _usual_metric(row: Sample, name: str) -> str:
    found = _metrics(row)
    if not found:
        raise TunediffError(f"{name}: found no metric among {', '.join(row)}, expected the name of one as --metric")
    return found[0]


def _metrics(row: Sample) -> list[str]:
    given = row.get("metrics")
    named = [key for key in given if isinstance(key, str)] if isinstance(given, list) else []
    return [key for key in named or METRICS if key in row]


def _record(row: Sample, place: str, metric: str, cluster: str | None) -> tuple[Sample, list[str]]:
    """The columns of one sample, and the texts of its choices (none where the answer was generated)."""
    value = row.get(metric)
    if isinstance(value, str) or value not in (0, 1):
        found = ", ".join(_metrics(row))
        raise TunediffError(
            f"{place}: {metric}: found {shown(value)}, expected 0 or 1; the metrics are {found or 'unknown'} (--metric)"
        )
    responses, arguments = row["filtered_resps"], _arguments(row.get("arguments"))
    prompt = arguments[0][0] if arguments and arguments[0] else ""
    scores, choices, target = None, [], str(row["target"])
    outcome = RIGHT if value else WRONG
    if _has_likelihoods(responses):
        try:
            scores = [float(response[0]) for response in responses]
        except (TypeError, ValueError, OverflowError, IndexError, KeyError):
            raise TunediffError(
                f"{place}: filtered_resps: found {shown(responses)}, expected log-likelihoods"
            ) from None
        choices = [argument[1].strip() if len(argument) > 1 else "" for argument in arguments]
        if "acc_mutual_info" in row:  # every choice a second time, without its prompt
            scores, choices = scores[: len(scores) // 2], choices[: len(choices) // 2]
        if len(scores) == 1:  # a single continuation: whether the model would have said the same
            prediction, scores = (target if value else OTHER), None
        else:
            by_length = metric == "acc_norm" and len(choices) == len(scores)
            lengths = [max(1, len(choice)) for choice in choices] if by_length else 1
            prediction = str(int(np.argmax(np.array(scores) / lengths)))
    else:
        first = responses[0] if isinstance(responses, list) and responses else responses
        while isinstance(first, list) and first:
            first = first[0]
        prediction = str(first) if first not in (None, []) else ""
        if prediction.strip() in ("", NO_ANSWER):
            prediction, outcome = None, INVALID
    doc = row.get("doc")
    record = {
        "case_id": str(row["doc_id"]),
        "label": target,
        "prediction": prediction,
        "outcome": outcome,
        "prompt_hash": row.get("prompt_hash") or content_hash(prompt),
        "doc_hash": row.get("doc_hash") or content_hash(doc),
        "prompt": prompt,
        "scores": scores,
    }
    if cluster:
        if not isinstance(doc, dict):
            raise TunediffError(f"{place}: doc: found {shown(doc)}, expected an object with the field {cluster}")
        if cluster not in doc:
            raise TunediffError(f"{place}: doc: found no field {cluster} among {shown(', '.join(doc), 200)}")
        record["cluster"] = str(doc[cluster])
    for key, text in record.items():
        if isinstance(text, str) and (half := HALF_PAIR.search(text)):
            raise TunediffError(f"{place}: {key}: found {half[0]!r}, expected whole characters")
    return record, choices


def _arguments(arguments: Any) -> list[list[str]]:
    """The texts of each request: [["prompt", " choice"], ...], whichever way the version wrote them."""
    if isinstance(arguments, dict):
        ordered = sorted(arguments.items(), key=lambda item: _number(item[0]))
        arguments = [
            [value for _, value in sorted(one.items())] if isinstance(one, dict) else one for _, one in ordered
        ]
    requests = arguments if isinstance(arguments, list) else []
    return [[part for part in one if isinstance(part, str)] for one in requests if isinstance(one, list)]


def _number(key: str) -> int:
    digits = re.search(r"\d+$", key)
    return int(digits.group()) if digits else 0


def _has_likelihoods(responses: Any) -> bool:
    """Whether the responses are pairs of a log-likelihood and whether it was the greedy answer."""
    return (
        isinstance(responses, list)
        and bool(responses)
        and all(isinstance(one, list) and len(one) == 2 and str(one[1]) in ("True", "False") for one in responses)
    )


def _name_choices(frame: pd.DataFrame, choices: list[list[str]]) -> tuple[str, ...] | None:
    """Put the texts of the choices for their numbers, in place; the label list where all cases have the same one.

    Tasks give the target as the number of a choice or as its text; predictions are numbers so far.
    """
    if not all(choices) or frame["scores"].isna().any():
        return None
    if any(len(texts) != len(scores) for texts, scores in zip(choices, frame["scores"], strict=True)):
        return None
    fixed = choices[0] if all(texts == choices[0] for texts in choices) else None
    distinct = all(len(set(texts)) == len(texts) for texts in choices)
    rows = list(zip(frame["label"], frame["prediction"], choices, strict=True))
    if distinct and all(label in texts for label, _, texts in rows):
        frame["prediction"] = [texts[int(prediction)] for _, prediction, texts in rows]
        return tuple(fixed) if fixed else None
    if not all(label in map(str, range(len(texts))) for label, _, texts in rows):
        return None
    if fixed and distinct:
        frame["label"] = [fixed[int(label)] for label, _, _ in rows]
        frame["prediction"] = [fixed[int(prediction)] for _, prediction, _ in rows]
        return tuple(fixed)
    sizes = {len(texts) for texts in choices}
    return tuple(map(str, range(sizes.pop()))) if len(sizes) == 1 else None
