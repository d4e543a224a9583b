"""Samples of lm-evaluation-harness (`--log_samples`), as predictions.

A line of samples_TASK_DATE.jsonl, as version 0.4 writes it (shortened; numbers of `resps` are text there):

    {"doc_id": 0, "doc": {...}, "target": "2", "arguments": {"gen_args_0": {"arg_0": "A dog runs. True or False?",
     "arg_1": " True"}, ...}, "filtered_resps": [["-1.5", "False"], ["-0.3", "True"], ["-2.0", "False"]],
     "filter": "none", "metrics": ["acc", "acc_norm"], "doc_hash": "...", "prompt_hash": "...", "acc": 0.0, ...}

The outcome is the metric of the file, which must be 0 or 1 per case, or the pair of gold and predicted choice that some
metrics have (mcc, f1). The prediction follows from the log-likelihoods by the rule of that metric: acc_norm divides by
characters, acc_bytes by bytes, acc_mutual_info subtracts what the choice has without its prompt, exact_match asks which
choice is the greedy answer. Where prediction and outcome contradict each other, the check TD402 is raised, and the file
is refused where most do. Samples of squadv2 are answers to questions, compared by exact match and F1.

Two runs are compared only where documents and prompts are the same, by the hashes in the file: other few-shot examples
or a chat template are other prompts.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from tunediff.compare.pairs.label_order import Table
from tunediff.compare.pairs.predictions import Predictions
from tunediff.config.task import ANSWERABLE, UNANSWERABLE
from tunediff.data.cases import INVALID, RIGHT, WRONG, Answer
from tunediff.metrics.squad import exact_match, token_f1
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import HALF_PAIR, shown
from tunediff.runtime.hashing import content_hash
from tunediff.runtime.problems import Problems
from tunediff.tasks.classification import Classification
from tunediff.tasks.question_answering import QuestionAnswering

Sample = dict[str, Any]

# What files of versions that name no metrics may hold, the usual one of a task first.
METRICS = ("acc", "exact_match", "em", "acc_norm", "pass@1", "acc_bytes", "acc_mutual_info", "mcc", "f1", "exact")
# What the harness's filters put where they find no answer.
NO_ANSWER = "[invalid]"
OTHER = "(not the target)"


class Choices(NamedTuple):
    """The choices of one case: texts as they were asked for, log-likelihoods, and which are the greedy answer.

    alone: log-likelihoods without the prompt, where the file has them. texts: empty where the file has none.
    """

    texts: list[str]
    scores: list[float]
    greedy: list[bool]
    alone: list[float] | None


def is_sample(row: Sample) -> bool:
    """Whether a JSON object is a sample of lm-evaluation-harness."""
    return {"doc_id", "target", "filtered_resps"} <= row.keys()


def read_samples(
    rows: Iterable[tuple[int | str, Sample]],
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
        filter_name: which of the file's filters; None where there is only one. Filters without a name, as up to version
            0.4.6, are called 1, 2, ... in their order.
        cluster: a field of `doc` that several documents may share.

    Raises:
        TunediffError: a row that is no sample, several filters and none named, a metric that is not 0 or 1, or
            predictions most of which contradict it.
    """
    filter_name, samples = _of_one_filter(list(rows), name, filter_name)
    metric = metric or _usual_metric(samples[0][1], name)
    questions = _is_answer(samples[0][1].get(metric))
    read = _question if questions else _graded
    records = [read(row, f"{name}, row {number}", metric, cluster) for number, row in samples]
    frame = pd.DataFrame(records, index=pd.Index([number for number, _ in samples]))
    frame["scorer"] = f"{metric}, filter {filter_name}"
    kind = QuestionAnswering if questions else Classification
    same = ("doc_hash", *kind.shared_columns, *(["cluster"] if cluster else []))
    labels: tuple[str, ...] | None = (ANSWERABLE, UNANSWERABLE)
    scores: Table | None = None
    checks: list[tuple[str, str]] = []
    if not questions:
        labels, scores, checks = _chosen(frame, metric, name)
    text = ["case_id", "label", "prediction", "outcome", "prompt_hash", "scorer", "prompt", "doc_hash"]
    text += ["cluster"] if cluster else []
    frame[text] = frame[text].astype("str")
    frame = frame.drop(columns="choices", errors="ignore")
    return Predictions(frame, ("prompt",), labels, scores, same, kind=kind, checks=tuple(checks))


def _of_one_filter(
    rows: list[tuple[int | str, Sample]], name: str, wanted: str | None
) -> tuple[str, list[tuple[int | str, Sample]]]:
    """The samples of one filter, and its name."""
    problems = Problems(name)
    for number, row in rows:
        if not is_sample(row):
            problems.add(number, "found no sample of lm-evaluation-harness, expected only such")
    problems.check()
    filters = [str(row.get("filter", "none")) for _, row in rows]
    hint = ""
    if not any("filter" in row for _, row in rows):
        seen: Counter[str] = Counter()
        places = []
        for _, row in rows:
            seen[str(row["doc_id"])] += 1
            places.append(str(seen[str(row["doc_id"])]))
        # Every document as often as there are filters; others are repeated by mistake, and refused for that.
        if len(set(seen.values())) == 1 and places[-1] != "1":
            filters, hint = places, ", which have no names and are called by their place in the file"
    found = sorted(set(filters))
    if (wanted is None and len(found) > 1) or (wanted is not None and wanted not in found):
        instead = f" instead of {wanted}" if wanted else ""
        raise TunediffError(
            f"{name}: filter: found {', '.join(found)}{hint}, expected one of them as --filter{instead}"
        )
    wanted = wanted or found[0]
    return wanted, [row for row, one in zip(rows, filters, strict=True) if one == wanted]


def _usual_metric(row: Sample, name: str) -> str:
    found = _metrics(row)
    if not found:
        raise TunediffError(f"{name}: found no metric among {', '.join(row)}, expected the name of one as --metric")
    return found[0]


def _metrics(row: Sample) -> list[str]:
    given = row.get("metrics")
    named = [key for key in given if isinstance(key, str)] if isinstance(given, list) else []
    return [key for key in named or METRICS if key in row]


def _is_right(value: Any) -> bool | None:
    """What a metric says of a case: 0 or 1, or the gold choice beside the predicted one; None where it is neither."""
    if isinstance(value, int | float) and value in (0, 1):
        return bool(value)
    if not isinstance(value, list) or len(value) != 2 or type(value[1]) is not int:
        return None
    gold = value[0] if isinstance(value[0], list) else [value[0]]
    return value[1] in gold if all(type(one) is int for one in gold) else None


def _is_answer(value: Any) -> bool:
    """Whether a metric has an answer beside its references, as those of squadv2."""
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(isinstance(one, dict) for one in value)
        and {"prediction_text"} <= value[0].keys()
        and {"answers"} <= value[1].keys()
    )


def _question(row: Sample, place: str, metric: str, cluster: str | None) -> Sample:
    """The columns of a sample of squadv2."""
    value: Any = row.get(metric)
    if not _is_answer(value):
        raise TunediffError(f"{place}: {metric}: found {shown(value)}, expected an answer beside its references")
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


def _graded(row: Sample, place: str, metric: str, cluster: str | None) -> Sample:
    """The columns of a sample that its metric calls right or wrong; `choices` where there is more than one."""
    value = row.get(metric)
    right = _is_right(value)
    if right is None:
        found = ", ".join(_metrics(row))
        raise TunediffError(
            f"{place}: {metric}: found {shown(value)}, expected 0 or 1; the metrics are {found or 'unknown'} (--metric)"
        )
    responses, requests = row["filtered_resps"], _requests(row.get("arguments"))
    target = _whole(str(row["target"]), f"{place}: target")
    outcome, choices = RIGHT if right else WRONG, None
    if _has_likelihoods(responses, requests):
        choices = _choices(row, responses, requests, place)
        prediction: str | None = None
        if len(choices.scores) == 1 or (len(set(choices.texts)) == 1 and len(choices.texts) > 1):
            # One continuation, be it of several prompts: whether the model would have said the same.
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
    """The columns that a sample of any kind has."""
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
    if isinstance(text, str) and (half := HALF_PAIR.search(text)):
        raise TunediffError(f"{place}: found {half[0]!r}, expected whole characters")
    return text


def _generated(responses: Any) -> str:
    """The answer that was generated; of several of one request, which are not the same, the list as JSON."""
    first = responses[0] if isinstance(responses, list) and responses else responses
    while isinstance(first, list) and first and len(set(map(str, first))) == 1:
        first = first[0]
    if isinstance(first, list) and all(str(one).strip() in ("", NO_ANSWER) for one in first):
        return ""
    if isinstance(first, list):
        return json.dumps(first, ensure_ascii=False)
    return "" if first is None else str(first)


def _requests(arguments: Any) -> list[list[Any]]:
    """What each request was asked: [["prompt", " choice"], ...], whichever way the version wrote them."""
    if isinstance(arguments, dict):
        ordered = sorted(arguments.items(), key=lambda item: _number(item[0]))
        arguments = [
            [value for _, value in sorted(one.items())] if isinstance(one, dict) else one for _, one in ordered
        ]
    return [one for one in arguments if isinstance(one, list)] if isinstance(arguments, list) else []


def _number(key: str) -> int:
    digits = re.search(r"\d+$", key)
    return int(digits.group()) if digits else 0


def _has_likelihoods(responses: Any, requests: list[list[Any]]) -> bool:
    """Whether the responses are pairs of a log-likelihood and whether it was the greedy answer."""
    pairs = (
        isinstance(responses, list)
        and bool(responses)
        and all(isinstance(one, list) and len(one) == 2 and str(one[1]) in ("True", "False") for one in responses)
    )
    if not pairs or not requests:
        return pairs and all(_is_number(one[0]) for one in responses)
    # Whoever asks for an answer says when it ends.
    return not any(isinstance(part, dict) for part in requests[0])


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError, OverflowError):
        return False
    return True


def _choices(row: Sample, responses: list[Any], requests: list[list[Any]], place: str) -> Choices:
    try:
        scores = [float(response[0]) for response in responses]
    except (TypeError, ValueError, OverflowError):
        raise TunediffError(f"{place}: filtered_resps: found {shown(responses)}, expected log-likelihoods") from None
    greedy = [str(response[1]) == "True" for response in responses]
    texts = [
        _whole(one[1], f"{place}: arguments") if len(one) > 1 and isinstance(one[1], str) else "" for one in requests
    ]
    texts = texts if len(texts) == len(scores) else []
    if "acc_mutual_info" not in row:
        return Choices(texts, scores, greedy, None)
    if len(scores) % 2:
        raise TunediffError(
            f"{place}: filtered_resps: found {len(scores)} log-likelihoods, expected two for each choice, as "
            "acc_mutual_info has"
        )
    half = len(scores) // 2  # every choice a second time, without its prompt
    return Choices(texts[:half], scores[:half], greedy[:half], scores[half:])


# The choice that a metric takes, given those that are right: its number, -1 for none of them, None for no number.
Rule = Callable[[Choices, frozenset[int]], int | None]


def _rules(metric: str) -> list[Rule]:
    """How a metric may have come to its outcome, the most likely way first."""
    # Which part of a continuation is the choice depends on the task: the blank before it is mostly not.
    cuts: list[Callable[[str], str]] = [lambda text: text.removeprefix(" "), str, str.strip]
    characters = [_by_length(len, cut) for cut in cuts]
    in_bytes = [_by_length(lambda text: len(text.encode()), cut) for cut in cuts]
    known: dict[str, list[Rule]] = {
        "acc": [_highest],
        "mcc": [_highest],
        "acc_norm": characters,
        "acc_bytes": in_bytes,
        "acc_mutual_info": [_mutual_information],
        "exact_match": [_greedy],
    }
    return known.get(metric) or [_highest, *characters, *in_bytes, _mutual_information, _greedy]


def _highest(choices: Choices, _: frozenset[int]) -> int | None:
    return _first_highest(choices.scores)


def _by_length(measure: Callable[[str], int], cut: Callable[[str], str]) -> Rule:
    def rule(choices: Choices, _: frozenset[int]) -> int | None:
        lengths = [max(1, measure(cut(text))) for text in choices.texts] or [1] * len(choices.scores)
        return _first_highest([score / length for score, length in zip(choices.scores, lengths, strict=True)])

    return rule


def _mutual_information(choices: Choices, _: frozenset[int]) -> int | None:
    if choices.alone is None or len(choices.alone) != len(choices.scores):
        return None
    return _first_highest([score - alone for score, alone in zip(choices.scores, choices.alone, strict=True)])


def _greedy(choices: Choices, gold: frozenset[int]) -> int | None:
    if any(map(math.isnan, choices.scores)):
        return None
    greedy = [place for place, one in enumerate(choices.greedy) if one]
    # A choice that another one begins with is greedy together with it.
    return next((place for place in greedy if place in gold), greedy[0] if greedy else -1)


def _first_highest(values: Sequence[float]) -> int | None:
    return None if any(map(math.isnan, values)) else int(np.argmax(values))


def _gold(target: str, choices: Choices, in_words: bool) -> frozenset[int]:
    """The numbers of the choices that a target stands for; none where it stands for none.

    Tasks give the target as the number of a choice, several numbers, or its text.
    """
    if in_words:
        return frozenset(at for at, text in enumerate(choices.texts) if text.strip() == target.strip())
    numbers = [int(one) for one in re.findall(r"[0-9]{1,9}", target)]
    listed = re.fullmatch(r"[0-9]{1,9}|\[[0-9]{1,9}(, [0-9]{1,9})*\]", target)
    return frozenset(numbers) if listed and max(numbers) < len(choices.scores) else frozenset()


def _chosen(
    frame: pd.DataFrame, metric: str, name: str
) -> tuple[tuple[str, ...] | None, Table | None, list[tuple[str, str]]]:
    """Put the choices that the model took, and their texts for their numbers, in place.

    Returns:
        The label list where all cases have the same one, their log-likelihoods, and the checks that they fail.
    """
    checks = []
    several = frame["choices"].notna()
    rows = frame[several]
    offered: list[Choices] = rows["choices"].tolist()
    right = (rows["outcome"] == RIGHT).tolist()
    # Of all ways to read target and outcome, the one that fits them best.
    best, words = (0, 0), True
    picks: list[int | None] = []
    gold: list[frozenset[int]] = []
    wrong: list[int] = []
    for in_words in (True, False):
        meant = [_gold(target, one, in_words) for target, one in zip(rows["label"], offered, strict=True)]
        for rule in _rules(metric):
            found = [rule(one, right_ones) for one, right_ones in zip(offered, meant, strict=True)]
            against = [
                at
                for at, (pick, right_ones) in enumerate(zip(found, meant, strict=True))
                if pick is not None and right_ones and (pick in right_ones) != right[at]
            ]
            fit = (sum(not one for one in meant), len(against))
            if not picks or fit < best:
                best, words, picks, gold, wrong = fit, in_words, found, meant, against
    checked = sum(pick is not None and bool(right_ones) for pick, right_ones in zip(picks, gold, strict=True))
    if wrong:
        first = ", ".join(str(rows.index[at]) for at in wrong[:3]) + (", ..." if len(wrong) > 3 else "")
        cases = f"{len(wrong):,} of {checked:,} cases (row{'s' * (len(wrong) > 1)} {first})"
        if 2 * len(wrong) > checked:
            raise TunediffError(
                f"{name}: {metric}: found outcomes that contradict the log-likelihoods in {cases}, expected the choice "
                "that they favour to be right where the metric says so (another --metric?)"
            )
        sentence = (
            f"In {cases} of {name} the log-likelihoods favour another choice than {metric} says. Outcomes are those of "
            "the file, predictions those of the log-likelihoods."
        )
        checks.append(("TD402", sentence))
    invalid = rows.index[[pick is None for pick in picks]]
    frame.loc[invalid, "outcome"] = INVALID
    if len(invalid):
        cases = f"{len(invalid):,} of {len(frame):,} cases of {name}"
        checks.append(("TD403", f"In {cases} a log-likelihood is NaN: they count as invalid."))
    labels = _name_choices(frame, rows.index, offered, picks, gold, in_words=words and any(gold))
    scores = np.array([one.scores for one in offered], dtype=np.float64) if labels and several.all() else None
    # A choice that cannot be, such as one longer than the context, has a likelihood of minus infinity.
    scores = scores if scores is not None and np.isfinite(scores).all() else None
    return labels, scores, checks


def _name_choices(
    frame: pd.DataFrame,
    index: pd.Index,
    offered: list[Choices],
    picks: list[int | None],
    gold: list[frozenset[int]],
    in_words: bool,
) -> tuple[str, ...] | None:
    """Put the choices into `frame`, by their texts where these tell them apart; the label list where there is one."""
    texts = [tuple(text.strip() for text in one.texts) for one in offered]
    named = bool(texts) and all(one and len(set(one)) == len(one) for one in texts)
    fixed = texts[0] if named and len(set(texts)) == 1 else None
    if in_words and not all(gold):
        fixed = None  # a target that is no choice is no label of the list
    single = bool(gold) and all(len(right_ones) == 1 for right_ones in gold)
    if not (named and in_words) and not (fixed and single):
        texts = [tuple(map(str, range(len(one.scores)))) for one in offered]
        fixed = texts[0] if single and not in_words and len(set(texts)) == 1 else None
    elif not in_words:
        frame.loc[index, "label"] = [one[min(right_ones)] for one, right_ones in zip(texts, gold, strict=True)]
    given = [None if pick is None else OTHER if pick < 0 else one[pick] for one, pick in zip(texts, picks, strict=True)]
    frame.loc[index, "prediction"] = pd.Series(given, index=index, dtype=object)
    return fixed
