"""Why a case flipped, as far as stored evidence goes: fields first, then a sentence or two made of them alone.

    {"transition": "repaired", "base_margin": -2.31, "tuned_margin": 0.8, "base_calibrated_margin": 0.12, ...}
    The gold label trailed by 2.31 nats before and leads by 0.80 after; without the base model's preference among the
    labels it would have led before (by 0.12 nats).

A clause is written by a rule of `RULES`, which is handed the fields it cites and nothing else. So a clause cannot
speak of what was not measured: where a cited field is missing, its clause is.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from tunediff.compare.effects.label_bias import calibrated
from tunediff.compare.explanations.wording import wording
from tunediff.config.task import Task
from tunediff.data.cases import INVALID, Case
from tunediff.metrics.calibration import gold_margins, label_codes, log_prob_array
from tunediff.runtime.errors import TunediffError

FLIPS = ("repaired", "broken")
# Two clauses a sentence, two sentences.
MOST_CLAUSES = 4
# A training case this near shares about half of its weighted words.
NEAR = 0.5
PARSED, NO_LABEL, CUT_OFF = "parsed", "no label", "cut off"


# The fields that a clause cites, and what writes it from them alone; the most telling first.
Rules = tuple[tuple[tuple[str, ...], Callable[..., str | None]], ...]


class Clause(NamedTuple):
    """A piece of an explanation, and the evidence fields that it was made of."""

    text: str
    fields: tuple[str, ...]


class Neighbour(NamedTuple):
    """A training case, and its cosine distance to a case in 0..1."""

    case_id: str
    label: str
    distance: float


def causes(
    aligned: pd.DataFrame, cells: pd.Series, cases: Sequence[Case], task: Task, train: Sequence[Case] = ()
) -> Iterator[dict[str, Any]]:
    """Return the evidence and the explanation of each repaired or broken case, JSON-ready, in the order of `aligned`.

    Args:
        aligned: what `tunediff.compare.pairs.align.align` returns, with log_probs_base and log_probs_tuned; and where
            they were measured, for base and tuned, partial_input_MODEL (predicted label) and stable_MODEL (whether the
            answer is the same at another batch size).
        cells: the transition of each row of `aligned`.
        cases: the test cases, in any order.
        task: names of inputs and labels.
        train: the training cases; none: no neighbours.

    Returns:
        The fields of `evidence`, then clauses (text and fields of each) and explanation, a sentence or two.

    Raises:
        TunediffError: a flipped case is not among `cases`, or log-probabilities are no finite numbers, one a label.
    """
    return told(evidence(aligned, cells, cases, task, train), RULES)


def told(rows: Iterable[dict[str, Any]], rules: Rules) -> Iterator[dict[str, Any]]:
    """Yield the evidence of each case with its clauses and its explanation."""
    for fields in rows:
        clauses = explain(fields, rules)
        yield {
            **fields,
            "clauses": [{"text": clause.text, "fields": list(clause.fields)} for clause in clauses],
            "explanation": sentences(clauses),
        }


def evidence(
    aligned: pd.DataFrame, cells: pd.Series, cases: Sequence[Case], task: Task, train: Sequence[Case] = ()
) -> list[dict[str, Any]]:
    """Return the evidence of each repaired or broken case; what was not measured is not among its fields.

    Arguments and errors are those of `causes`.

    Returns:
        case_id, transition, label, base_prediction and tuned_prediction (None where invalid). For base and tuned:
        margin, the log-probability of the gold label less that of the best other, in nats; calibrated_margin, the
        same without the model's preference among the labels over all of `aligned`; parse ("parsed", "no label", or
        "cut off" at the token limit); partial_input, the predicted label from the partial-input input alone; stable.
        negation, overlap, subsequence: as `tunediff.compare.explanations.wording.wording` says. alone, others: names of
        the inputs that the last two compare. nearest: the nearest training cases with case_id, label and distance.
    """
    flipped, own = flipped_cases(aligned, cells, cases)
    if not own:
        return []
    rows = aligned.iloc[flipped]
    columns: dict[str, Sequence[Any]] = {
        "case_id": rows["case_id"].tolist(),
        "transition": cells.iloc[flipped].astype(str).tolist(),
        "label": rows["label"].tolist(),
    }
    for who in ("base", "tuned"):
        columns |= {f"{who}_{name}": values for name, values in _of_model(aligned, flipped, who, task.labels).items()}
    texts = wording(own, task)
    columns |= {name: texts[name].tolist() for name in ("negation", "overlap", "subsequence") if name in texts}
    if len(task.inputs) > 1:
        columns["alone"] = [task.partial_input] * len(own)
        columns["others"] = [" and ".join(name for name in task.inputs if name != task.partial_input)] * len(own)
    if train:
        columns["nearest"] = [[one._asdict() for one in near] for near in nearest(own, train, task.inputs)]
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def flipped_cases(
    aligned: pd.DataFrame, cells: pd.Series, cases: Sequence[Case]
) -> tuple[npt.NDArray[np.intp], list[Case]]:
    """Return the rows of `aligned` that are repaired or broken, and their cases.

    Raises:
        TunediffError: a flipped case is not among `cases`.
    """
    flipped = np.flatnonzero(cells.isin(FLIPS).to_numpy())
    ids = aligned["case_id"].iloc[flipped]
    by_id = {case.case_id: case for case in cases}
    missing = [case_id for case_id in ids if case_id not in by_id]
    if missing:
        raise TunediffError(f"causes: found no case for prediction {missing[0]} ({len(missing)} such predictions)")
    return flipped, [by_id[case_id] for case_id in ids]


def nearest(cases: Sequence[Case], train: Sequence[Case], inputs: Sequence[str], k: int = 3) -> list[list[Neighbour]]:
    """Return the k nearest training cases of each case, nearest first; of equals, the first in training order.

    By the cosine distance of TF-IDF weighted words of the inputs together.
    """
    # scikit-learn takes over a second to import: only who asks for neighbours pays for it.
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
        for _ in range(min(k, len(train))):
            best = similar.argmax(axis=1)
            picks.append((best, similar[at_rows, best]))
            similar[at_rows, best] = -1
        for row in at_rows:
            near = [(train[best[row]], float(similarity[row])) for best, similarity in picks]
            found.append([Neighbour(case.case_id, case.label, _distance(similarity)) for case, similarity in near])
    return found


def explain(fields: Mapping[str, Any], rules: Rules) -> list[Clause]:
    """Return the clauses that the evidence of one case supports, the most telling first, at most `MOST_CLAUSES`."""
    written = (
        Clause(text, cited)
        for cited, rule in rules
        if all(fields.get(name) is not None for name in cited) and (text := rule(*(fields[name] for name in cited)))
    )
    return list(islice(written, MOST_CLAUSES))


def sentences(clauses: Sequence[Clause]) -> str:
    """Return clauses as sentences, two clauses each."""
    pairs = ("; ".join(clause.text for clause in clauses[at : at + 2]) for at in range(0, len(clauses), 2))
    return " ".join(f"{text[0].upper()}{text[1:]}." for text in pairs)


def _of_model(
    aligned: pd.DataFrame, flipped: npt.NDArray[np.intp], who: str, labels: Sequence[str]
) -> dict[str, list[Any]]:
    """The evidence that one model gives about the flipped rows, by name of the field without the model."""
    rows = aligned.iloc[flipped]
    gold = label_codes(labels, rows["label"])
    # The preference among the labels is that over all cases; the flipped ones alone would tell another.
    log_probs = log_prob_array(aligned[f"log_probs_{who}"])
    columns = {
        "prediction": plain(rows[f"prediction_{who}"]),
        "margin": gold_margins(log_probs[flipped], gold).tolist(),
        "calibrated_margin": gold_margins(calibrated(log_probs)[flipped], gold).tolist(),
        "parse": parse_status(rows, who),
    }
    optional = {name: f"{name}_{who}" for name in ("partial_input", "stable")}
    return columns | {name: plain(rows[column]) for name, column in optional.items() if column in rows}


def parse_status(rows: pd.DataFrame, who: str) -> list[str]:
    """Return of each answer whether it could be parsed: "parsed", "no label", or "cut off" at the token limit."""
    invalid = (rows[f"outcome_{who}"] == INVALID).to_numpy()
    reasons = rows.get(f"finish_reason_{who}")
    cut = invalid & (reasons == "length").to_numpy() if reasons is not None else np.zeros(len(rows), dtype=bool)
    return [str(status) for status in np.select([cut, invalid], [CUT_OFF, NO_LABEL], PARSED)]


def plain(column: pd.Series) -> list[Any]:
    """Return the values as JSON has them, None where one is missing."""
    values: list[Any] = column.astype(object).where(column.notna(), None).tolist()
    return values


def _text(case: Case, inputs: Sequence[str]) -> str:
    return "\n".join(case.inputs[name] for name in inputs)


def _distance(similarity: float) -> float:
    # A cosine of two equal texts may come out a rounding above 1.
    return round(min(1.0, max(0.0, 1 - similarity)), 6)


# --- rules: each is handed the fields that it cites, and answers with a clause or with None ----------------------


def _form(base: str, tuned: str) -> str | None:
    said = {NO_LABEL: "named no label", CUT_OFF: "named no label within the token limit"}
    if (base == PARSED) == (tuned == PARSED):
        return None
    if tuned == PARSED:
        return f"the base model's answer {said[base]}, the tuned model's does"
    return f"the base model's answer named a label, the tuned model's {said[tuned]}"


def _lead(base: float, tuned: float) -> str:
    def place(margin: float, leads: str, trails: str) -> str:
        return f"{leads if margin >= 0 else trails} by {abs(margin):.2f} nats"

    return f"the gold label {place(base, 'led', 'trailed')} before and {place(tuned, 'leads', 'trails')} after"


def _preference(transition: str, base: float, tuned: float) -> str | None:
    if transition == "repaired" and base > 0:
        return f"without the base model's preference among the labels it would have led before (by {base:.2f} nats)"
    if transition == "broken" and tuned > 0:
        return f"without the tuned model's preference among the labels it would still lead (by {tuned:.2f} nats)"
    return None


def unstable(who: str) -> Callable[[bool], str | None]:
    """Return the rule that tells of an answer that is another one at another batch size."""
    text = f"the {who} model's answer changes with the batch size, so this flip may be noise"
    return lambda stable: None if stable else text


def _from_one_input(base: str, tuned: str, alone: str) -> str:
    if base == tuned:
        return f"from the {alone} alone both models answer {base!r}"
    return f"from the {alone} alone the base model answers {base!r} and the tuned model {tuned!r}"


def _neighbour(near: Sequence[Mapping[str, Any]], label: str) -> str | None:
    if not near:
        return None
    first = near[0]
    if first["distance"] > NEAR:
        return f"no training case is near (the nearest at distance {first['distance']:.2f})"
    alike = "the same label" if first["label"] == label else f"another label, {first['label']!r}"
    return f"the nearest training case (at distance {first['distance']:.2f}) has {alike}"


def _wording(overlap: float, subsequence: bool, alone: str, others: str) -> str | None:
    if subsequence:
        return f"the {alone} stands word for word in the {others}"
    if overlap == 1:
        return f"every word of the {alone} stands in the {others}"
    return f"no word of the {alone} stands in the {others}" if overlap == 0 else None


def _negation(negation: str) -> str | None:
    return None if negation == "none" else f"there is a negation {negation.replace('in ', 'in the ', 1)}"


RULES: Rules = (
    (("base_parse", "tuned_parse"), _form),
    (("base_margin", "tuned_margin"), _lead),
    (("transition", "base_calibrated_margin", "tuned_calibrated_margin"), _preference),
    (("base_stable",), unstable("base")),
    (("tuned_stable",), unstable("tuned")),
    (("base_partial_input", "tuned_partial_input", "alone"), _from_one_input),
    (("nearest", "label"), _neighbour),
    (("overlap", "subsequence", "alone", "others"), _wording),
    (("negation",), _negation),
)
