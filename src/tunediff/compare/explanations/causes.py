"""Why a case flipped, as far as the stored evidence shows: evidence fields, and a sentence or two made from them.

    {"transition": "repaired", "base_margin": -2.31, "tuned_margin": 0.8, "base_calibrated_margin": 0.12, ...}
    The gold label trailed by 2.31 nats before and leads by 0.80 after; without the base model's label bias it
    would have led before (by 0.12 nats).

A clause is written by a rule of the task's `clauses`, which gets only the fields that it cites. So a clause cannot
mention anything that was not measured: if a cited field is missing, its clause is omitted.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from tunediff.compare.effects.evaluation_settings import most_likely
from tunediff.data.cases import INVALID, MODELS, Case
from tunediff.metrics.calibration import gold_margins, label_codes
from tunediff.tasks.clauses import CUT_OFF, NO_LABEL, PARSED, Rules

if TYPE_CHECKING:
    from tunediff.compare.comparison import Comparison

FLIPS = ("repaired", "broken")
NEAREST = 3
# Two sentences of two clauses.
MOST_CLAUSES = 4


class Clause(NamedTuple):
    """A part of an explanation, and the evidence fields that it cites."""

    text: str
    fields: tuple[str, ...]


class Neighbour(NamedTuple):
    """A training case, and its cosine distance to a case in 0..1."""

    case: Case
    distance: float


def causes(
    comparison: "Comparison", chosen: npt.NDArray[np.intp], stable: pd.Series | None = None
) -> Iterator[dict[str, Any]]:
    """Yield evidence and explanation of the chosen cases, JSON-ready, in the order of `chosen`.

    Args:
        comparison: a comparison that has its cases.
        chosen: rows of cases that are repaired or broken.
        stable: whether the base model gives the same answer at another batch size, by case_id; None if not measured.

    Yields:
        The fields of `evidence`, clauses (text and fields of each) and explanation, one or two sentences.

    Raises:
        TunediffError: log-probabilities are not finite numbers, one per label.
    """
    for fields in evidence(comparison, chosen, stable):
        clauses = explain(fields, comparison.task.clauses)
        yield {
            **fields,
            "clauses": [{"text": clause.text, "fields": list(clause.fields)} for clause in clauses],
            "explanation": sentences(clauses),
        }


def evidence(
    comparison: "Comparison", chosen: npt.NDArray[np.intp], stable: pd.Series | None = None
) -> list[dict[str, Any]]:
    """Return the evidence of the chosen cases; fields that were not measured are None or missing.

    Arguments and errors are those of `causes`.

    Returns:
        case_id, transition, label. For base and tuned: prediction (None if invalid); if answers are labels, margin (the
        log-probability of the gold label minus that of the best other label, in nats), calibrated_margin (the same
        without the model's label bias over all cases) and partial_input (the label predicted from the partial
        input alone); parse ("parsed", "no label", or "cut off" at the token limit); the fields of
        `Task.model_evidence`; for the base, stable. Then the fields of `Task.case_evidence`. nearest: the nearest
        training cases, as described by `Task.neighbour`.
    """
    if not len(chosen):
        return []
    task, rows = comparison.task, comparison.aligned.iloc[chosen]
    cases = [comparison.cases[row] for row in chosen.tolist()]
    columns: dict[str, Sequence[Any]] = {
        "case_id": rows["case_id"].tolist(),
        "transition": comparison.cells.iloc[chosen].astype(str).tolist(),
        "label": rows["label"].tolist(),
    }
    for who in MODELS:
        found: dict[str, list[Any]] = {"prediction": plain(rows[f"prediction_{who}"])}
        if task.answers_are_labels and comparison.log_probs:
            gold = label_codes(task.labels, rows["label"])
            found["margin"] = gold_margins(comparison.log_probs[who][chosen], gold).tolist()
            # Calibrated over all cases: flipped cases alone would give a different label bias.
            found["calibrated_margin"] = gold_margins(comparison.calibrated[who][chosen], gold).tolist()
        found["parse"] = parse_status(rows, who)
        found |= task.model_evidence(rows, cases, who)
        if who in comparison.partial_input_log_probs:
            found["partial_input"] = most_likely(comparison.partial_input_log_probs[who][chosen], task.labels)
        if who == "base" and stable is not None:
            found["stable"] = plain(rows["case_id"].map(stable))
        columns |= {f"{who}_{name}": values for name, values in found.items()}
    columns |= task.case_evidence(cases)
    if comparison.train:
        near = nearest(cases, comparison.train, task.near_inputs)
        columns["nearest"] = [[task.neighbour(case, distance) for case, distance in each] for each in near]
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def nearest(cases: Sequence[Case], train: Sequence[Case], inputs: Sequence[str]) -> list[list[Neighbour]]:
    """Return the three nearest training cases of each case, nearest first; ties in the order of training.

    The distance is the cosine distance of the TF-IDF weighted words of all inputs.
    """
    # scikit-learn takes over a second to import.
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(token_pattern=r"(?u)\b\w+\b", dtype=np.float32)  # noqa: S106
    try:
        known = vectorizer.fit_transform([_text(case, inputs) for case in train]).T.tocsc()
    except ValueError:  # no word in any training text
        return [[] for _ in cases]
    wanted = vectorizer.transform([_text(case, inputs) for case in cases])
    found: list[list[Neighbour]] = []
    step = max(1, 16_000_000 // len(train))  # 64 MB of similarities at a time
    for at in range(0, len(cases), step):
        similar = (wanted[at : at + step] @ known).toarray()
        at_rows, picks = np.arange(len(similar)), []
        for _ in range(min(NEAREST, len(train))):
            best = similar.argmax(axis=1)
            picks.append((best, similar[at_rows, best]))
            similar[at_rows, best] = -1
        for row in at_rows:
            near = [(train[best[row]], 1 - float(similarity[row])) for best, similarity in picks]
            # Rounding can make the cosine of two equal texts slightly larger than 1.
            found.append([Neighbour(case, round(min(1.0, max(0.0, distance)), 6)) for case, distance in near])
    return found


def explain(fields: Mapping[str, Any], rules: Rules) -> list[Clause]:
    """Return the clauses that the evidence of one case supports, at most `MOST_CLAUSES`, in the order of the rules."""
    written = (
        Clause(text, cited)
        for cited, rule in rules
        if all(fields.get(name) is not None for name in cited) and (text := rule(*(fields[name] for name in cited)))
    )
    return list(islice(written, MOST_CLAUSES))


def sentences(clauses: Sequence[Clause]) -> str:
    """Join clauses into sentences of two clauses each."""
    pairs = ("; ".join(clause.text for clause in clauses[at : at + 2]) for at in range(0, len(clauses), 2))
    return " ".join(f"{text[0].upper()}{text[1:]}." for text in pairs)


def parse_status(rows: pd.DataFrame, who: str) -> list[str]:
    """Return the parse status of each answer: "parsed", "no label", or "cut off" at the token limit."""
    invalid = (rows[f"outcome_{who}"] == INVALID).to_numpy()
    reasons = rows.get(f"finish_reason_{who}")
    cut = invalid & (reasons == "length").to_numpy() if reasons is not None else np.zeros(len(rows), dtype=bool)
    return [str(status) for status in np.select([cut, invalid], [CUT_OFF, NO_LABEL], PARSED)]


def plain(column: pd.Series) -> list[Any]:
    """Return the values as a list for JSON, with None for missing ones."""
    values: list[Any] = column.astype(object).where(column.notna(), None).tolist()
    return values


def _text(case: Case, inputs: Sequence[str]) -> str:
    return "\n".join(case.inputs[name] for name in inputs)
