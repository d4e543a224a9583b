"""Pair two prediction files case by case; refuse where cases, labels, prompts, scorers or label lists differ.

>>> base = pd.DataFrame({"case_id": ["a", "b"], "label": ["yes", "no"], "prediction": ["no", "no"],
...                      "outcome": ["wrong", "right"], "prompt_hash": ["p1", "p2"], "scorer": "choices"})
>>> tuned = base.assign(prediction=["yes", "no"], outcome="right").iloc[::-1]
>>> align(base, tuned)[["case_id", "label", "prediction_base", "prediction_tuned"]].values.tolist()
[['a', 'yes', 'no', 'yes'], ['b', 'no', 'no', 'no']]

Cases without an id get one from their inputs: `input_ids`.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from tunediff.cases import INVALID, RIGHT, WRONG, content_hash
from tunediff.errors import TunediffError
from tunediff.files import shown

OUTCOMES = (RIGHT, WRONG, INVALID)

# What must be equal in both files; it stands once in the aligned frame.
SHARED = ("label", "prompt_hash", "scorer")


def input_ids(inputs: pd.DataFrame) -> pd.Series:
    """Return the case id of each row of input fields: 16 hexadecimal digits hashed from names and texts.

    The same as `tunediff.cases.make_cases` gives, but that repeated inputs are told apart by their occurrence alone.
    """
    # As objects: reading Arrow's texts one by one takes as long as hashing them.
    texts = zip(*(inputs[name].astype(object) for name in inputs), strict=True)
    records = [dict(zip(inputs.columns, row, strict=True)) for row in texts]
    ids = pd.Series([content_hash(record) for record in records], index=inputs.index, dtype="object", name="case_id")
    repeated = np.flatnonzero(ids.duplicated(keep=False))
    occurrence = ids.iloc[repeated].groupby(ids.iloc[repeated].to_numpy()).cumcount().to_numpy() + 1
    for row, number in zip(repeated.tolist(), occurrence.tolist(), strict=True):
        if number > 1:
            ids.iat[row] = content_hash([records[row], number])
    return ids.astype("str")


def align(
    base: pd.DataFrame,
    tuned: pd.DataFrame,
    names: tuple[str, str] = ("base", "tuned"),
    shared: Sequence[str] = (),
    labels: tuple[Sequence[str] | None, Sequence[str] | None] = (None, None),
) -> pd.DataFrame:
    """Return one row a case, in the order of `base`.

    Args:
        base: predictions before, with case_id, label, prediction, outcome, prompt_hash, scorer, and any
            other column.
        tuned: predictions after, with the same columns, in any order of rows.
        names: what to call the two in an error, such as their paths.
        shared: further columns that must be equal in both, such as the input fields.
        labels: the label list of each, in the order of its scores, where it is known.

    Returns:
        case_id, label, prompt_hash, scorer and the `shared` columns, then every other column of `base` with the
        suffix `_base` and of `tuned` with the suffix `_tuned`.

    Raises:
        TunediffError: a column is missing, a file holds no case, a case id twice or an unknown outcome, or
            the two differ in their label lists, case ids, labels, prompts, scorers or other shared columns.
    """
    for frame, name in zip((base, tuned), names, strict=True):
        _check(frame, name, shared)
    both = f"{names[0]} and {names[1]}"
    first, second = labels
    if first is not None and second is not None and list(first) != list(second):
        raise TunediffError(
            f"{both}: label list: found {', '.join(first)} and {', '.join(second)}, expected the same in both"
        )
    places = pd.Index(tuned["case_id"]).get_indexer(pd.Index(base["case_id"]))
    unmatched = np.ones(len(tuned), dtype=bool)
    unmatched[places[places >= 0]] = False
    only = [base["case_id"][places < 0], tuned["case_id"][unmatched]]
    if any(len(ids) for ids in only):
        found = ", ".join(
            f"{len(ids)} only in {name} ({_first(ids)})" for ids, name in zip(only, names, strict=True) if len(ids)
        )
        raise TunediffError(f"{both}: different cases: found {found}; expected the same case ids in both")
    base, tuned = base.reset_index(drop=True), tuned.iloc[places].reset_index(drop=True)
    keys = ["case_id", *SHARED, *shared]
    for column in keys[1:]:
        before, after = base[column], tuned[column]
        differ = (before != after) & ~(before.isna() & after.isna())
        if differ.any():
            row = int(differ.to_numpy().argmax())
            raise TunediffError(
                f"{both}: {column}: found different ones for {differ.sum()} of {len(base)} cases "
                f"({_first(base['case_id'][differ])}; the first: {shown(before[row])} and {shown(after[row])}), "
                "expected the same in both"
            )
    parts = [base[keys], base.drop(columns=keys).add_suffix("_base")]
    return pd.concat([*parts, tuned.drop(columns=keys).add_suffix("_tuned")], axis=1)


def _check(frame: pd.DataFrame, name: str, shared: Sequence[str]) -> None:
    needed = ["case_id", "label", "prediction", "outcome", "prompt_hash", "scorer", *shared]
    missing = [column for column in needed if column not in frame]
    if missing:
        raise TunediffError(f"{name}: columns: found no {', '.join(missing)}, expected at least {', '.join(needed)}")
    if frame.empty:
        raise TunediffError(f"{name}: found no case, expected at least one")
    repeated = frame["case_id"][frame["case_id"].duplicated()].drop_duplicates()
    if len(repeated):
        raise TunediffError(
            f"{name}: case_id: found {len(repeated)} more than once ({_first(repeated)}), expected each once"
        )
    unknown = ~frame["outcome"].isin(OUTCOMES)
    if unknown.any():
        row = int(unknown.to_numpy().argmax())
        raise TunediffError(
            f"{name}: outcome: found {frame['outcome'].iloc[row]!r} for case {frame['case_id'].iloc[row]} "
            f"({unknown.sum()} such cases), expected one of {', '.join(OUTCOMES)}"
        )


def _first(ids: pd.Series) -> str:
    """Name up to three ids."""
    return ", ".join(str(case_id) for case_id in ids.head(3)) + (", ..." if len(ids) > 3 else "")
