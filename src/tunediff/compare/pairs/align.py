"""Pair two prediction files case by case, after checking that cases, labels, prompts, scorers and label lists agree.

>>> base = pd.DataFrame({"case_id": ["a", "b"], "label": ["yes", "no"], "prediction": ["no", "no"],
...                      "outcome": ["wrong", "right"], "prompt_hash": ["p1", "p2"], "scorer": "choices"})
>>> tuned = base.assign(prediction=["yes", "no"], outcome="right").iloc[::-1]
>>> align(base, tuned)[["case_id", "label", "prediction_base", "prediction_tuned"]].values.tolist()
[['a', 'yes', 'no', 'yes'], ['b', 'no', 'no', 'no']]

Cases are paired by hashes of their ids, 8 bytes per case: `paired_rows` reads the ids in chunks, so it also pairs files
that do not fit into memory. Cases without an id get one from their inputs: `input_ids`.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import count

import numpy as np
import numpy.typing as npt
import pandas as pd

from tunediff.data.cases import MODELS, OUTCOMES
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import shown
from tunediff.runtime.hashing import content_hash

# Columns that must be equal in both files, and occur once in the aligned frame.
SHARED = ("label", "prompt_hash", "scorer")

Rows = npt.NDArray[np.int64]
# Returns an iterator over the case ids of a file, in chunks; it can be called several times.
Ids = Callable[[], Iterable[pd.Series]]


def input_ids(inputs: pd.DataFrame, occurrences: Sequence[int] | Rows | None = None) -> pd.Series:
    """Return the case id of each row of input fields: 16 hexadecimal digits hashed from names and texts.

    They equal those of `tunediff.data.cases.make_cases`, except that repeated inputs are distinguished only by their
    occurrence.

    Args:
        inputs: one column per input field.
        occurrences: occurrence number of each row among rows with the same inputs, from 1; None: 1 for every row.
    """
    # As objects, because iterating over Arrow strings takes as long as hashing them.
    texts = zip(*(inputs[name].astype(object) for name in inputs), strict=True)
    records = (dict(zip(inputs.columns, row, strict=True)) for row in texts)
    numbers = np.ones(len(inputs), dtype=int) if occurrences is None else np.asarray(occurrences)
    ids = [
        content_hash(record if number == 1 else [record, number])
        for record, number in zip(records, numbers.tolist(), strict=True)
    ]
    return pd.Series(ids, index=inputs.index, dtype="str", name="case_id")


def align(
    base: pd.DataFrame,
    tuned: pd.DataFrame,
    names: tuple[str, str] = MODELS,
    shared: Sequence[str] = (),
    labels: tuple[Sequence[str] | None, Sequence[str] | None] = (None, None),
) -> pd.DataFrame:
    """Return one row a case, in the order of `base`.

    Args:
        base: predictions before, with case_id, label, prediction, outcome, prompt_hash, scorer, and any other column.
        tuned: predictions after, with the same columns, in any order of rows.
        names: names of the two for error messages, such as their paths.
        shared: further columns that must be equal in both, such as the input fields.
        labels: the label list of each, in the order of its scores, if known.

    Returns:
        case_id, label, prompt_hash, scorer and the `shared` columns, then every other column of `base` with the
        suffix `_base` and of `tuned` with the suffix `_tuned`.

    Raises:
        TunediffError: a column is missing, a file has no case, a repeated case id or an unknown outcome, or the two
            differ in their label lists, case ids, labels, prompts, scorers or other shared columns.
    """
    for frame, name in zip((base, tuned), names, strict=True):
        check_columns(frame, name, shared)
    check_labels(labels, names)
    rows = paired_rows(lambda: [base["case_id"]], lambda: [tuned["case_id"]], names)
    base, tuned = base.reset_index(drop=True), tuned.iloc[rows].reset_index(drop=True)
    agreement = SharedColumns(shared)
    agreement.look(base, tuned)
    agreement.check(names)
    return agreement.join(base, tuned)


def check_columns(frame: pd.DataFrame, name: str, shared: Sequence[str] = ()) -> None:
    """Check that predictions have the required columns, at least one case, and known outcomes.

    Raises:
        TunediffError: they do not.
    """
    needed = ["case_id", "label", "prediction", "outcome", "prompt_hash", "scorer", *shared]
    missing = [column for column in needed if column not in frame]
    if missing:
        raise TunediffError(f"{name}: columns: found no {', '.join(missing)}, expected at least {', '.join(needed)}")
    if frame.empty:
        raise TunediffError(f"{name}: found no case, expected at least one")
    unknown = ~frame["outcome"].isin(OUTCOMES)
    if unknown.any():
        row = int(unknown.to_numpy().argmax())
        raise TunediffError(
            f"{name}: outcome: found {frame['outcome'].iloc[row]!r} for case {frame['case_id'].iloc[row]}, "
            f"expected one of {', '.join(OUTCOMES)}"
        )


def check_labels(labels: tuple[Sequence[str] | None, Sequence[str] | None], names: tuple[str, str]) -> None:
    """Check that two label lists are equal, if both are known.

    Raises:
        TunediffError: they differ, if only in their order.
    """
    first, second = labels
    if first is not None and second is not None and list(first) != list(second):
        raise TunediffError(
            f"{names[0]} and {names[1]}: label list: found {', '.join(first)} and {', '.join(second)}, "
            "expected the same in both"
        )


def paired_rows(base: Ids, tuned: Ids, names: tuple[str, str]) -> Rows:
    """Return the row of `tuned` with the case of each row of `base`, of shape (n_cases,).

    Raises:
        TunediffError: a case id occurs twice in a file, or in one file only.
    """
    for salt in count():
        keys = [_keys(ids(), salt) for ids in (base, tuned)]
        orders = [np.argsort(one, kind="stable") for one in keys]
        alike = [_alike(one[order], order) for one, order in zip(keys, orders, strict=True)]
        for ids, rows, name in zip((base, tuned), alike, names, strict=True):
            _check_once(texts_at(ids(), rows), name)
        # Different ids with the same hash: hash again with another salt.
        if not any(map(len, alike)):
            break
    first, second = (one[order] for one, order in zip(keys, orders, strict=True))
    known = np.isin(first, second, assume_unique=True), np.isin(second, first, assume_unique=True)
    only = [np.sort(order[~shared]) for order, shared in zip(orders, known, strict=True)]
    if any(map(len, only)):
        found = ", ".join(
            f"{len(rows)} only in {name} ({first_three(texts_at(ids(), rows[:4]))})"
            for ids, rows, name in zip((base, tuned), only, names, strict=True)
            if len(rows)
        )
        raise TunediffError(
            f"{names[0]} and {names[1]}: different cases: found {found}; expected the same case ids in both"
        )
    rows = np.empty(len(first), dtype=np.int64)
    rows[orders[0]] = orders[1]
    return rows


def _keys(ids: Iterable[pd.Series], salt: int) -> npt.NDArray[np.uint64]:
    hashed = [
        pd.util.hash_array(part.astype(str).to_numpy(dtype=object), hash_key=f"{salt:016}", categorize=False)
        for part in ids
    ]
    return np.concatenate(hashed)


def _alike(keys: npt.NDArray[np.uint64], order: Rows) -> Rows:
    """The rows that share their key with another row, ascending, given the sorted keys and the rows in that order."""
    same = keys[1:] == keys[:-1]
    return np.sort(order[np.append(same, False) | np.append(False, same)])


def _check_once(ids: pd.Series, name: str) -> None:
    repeated = ids[ids.duplicated()].drop_duplicates()
    if len(repeated):
        raise TunediffError(
            f"{name}: case_id: found {len(repeated)} more than once ({first_three(repeated)}), expected each once"
        )


def texts_at(column: Iterable[pd.Series], rows: Rows) -> pd.Series:
    """Return the values of a column, which is read in chunks, at ascending rows."""
    found, start = [], 0
    for part in column:
        first, last = np.searchsorted(rows, [start, start + len(part)])
        found.append(part.iloc[rows[first:last] - start])
        start += len(part)
    return pd.concat(found, ignore_index=True)


class SharedColumns:
    """Check, chunk by chunk, that the columns that both files share are equal.

    Args:
        shared: columns in addition to case_id and `SHARED`.
    """

    def __init__(self, shared: Sequence[str]) -> None:
        self.columns = ["case_id", *SHARED, *shared]
        self._cases = 0
        self._counts = dict.fromkeys(self.columns, 0)
        self._ids: dict[str, pd.Series] = {}
        self._first: dict[str, tuple[object, object]] = {}

    def look(self, base: pd.DataFrame, tuned: pd.DataFrame) -> None:
        """Compare a chunk of cases; both frames have the same order and an index from 0."""
        self._cases += len(base)
        for column in self.columns:
            before, after = base[column], tuned[column]
            differ = (before != after) & ~(before.isna() & after.isna())
            if not differ.any():
                continue
            ids, row = base["case_id"][differ].head(4), int(differ.to_numpy().argmax())
            self._counts[column] += int(differ.sum())
            self._ids[column] = pd.concat([self._ids.get(column, ids.head(0)), ids]).head(4)
            self._first.setdefault(column, (before[row], after[row]))

    def check(self, names: tuple[str, str]) -> None:
        """Check that no difference was found.

        Raises:
            TunediffError: there is one; the message names the first such column, the number of cases, and the first.
        """
        column = next((column for column in self.columns if column in self._first), None)
        if column is not None:
            before, after = self._first[column]
            raise TunediffError(
                f"{names[0]} and {names[1]}: {column}: found different values for {self._counts[column]} of "
                f"{self._cases} cases ({first_three(self._ids[column])}; the first: {shown(before)} and "
                f"{shown(after)}), expected the same in both"
            )

    def join(self, base: pd.DataFrame, tuned: pd.DataFrame) -> pd.DataFrame:
        """Return one row per case: the shared columns once, then the columns of each with the suffix of its model."""
        parts = [base[self.columns], base.drop(columns=self.columns).add_suffix("_base")]
        return pd.concat([*parts, tuned.drop(columns=self.columns).add_suffix("_tuned")], axis=1)


def first_three(ids: Iterable[object]) -> str:
    """Return the first three ids as text, with dots if there are more."""
    texts = list(map(str, ids))
    return ", ".join(texts[:3]) + (", ..." if len(texts) > 3 else "")
