"""Answers graded by another tool, converted to predictions in the same way for all tools.

    answers = [Graded(1, "q1", score=True, prediction="Paris", label="Paris"), Graded(2, "q2", None, why="error")]
    from_graded(answers, "log.json", options, "a log", "match").frame["outcome"].tolist()      # ["right", "invalid"]

Scores true and 1 are right, false and 0 are wrong. Any other number requires a threshold, the lowest score that counts
as right. An answer without a score is invalid, and counted with its reason (TD405). Repeated answers to a case (epochs,
trials) count as one case each and form a cluster, which intervals treat as one observation (TD404). Answers that equal
the gold label but are graded as wrong are reported (TD402).
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import pandas as pd

from tunediff.compare.pairs.file_format import ReadOptions
from tunediff.compare.pairs.harness_choices import Choices, choose
from tunediff.compare.pairs.label_order import Table
from tunediff.compare.pairs.predictions import NEITHER, Predictions, is_right
from tunediff.data.cases import INVALID, RIGHT, WRONG
from tunediff.data.values import value_text
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import LONE_SURROGATE, shown
from tunediff.runtime.hashing import content_hash
from tunediff.runtime.problems import Problems

# The number of reasons that a sentence lists.
REASONS = 3


class Graded(NamedTuple):
    """One answer.

    place: the row number, or the file's own name of the place. score: true, false, a number, or None if there is none,
    for the reason `why`. prediction, label: None if the file does not have them. choices: the choices, if likelihoods
    decide between them. repeat: number of the answer among those to the case, from 1. about: further fields of the
    case, by name.
    """

    place: int | str
    case_id: str
    score: bool | float | None
    prediction: str | None = None
    label: str | None = None
    prompt: str = ""
    choices: Choices | None = None
    repeat: int = 1
    cluster: str | None = None
    why: str = "no score"
    about: Mapping[str, Any] = MappingProxyType({})


def from_graded(answers: Iterable[Graded], name: str, options: ReadOptions, origin: str, metric: str) -> Predictions:
    """Return graded answers as predictions.

    Args:
        answers: the answers in the order of the file; those to one case need not be consecutive.
        name: name of the file for error messages.
        options: the threshold and the name of the cluster field.
        origin: description of the file's format.
        metric: name of the metric that the scores are of.

    Raises:
        TunediffError: a score is neither right nor wrong, text is not valid Unicode, the cluster field is unknown, or
            there is no answer.
    """
    problems = Problems(name)
    reasons: Counter[str] = Counter()
    rows: list[dict[str, Any]] = []
    places: list[int | str] = []
    for one in answers:
        outcome: str | None = INVALID
        if one.score is None or (isinstance(one.score, float) and math.isnan(one.score)):
            reasons["NaN" if one.score is not None else one.why] += 1
        else:
            right = is_right(one.score, options.threshold)
            outcome = {True: RIGHT, False: WRONG, None: None}[right]
            if right is None:
                problems.add(one.place, f"{metric}: found {shown(one.score)}, {NEITHER}", kind="score")
        row = {
            "case_id": one.case_id,
            "label": one.label,
            "prediction": one.prediction if outcome != INVALID else None,
            "outcome": outcome,
            "prompt_hash": content_hash(one.prompt) if one.prompt else None,
            "scorer": metric if options.threshold is None else f"{metric} >= {options.threshold:g}",
            "prompt": one.prompt,
            "choices": one.choices,
            "cluster": _cluster(one, options.fields.cluster, name),
            "repeat": one.repeat,
        }
        for key, text in row.items():
            if isinstance(text, str) and (half := LONE_SURROGATE.search(text)):
                problems.add(one.place, f"{key}: found {half[0]!r}, expected whole characters", kind=f"{key} half")
        rows.append(row)
        places.append(one.place)
    problems.check()
    if not rows:
        raise TunediffError(f"{name}: found no answer, expected at least one")
    frame = pd.DataFrame(rows, index=pd.Index(places), dtype=object)
    checks = [*_repeats(frame, name), *_without_score(reasons, len(frame), name)]
    labels, scores = _labels(frame, metric, name, checks)
    same = ["cluster"] if frame["cluster"].notna().any() else []
    columns = ["case_id", "label", "prediction", "outcome", "prompt_hash", "scorer", "prompt", *same]
    frame = frame[columns].astype("str")
    if frame["prediction"].isna().all():
        origin += ", without answers: cases wrong both times count as the same wrong answer"
    prompts = ("prompt",) if frame["prompt"].ne("").any() else ()
    return Predictions(frame, prompts, labels, scores, tuple(same), checks=tuple(checks), origin=origin)


def chosen_metric(found: Sequence[str], wanted: str | None, name: str) -> tuple[str, str]:
    """Return the metric that decides what is right, by default the first, and a description that lists the others.

    Raises:
        TunediffError: there is no metric, or not the wanted one.
    """
    found = list(dict.fromkeys(found))
    if not found or (wanted is not None and wanted not in found):
        listed = ", ".join(found) or "none"
        instead = f" instead of {wanted}" if wanted else ""
        raise TunediffError(f"{name}: metric: found {listed}, expected one of them as --metric{instead}")
    metric = wanted or found[0]
    others = [one for one in found if one != metric]
    return metric, f"metric {metric}" + (f" (of {', '.join(found)})" if others else "")


def text_or_none(value: Any) -> str | None:
    """Return a JSON value as text: strings unchanged, lists of strings joined by commas, anything else as JSON."""
    if isinstance(value, list | tuple) and value and not any(isinstance(one, list | dict) for one in value):
        return ", ".join(str(text_or_none(one)) for one in value)
    if value is None or value == []:
        return None
    try:
        return value if isinstance(value, str) else value_text(value)
    except TypeError:
        return shown(value, 1000)


def object_or_empty(value: Any) -> Mapping[str, Any]:
    """Return a JSON value if it is an object, else an empty object."""
    return value if isinstance(value, dict) else {}


def _cluster(one: Graded, field: str | None, name: str) -> str | None:
    if field is None:
        return one.cluster
    if field not in one.about:
        found = shown(", ".join(map(str, one.about)), 200)
        raise TunediffError(f"{name}, row {one.place}: found no field {field} among {found} (--cluster-field)")
    return text_or_none(one.about[field])


def _repeats(frame: pd.DataFrame, name: str) -> Iterator[tuple[str, str]]:
    """TD404 for cases that are answered several times; changes their ids and clusters in `frame`."""
    repeats = frame.pop("repeat")
    if (repeats == 1).all():
        return
    counts = frame["case_id"].value_counts()
    times = f"{counts.min()}" if counts.min() == counts.max() else f"{counts.min()} to {counts.max()}"
    yield (
        "TD404",
        f"The {len(counts):,} cases of {name} are answered {times} times each. Each of the {len(frame):,} answers "
        "counts as a case; intervals treat the answers to one case as one cluster.",
    )
    frame["cluster"] = frame["cluster"].where(frame["cluster"].notna(), frame["case_id"])
    frame["case_id"] = [f"{one} #{repeat}" for one, repeat in zip(frame["case_id"], repeats, strict=True)]


def _without_score(reasons: Counter[str], n: int, name: str) -> Iterator[tuple[str, str]]:
    if count := sum(reasons.values()):
        why = ", ".join(f"{shown(reason, 80)[1:-1]} {times:,}" for reason, times in reasons.most_common(REASONS))
        more = ", ..." if len(reasons) > REASONS else ""
        has = "has" if count == 1 else "have"
        yield "TD405", f"{count:,} of the {n:,} answers of {name} {has} no score ({why}{more}): invalid, so not right."


def _labels(
    frame: pd.DataFrame, metric: str, name: str, checks: list[tuple[str, str]]
) -> tuple[tuple[str, ...] | None, Table | None]:
    """The label list and the scores, if the file has them; an empty list if there are no gold labels."""
    several = frame["choices"].notna()
    labels: tuple[str, ...] | None = None
    scores: Table | None = None
    if several.any():
        labels, scores, found = choose(frame, metric, name)
        checks += found
    else:
        wrong = (frame["outcome"] == WRONG) & frame["label"].notna() & (frame["label"] == frame["prediction"])
        if count := int(wrong.sum()):
            checks.append(
                (
                    "TD402",
                    f"In {count:,} of {len(frame):,} cases of {name} the answer is the gold label, but {metric} "
                    "marks it wrong. Outcomes are taken from the file.",
                )
            )
    return (() if frame["label"].isna().all() else labels), scores
