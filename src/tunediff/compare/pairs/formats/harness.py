"""Samples of lm-evaluation-harness (`--log_samples`).

A line of samples_TASK_DATE.jsonl, as version 0.4 writes it (shortened; numbers of `resps` are text there):

    {"doc_id": 0, "doc": {...}, "target": "2", "arguments": {"gen_args_0": {"arg_0": "A dog runs. True or False?",
     "arg_1": " True"}, ...}, "filtered_resps": [["-1.5", "False"], ["-0.3", "True"], ["-2.0", "False"]],
     "filter": "none", "metrics": ["acc", "acc_norm"], "doc_hash": "...", "prompt_hash": "...", "acc": 0.0, ...}

The outcome is the metric of the file, which must be 0 or 1 per case, or a pair of gold and predicted choice (mcc, f1).
The prediction follows from the log-likelihoods by the rule of that metric (`tunediff.compare.pairs.harness_choices`).
If prediction and outcome contradict each other, the check TD402 is raised; if most do, the file is refused. Samples of
squadv2 are answers to questions, compared by exact match and F1.

Two runs are compared only if documents and prompts are the same, by the hashes in the file: different few-shot examples
or a chat template make different prompts.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pandas as pd

from tunediff.compare.pairs.file_format import FileFormat, ReadOptions, Rows
from tunediff.compare.pairs.graded import chosen_metric
from tunediff.compare.pairs.harness_choices import OTHER, choose, has_likelihoods, read_choices
from tunediff.compare.pairs.label_order import Table
from tunediff.compare.pairs.predictions import NEITHER, Predictions, is_right
from tunediff.config.task import ANSWERABLE, UNANSWERABLE
from tunediff.data.cases import INVALID, RIGHT, WRONG, Answer
from tunediff.metrics.squad import exact_match, token_f1
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import LONE_SURROGATE, shown
from tunediff.runtime.hashing import content_hash
from tunediff.runtime.problems import Problems
from tunediff.tasks import foreign_task

Sample = dict[str, Any]

# Metrics of files that do not list them, a task's usual metric first.
METRICS = ("acc", "exact_match", "em", "acc_norm", "pass@1", "acc_bytes", "acc_mutual_info", "mcc", "f1", "exact")
# The result of the harness's filters if they find no answer.
NO_ANSWER = "[invalid]"


def is_sample(row: Mapping[str, Any]) -> bool:
    """Whether a JSON object is a sample of lm-evaluation-harness."""
    return {"doc_id", "target", "filtered_resps"} <= row.keys()


def read_samples(rows: Rows, name: str, options: ReadOptions) -> Predictions:
    """Return the samples of one task as predictions.

    Args:
        rows: samples, each with its line number.
        name: name of the file for error messages.
        options: metric: decides what is right; None: the first. part: the filter; None if there is only one. Filters
            without a name, as up to version 0.4.6, are named 1, 2, ... in their order. fields: the cluster, a field of
            `doc`.

    Raises:
        TunediffError: a row is not a sample, there are several filters but none is named, the metric is not 0 or 1, or
            it contradicts most predictions.
    """
    cluster, threshold = options.fields.cluster, options.threshold
    filter_name, samples = _of_one_filter(list(rows), name, options.part)
    found = _metrics(samples[0][1])
    metric = options.metric or next(iter(found), None)
    if metric is None:
        listed = ", ".join(samples[0][1])
        raise TunediffError(f"{name}: found no metric among {listed}, expected the name of one as --metric")
    _, described = chosen_metric([*found, metric], metric, name)
    questions = _is_answer(samples[0][1].get(metric))
    read = _question if questions else _graded
    records = [read(row, f"{name}, row {number}", metric, cluster, threshold) for number, row in samples]
    frame = pd.DataFrame(records, index=pd.Index([number for number, _ in samples]))
    level = "" if threshold is None else f" >= {threshold:g}"
    frame["scorer"] = f"{metric}{level}, filter {filter_name}"
    kind = foreign_task(frame.columns)
    same = ("doc_hash", *kind.shared_columns, *(["cluster"] if cluster else []))
    labels: tuple[str, ...] | None = (ANSWERABLE, UNANSWERABLE)
    scores: Table | None = None
    checks: list[tuple[str, str]] = []
    if not questions:
        labels, scores, checks = choose(frame, metric, name)
    text = ["case_id", "label", "prediction", "outcome", "prompt_hash", "scorer", "prompt", "doc_hash"]
    text += ["cluster"] if cluster else []
    frame[text] = frame[text].astype("str")
    frame = frame.drop(columns="choices", errors="ignore")
    origin = f"samples of lm-evaluation-harness, {described}, filter {filter_name}"
    return Predictions(frame, ("prompt",), labels, scores, same, kind=kind, checks=tuple(checks), origin=origin)


def _of_one_filter(
    rows: list[tuple[int | str, Sample]], name: str, wanted: str | None
) -> tuple[str, list[tuple[int | str, Sample]]]:
    """The samples of one filter, and its name."""
    problems = Problems(name)
    for number, row in rows:
        if not is_sample(row):
            problems.add(number, "found a row that is not a sample of lm-evaluation-harness, expected only samples")
    problems.check()
    filters = [str(row.get("filter", "none")) for _, row in rows]
    hint = ""
    if not any("filter" in row for _, row in rows):
        seen: Counter[str] = Counter()
        places = []
        for _, row in rows:
            seen[str(row["doc_id"])] += 1
            places.append(str(seen[str(row["doc_id"])]))
        # With unnamed filters, every document occurs once per filter; other repetitions are refused later.
        if len(set(seen.values())) == 1 and places[-1] != "1":
            filters, hint = places, ", which have no names and are identified by their position in the file"
    found = sorted(set(filters))
    if (wanted is None and len(found) > 1) or (wanted is not None and wanted not in found):
        instead = f" instead of {wanted}" if wanted else ""
        raise TunediffError(
            f"{name}: filter: found {', '.join(found)}{hint}, expected one of them as --filter{instead}"
        )
    wanted = wanted or found[0]
    return wanted, [row for row, one in zip(rows, filters, strict=True) if one == wanted]


def _metrics(row: Sample) -> list[str]:
    given = row.get("metrics")
    named = [key for key in given if isinstance(key, str)] if isinstance(given, list) else []
    return [key for key in named or METRICS if key in row]


def _outcome(value: Any, threshold: float | None) -> bool | None:
    """Whether a metric, 0 or 1 or a pair of gold and predicted choice, counts as right; None if it is neither."""
    if isinstance(value, int | float):
        return is_right(value, threshold)
    if not isinstance(value, list) or len(value) != 2 or type(value[1]) is not int:
        return None
    gold = value[0] if isinstance(value[0], list) else [value[0]]
    return value[1] in gold if all(type(one) is int for one in gold) else None


def _is_answer(value: Any) -> bool:
    """Whether the value of a metric is an answer with its references, as for squadv2."""
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(isinstance(one, dict) for one in value)
        and {"prediction_text"} <= value[0].keys()
        and {"answers"} <= value[1].keys()
    )


def _question(row: Sample, place: str, metric: str, cluster: str | None, _: float | None) -> Sample:
    """The columns of a sample of squadv2."""
    value: Any = row.get(metric)
    if not _is_answer(value):
        raise TunediffError(f"{place}: {metric}: found {shown(value)}, expected an answer with its references")
    given, gold = value[0], value[1]
    texts = gold["answers"].get("text") if isinstance(gold["answers"], dict) else None
    text = given["prediction_text"]
    if not isinstance(texts, list) or not all(isinstance(one, str) for one in [*texts, text]):
        raise TunediffError(f"{place}: {metric}: found {shown(value)}, expected texts")
    return _about(row, place, cluster) | {
        "label": ANSWERABLE if texts else UNANSWERABLE,
        "prediction": _whole(text, f"{place}: {metric}"),
        "outcome": RIGHT if exact_match(texts, text) else WRONG,
        "f1": token_f1(texts, text),
        "answers": tuple(Answer(_whole(one, f"{place}: {metric}"), None) for one in texts),
    }


def _graded(row: Sample, place: str, metric: str, cluster: str | None, threshold: float | None) -> Sample:
    """The columns of a sample that its metric grades as right or wrong; `choices` if there is more than one."""
    value = row.get(metric)
    right = _outcome(value, threshold)
    if right is None:
        found = ", ".join(_metrics(row))
        raise TunediffError(
            f"{place}: {metric}: found {shown(value)}, {NEITHER}; the metrics are {found or 'unknown'} (--metric)"
        )
    responses, requests = row["filtered_resps"], _requests(row.get("arguments"))
    target = _whole(str(row["target"]), f"{place}: target")
    outcome, choices = RIGHT if right else WRONG, None
    if has_likelihoods(responses, requests):
        texts = [one[1] if len(one) > 1 and isinstance(one[1], str) else "" for one in requests]
        texts = [_whole(text, f"{place}: arguments") for text in texts]
        choices = read_choices(responses, texts, "acc_mutual_info" in row, place)
        prediction: str | None = None
        if len(choices.scores) == 1 or (len(set(choices.texts)) == 1 and len(choices.texts) > 1):
            # A single continuation: right if it is what the model would have generated.
            prediction = target if right else OTHER
            if any(map(math.isnan, choices.scores)):
                prediction, outcome = None, INVALID
            choices = None
    else:
        prediction = _generated(responses)
        if prediction.strip() in ("", NO_ANSWER) and not right:
            prediction, outcome = None, INVALID
    return _about(row, place, cluster) | {
        "label": target,
        "prediction": None if prediction is None else _whole(prediction, f"{place}: filtered_resps"),
        "outcome": outcome,
        "choices": choices,
    }


def _about(row: Sample, place: str, cluster: str | None) -> Sample:
    """The columns that samples of all kinds have."""
    requests, doc = _requests(row.get("arguments")), row.get("doc")
    prompt = next((part for part in requests[0] if isinstance(part, str)), "") if requests else ""
    record = {
        "case_id": str(row["doc_id"]),
        "prompt_hash": row.get("prompt_hash") or content_hash(prompt),
        "doc_hash": row.get("doc_hash") or content_hash(doc),
        "prompt": prompt,
    }
    if cluster:
        if not isinstance(doc, dict):
            raise TunediffError(f"{place}: doc: found {shown(doc)}, expected an object with the field {cluster}")
        if cluster not in doc:
            raise TunediffError(f"{place}: doc: found no field {cluster} among {shown(', '.join(doc), 200)}")
        record["cluster"] = str(doc[cluster])
    return {key: _whole(text, f"{place}: {key}") for key, text in record.items()}


def _whole(text: Any, place: str) -> Any:
    if isinstance(text, str) and (half := LONE_SURROGATE.search(text)):
        raise TunediffError(f"{place}: found {half[0]!r}, expected whole characters")
    return text


def _generated(responses: Any) -> str:
    """The generated answer; several different answers to a request are returned as a JSON list."""
    first = responses[0] if isinstance(responses, list) and responses else responses
    while isinstance(first, list) and first and len(set(map(str, first))) == 1:
        first = first[0]
    if isinstance(first, list) and all(str(one).strip() in ("", NO_ANSWER) for one in first):
        return ""
    if isinstance(first, list):
        return json.dumps(first, ensure_ascii=False)
    return "" if first is None else str(first)


def _requests(arguments: Any) -> list[list[Any]]:
    """The requests of a sample in the form [["prompt", " choice"], ...], for all versions of the harness."""
    if isinstance(arguments, dict):
        ordered = sorted(arguments.items(), key=lambda item: _number(item[0]))
        arguments = [
            [value for _, value in sorted(one.items())] if isinstance(one, dict) else one for _, one in ordered
        ]
    return [one for one in arguments if isinstance(one, list)] if isinstance(arguments, list) else []


def _number(key: str) -> int:
    digits = re.search(r"\d+$", key)
    return int(digits.group()) if digits else 0


FORMAT = FileFormat("samples of lm-evaluation-harness", is_sample, read_samples)
