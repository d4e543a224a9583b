"""Pair two prediction files case by case; refuse where cases, labels, prompts or scorers are not the same.

>>> base = pd.DataFrame({"case_id": ["a", "b"], "label": ["yes", "no"], "prediction": ["no", "no"],
...                      "outcome": ["wrong", "right"], "prompt_hash": ["p1", "p2"], "scorer": "choices"})
>>> tuned = base.assign(prediction=["yes", "no"], outcome="right").iloc[::-1]
>>> align(base, tuned)[["case_id", "label", "prediction_base", "prediction_tuned"]].values.tolist()
[['a', 'yes', 'no', 'yes'], ['b', 'no', 'no', 'no']]
"""

import numpy as np
import pandas as pd

from tunediff.cases import INVALID, RIGHT, WRONG
from tunediff.errors import TunediffError

OUTCOMES = (RIGHT, WRONG, INVALID)

# What must be equal in both files; it stands once in the aligned frame.
SHARED = ("label", "prompt_hash", "scorer")


def align(base: pd.DataFrame, tuned: pd.DataFrame, names: tuple[str, str] = ("base", "tuned")) -> pd.DataFrame:
    """Return one row a case, in the order of `base`.

    Args:
        base: predictions before, with case_id, label, prediction, outcome, prompt_hash, scorer, and any
            other column.
        tuned: predictions after, with the same columns, in any order of rows.
        names: what to call the two in an error, such as their paths.

    Returns:
        case_id, label, prompt_hash and scorer, which both files share, then every other column of `base` with
        the suffix `_base` and of `tuned` with the suffix `_tuned`.

    Raises:
        TunediffError: a column is missing, a file holds no case, a case id twice or an unknown outcome, or
            the two differ in their case ids, labels, prompts or scorers.
    """
    for frame, name in zip((base, tuned), names, strict=True):
        _check(frame, name)
    both = f"{names[0]} and {names[1]}"
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
    for column in SHARED:
        before, after = base[column], tuned[column]
        differ = (before != after) & ~(before.isna() & after.isna())
        if differ.any():
            row = int(differ.to_numpy().argmax())
            raise TunediffError(
                f"{both}: {column}: found different ones for {differ.sum()} of {len(base)} cases "
                f"({_first(base['case_id'][differ])}; the first: {before[row]!r} and {after[row]!r}), "
                "expected the same in both"
            )
    keys = ["case_id", *SHARED]
    parts = [base[keys], base.drop(columns=keys).add_suffix("_base")]
    return pd.concat([*parts, tuned.drop(columns=keys).add_suffix("_tuned")], axis=1)


def _check(frame: pd.DataFrame, name: str) -> None:
    needed = ["case_id", "label", "prediction", "outcome", "prompt_hash", "scorer"]
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
