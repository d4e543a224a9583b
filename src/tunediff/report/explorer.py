"""The cases as the page holds them: JSON for its case explorer, no more of them than a browser is quick with.

    data = explorer_data(results)
    data["cases"][0]     # {"id": "3f...", "texts": ["A man ...", "He ..."], "label": "neutral", "before": None, ...}

Keys that a case has nothing for are left out. Margins are in nats: how far the gold label is before the best other.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tunediff.compare.effects.transitions import TRANSITIONS
from tunediff.data.cases import MODELS
from tunediff.report.notation import decimal
from tunediff.report.results import Record, Results
from tunediff.report.tables import gold_log_prob, margin
from tunediff.runtime.files import visible
from tunediff.tasks.task import Task

MOST_CASES = 10_000
# Of a text, so that ten thousand long paragraphs still fit; cases.jsonl has the whole.
LONGEST = 2_000
# Of a context cut to that length, so much stands before the answer that the cut is around.
BEFORE = 500
# A menu of more is no help.
MOST_LABELS = 50
# What stands beside the evidence already.
SHOWN = {
    *("case_id", "transition", "label", "base_prediction", "tuned_prediction", "base_margin", "tuned_margin"),
    *("clauses", "explanation", "alone", "others", "base_f1", "tuned_f1", "base_answered", "tuned_answered"),
    *("base_score", "tuned_score", "score_name"),
}
NAMES = {
    "base_calibrated_margin": "calibrated margin before, nats",
    "tuned_calibrated_margin": "calibrated margin after, nats",
    "base_parse": "form of the answer before",
    "tuned_parse": "form of the answer after",
    "base_stable": "same answer at another batch size, before",
    "tuned_stable": "same answer at another batch size, after",
    "overlap": "share of its words found in the rest",
    "subsequence": "occurs verbatim in the rest",
    "negation": "negation",
    "nearest": "nearest training cases",
    "base_text": "written before",
    "tuned_text": "written after",
    "base_words": "words of the answer before",
    "tuned_words": "words of the answer after",
    "base_repetition": "repeated runs of four words before",
    "tuned_repetition": "repeated runs of four words after",
    "base_other_script": "answer before in another script",
    "tuned_other_script": "answer after in another script",
    "base_in_sentence": "answer before is in the sentence of the gold answer",
    "tuned_in_sentence": "answer after is in the sentence of the gold answer",
    "base_no_answer_odds": "log-odds of no answer before, nats",
    "tuned_no_answer_odds": "log-odds of no answer after, nats",
    "question_word": "question word",
    "answer_words": "words of the gold answer",
    "answer_overlap": "share of the question's words in the sentence with the answer",
    "position": "place of the answer in the context, 0 to 1",
}


# What cases are sorted by where the task has no score: its name, and the key of a record with it before and after.
MARGIN = ("margin", "margins")


def chosen(transitions: Sequence[str] | pd.Series, most: int = MOST_CASES) -> npt.NDArray[np.int64]:
    """Return the places of the cases that the page holds: all, or where those are too many as many flips as fit.

    Broken and repaired cases have half of the room each; what one of them leaves free the other one takes.
    """
    if len(transitions) <= most:
        return np.arange(len(transitions))
    names = pd.Series(transitions)
    broken, repaired = (np.flatnonzero(names == flip) for flip in ("broken", "repaired"))
    kept = broken[: max(most // 2, most - len(repaired))]
    return np.sort(np.concatenate([kept, repaired[: most - len(kept)]]))


def explorer_data(results: Results) -> dict[str, Any]:
    """Return what the case explorer of the page works on, JSON-ready.

    Args:
        results: of the experiment.

    Returns:
        inputs: their names. labels: gold labels that occur, empty where there are too many for a menu. slices: the
        slices, numbered by the cases. score, key: what there is to sort by, margin or the task's first score, and where
        a case has it; empty where there is neither. total: cases of the test set. cases: what the page shows of each; a
        text in pieces has every second one marked.
    """
    cases = [results.cases[at] for at in chosen([case["transition"] for case in results.cases]).tolist()]
    slices: dict[str, int] = {}
    records = [_record(case, results.task, slices) for case in cases]
    gold = sorted({record["label"] for record in records})
    scores = () if results.task.answers_are_labels else results.task.scores.items()
    key, score = next(iter(scores), MARGIN[::-1])
    if not any(key in record for record in records):
        key, score = "", ""
    return {
        "inputs": list(results.task.inputs),
        "labels": gold if len(gold) <= MOST_LABELS else [],
        "slices": list(slices),
        "score": score,
        "key": key,
        "total": int(results.diff_cases["n"]),
        "cases": records,
    }


def _record(case: Record, task: Task, slices: dict[str, int]) -> dict[str, Any]:
    names = case.get("slices") or [f"tag: {tag}" for tag in case["tags"]]
    record: dict[str, Any] = {
        "id": visible(case["case_id"]),
        "texts": [_text(case, name) for name in task.inputs],
        "label": shortened(case["label"]),
        "before": shortened(case["base_prediction"]),
        "after": shortened(case["tuned_prediction"]),
        "transition": TRANSITIONS.index(case["transition"]),
        "slices": [slices.setdefault(name, len(slices)) for name in dict.fromkeys(names)],
    }
    for name in task.shared_columns:
        record[name] = list(dict.fromkeys(map(shortened, task.gold_texts(case))))
    for stem in task.scores:
        record[stem] = [round(case[f"{who}_{stem}"], 4) for who in MODELS]
    if task.answers_are_labels:
        record |= _probabilities(case, task.labels)
    if case.get("explanation"):
        record["explanation"] = visible(str(case["explanation"]))
    if case.get("evidence"):
        record["evidence"] = _evidence(case["evidence"])
    return record


def _probabilities(case: Record, labels: Sequence[str]) -> dict[str, list[float]]:
    """The probability of the gold label and its margin, before and after, where both are known."""
    found = {}
    gold = [gold_log_prob(case, labels, who) for who in MODELS]
    if gold[0] is not None and gold[1] is not None:
        found["gold"] = [round(math.exp(gold[0]), 4), round(math.exp(gold[1]), 4)]
    margins = [margin(case, labels, who) for who in MODELS]
    if margins[0] is not None and margins[1] is not None:
        found["margins"] = [round(margins[0], 3), round(margins[1], 3)]
    return found


def _text(case: Record, name: str) -> str | list[str] | None:
    """An input as the page holds it: a context in pieces, of which every second one is a gold answer."""
    pieces = pieces_of(case[name], case["answers"]) if name == "context" and case.get("answers") else []
    return pieces if len(pieces) > 1 else shortened(case[name])


def pieces_of(context: str, answers: Sequence[Record]) -> list[str]:
    """Return a context cut at its gold answers: plain, answer, plain, ...; where it is long, the part around them.

    Args:
        context: visible text.
        answers: each with text and start, None where it does not stand in the context.
    """
    marked: list[list[int]] = []
    for start, end in sorted(
        (one["start"], one["start"] + len(one["text"])) for one in answers if one["start"] is not None
    ):
        if marked and start <= marked[-1][1]:
            marked[-1][1] = max(marked[-1][1], end)
        elif end > start:
            marked.append([start, end])
    # A later answer that leaves no room for the first one is cut off with the end.
    first = max(0, min(marked[0][0] - BEFORE, len(context) - LONGEST)) if marked and len(context) > LONGEST else 0
    last = min(len(context), first + LONGEST)
    places = [first, *(min(place, last) for span in marked for place in span if span[0] < last), last]
    pieces = [context[start:end] for start, end in pairwise(places)]
    pieces[0] = "…" * (first > 0) + pieces[0]
    pieces[-1] += "…" * (last < len(context))
    return pieces


def shortened(text: object) -> str | None:
    """Text of a case as the page holds it; None stays None."""
    if text is None:
        return None
    plain = visible(str(text))
    return plain if len(plain) <= LONGEST else plain[: LONGEST - 1] + "…"


def _evidence(fields: Mapping[str, Any]) -> list[list[str]]:
    """The evidence as names and values in words."""
    alone = fields.get("alone", "one input")
    names = {f"{who}_partial_input": f"answer from the {alone} alone, {when}"
             for who, when in (("base", "before"), ("tuned", "after"))}  # fmt: skip
    return [
        [NAMES.get(key) or names.get(key) or visible(key.replace("_", " ")), _words(value)]
        for key, value in fields.items()
        if key not in SHOWN and value is not None
    ]


def _words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return decimal(value, 2)
    if isinstance(value, Mapping) and {"case_id", "label", "distance"} <= set(value):
        return visible(f"{value['label']} at distance {float(value['distance']):.2f} ({value['case_id']})")
    if isinstance(value, Mapping) and {"question", "answer", "distance"} <= set(value):
        answer = value["answer"] or "no answer"
        return visible(
            f"{value['question']} → {answer}, at distance {float(value['distance']):.2f} ({value['case_id']})"
        )
    if isinstance(value, list):
        return "; ".join(map(_words, value)) or "none"
    return visible(str(value))
