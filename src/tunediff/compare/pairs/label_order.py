"""Scores per label in files of other tools: find the label of each number, and convert to log-probabilities.

>>> scored = Scored(size=2, labels=None)
>>> scored.look([[2.0, 1.0], [0.1, 0.7]], ["yes", "no"])
>>> scored.order
{0: 'yes', 1: 'no'}
>>> log_probabilities([[0.25, 0.75]]).round(3).tolist()        # or logits, or log-probabilities
[[-1.386, -0.288]]
"""

from collections.abc import Sequence
from itertools import chain
from operator import itemgetter
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tunediff.data.values import value_text
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import from_json, shown
from tunediff.runtime.problems import Problems

Table = npt.NDArray[np.float64]

# Numbers with more decimal places are treated as not rounded.
MOST_PLACES = 6


PROBABILITIES, LOG_PROBABILITIES, LOGITS = "probabilities", "log-probabilities", "logits or log-likelihoods"


class Scored:
    """Collect statistics of one file's scores, before they are converted to log-probabilities.

    Args:
        size: numbers per case.
        labels: labels in the order of the numbers, if the file lists them.
    """

    def __init__(self, size: int, labels: tuple[str, ...] | None) -> None:
        self.size, self.labels = size, labels
        self._low, self._high = np.inf, -np.inf
        # Largest deviations from 1 of the row sums, the row sums as percentages, and the row sums of the exponentials.
        self._off = np.zeros(3)
        self._places = 0
        self._tops: set[tuple[int, str]] = set()

    @property
    def interpretation(self) -> str:
        """The interpretation of the numbers: `PROBABILITIES`, `LOG_PROBABILITIES` or `LOGITS`.

        Probabilities are in 0..1 (or 0..100), and each row sums to 1 (or 100) up to rounding: each number may be off by
        half a unit of the last decimal place in the file. Exponentials of log-probabilities sum to 1.
        """
        unit = self.size * 0.5 * 10.0**-self._places + 1e-9
        rounding = max(0.01, unit if self._places else 0.0)
        one, hundred, exponentials = self._off
        if self._low >= 0 and (one <= rounding if self._high <= 1.01 else hundred <= max(0.01, unit / 100)):
            return PROBABILITIES
        return LOG_PROBABILITIES if self._high <= 0 and exponentials <= rounding else LOGITS

    @property
    def probable(self) -> bool:
        """Whether the numbers are interpreted as probabilities."""
        return self.interpretation == PROBABILITIES

    def look(self, scores: npt.ArrayLike, predictions: Sequence[str | None] | pd.Series) -> None:
        """Add a chunk of cases: scores of shape (n_cases, size) and their predictions."""
        table = np.asarray(scores, dtype=np.float64)
        self._low, self._high = min(self._low, table.min()), max(self._high, table.max())
        sums = table.sum(axis=1)
        with np.errstate(over="ignore"):
            off = [sums - 1, sums / 100 - 1, np.exp(np.minimum(table, 1)).sum(axis=1) - 1]
        self._off = np.maximum(self._off, np.abs(off).max(axis=1))
        while self._places < MOST_PLACES and not np.allclose(table, table.round(self._places), rtol=0, atol=1e-9):
            self._places += 1
        # More pairs than places mean that the predictions do not follow the scores.
        if len(self._tops) <= self.size:
            top = table.argmax(axis=1)
            clear = (table == table.max(axis=1, keepdims=True)).sum(axis=1) == 1
            rows = pd.DataFrame({"place": top, "label": pd.Series(predictions).to_numpy()})[clear]
            pairs = rows.dropna().drop_duplicates().itertuples(index=False)
            self._tops |= {(int(place), str(label)) for place, label in pairs}

    @property
    def order(self) -> dict[int, str]:
        """The label of each place in the scores, inferred from the predictions of cases where that place is highest.

        Empty if the predictions do not follow the highest score. Places that are never highest are omitted.
        """
        places, labels = ({pair[at] for pair in self._tops} for at in (0, 1))
        return dict(sorted(self._tops)) if len(places) == len(labels) == len(self._tops) else {}


def common_labels(before: Scored, after: Scored, names: tuple[str, str]) -> tuple[str, ...]:
    """Return the labels in the order of the scores of both files.

    If neither file lists its labels, the order is inferred from the predictions of both, see `Scored.order`.

    Args:
        before: scores of the base model.
        after: scores of the tuned model.
        names: names of the two for error messages.

    Raises:
        TunediffError: the label lists or their orders differ, or the order cannot be inferred.
    """
    both = f"{names[0]} and {names[1]}"
    known = before.labels or after.labels or _learnt(before, after, both)
    for file in (before, after):
        if (file.labels or known) != known or file.size != len(known):
            found = ", ".join(file.labels or ()) or f"{file.size} numbers per case"
            raise TunediffError(
                f"{both}: label list: found {', '.join(known)} in one and {found} in the other, expected the same"
            )
    return known


def _learnt(before: Scored, after: Scored, both: str) -> tuple[str, ...]:
    first, second = before.order, after.order
    for place in sorted(first.keys() & second.keys()):
        if first[place] != second[place]:
            raise TunediffError(
                f"{both}: label list: number {place + 1} of the scores belongs to {shown(first[place])} in one and "
                f"to {shown(second[place])} in the other, expected the same order in both"
            )
    learnt = first | second
    if sorted(learnt) != list(range(before.size)):
        raise TunediffError(
            f"{both}: scores: cannot infer which label each score belongs to, because no order of the labels makes "
            "the predictions the highest scores; expected objects of the form {label: score}"
        )
    return tuple(learnt[place] for place in range(len(learnt)))


def score_table(scores: pd.Series, name: str) -> tuple[Table, tuple[str, ...] | None]:
    """Return the scores of shape (n_cases, n_labels), and their labels, sorted, if the scores name them.

    Args:
        scores: the scores of each case: a list of numbers, an object {label: number}, or either as JSON text.
        name: name of the file for error messages.

    Raises:
        TunediffError: a case has no finite number for a label, or two labels have the same text.
    """
    values: list[Any] = [_json(value) if isinstance(value, str) else value for value in scores.astype(object)]
    keys = tuple(sorted(map(str, values[0]), key=_label)) if isinstance(values[0], dict) else None
    size = len(values[0]) if isinstance(values[0], dict | list | tuple | np.ndarray) else 0
    rows = map(itemgetter(*keys), values) if keys is not None and size > 1 else values
    try:
        if size < 2 or any(len(value) != size for value in values):
            raise ValueError
        flat = np.fromiter(chain.from_iterable(rows), dtype=np.float64, count=size * len(values))
        if not np.isfinite(flat).all():
            raise ValueError
    except (TypeError, ValueError, KeyError, OverflowError):  # OverflowError: an integer too large for a float
        problems = Problems(name)
        for row, (number, value) in enumerate(zip(scores.index, values, strict=True)):
            if not _is_scores(value, keys, size):
                found = f"scores: found {shown(scores.iloc[row])}, expected a finite number for each label, "
                problems.add(number, f"{found}the same labels in every row", kind="scores")
        problems.check()
        raise
    labels = None if keys is None else tuple(map(_label, keys))
    if labels is not None and len(set(labels)) < len(labels):
        raise TunediffError(f"{name}: scores: found the labels {shown(list(keys or ()))}, expected different ones")
    return flat.reshape(-1, size), labels


def _label(key: str) -> str:
    return value_text(key) or ""


def _json(text: str) -> object:
    """The value of a JSON text, None if it is not JSON."""
    try:
        return from_json(text)
    except ValueError:
        return None


def _is_scores(value: Any, labels: tuple[str, ...] | None, size: int) -> bool:
    if labels is not None:
        value = [value.get(label) for label in labels] if isinstance(value, dict) and len(value) == size else None
    try:
        row = np.array(list(value), dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        return False
    return row.shape == (size,) and size >= 2 and bool(np.isfinite(row).all())


def log_probabilities(scores: npt.ArrayLike, probable: bool | None = None) -> Table:
    """Return log-probabilities (natural logarithm), each row normalised over the labels.

    Logits and log-probabilities (`Scored.interpretation`) are normalised by the same formula.

    Args:
        scores: finite numbers of shape (n_cases, n_labels).
        probable: whether they are probabilities; None: infer it from these scores.
    """
    table = np.asarray(scores, dtype=np.float64)
    if probable is None:
        seen = Scored(table.shape[1], None)
        seen.look(table, [None] * len(table))
        probable = seen.probable
    if probable:
        # A probability rounded to 0 gets a finite logarithm.
        table = np.log(np.maximum(table, np.finfo(np.float64).tiny))
    shifted = table - table.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))
