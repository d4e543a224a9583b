"""Find test cases that training has seen already, in whole, in part or nearly.

    leaks = find_leaks(test, train, params.task)
    len(leaks.pairs)               # cases whose inputs all stand in one training case
    leaks.near_duplicates          # {"0f3a9c51d2b7e846": ["77b0...", ...]}: test case -> training cases

Near-duplicates have a Jaccard similarity of `NEARLY` or more: of all words and pairs of neighbouring words in the
inputs of two cases, four fifths stand in both, in the same input. That is one word changed in 14 or more, and the
threshold of Lee et al. 2022, "Deduplicating Training Data Makes Language Models Better". Letter case and punctuation do
not count.

The search is exact. Two sets this similar share one of their few rarest members (Bayardo et al. 2007, "Scaling Up All
Pairs Similarity Search"), so only cases that do are compared: 10,000 SNLI cases against 18,000 take 2 to 3 s on one
core, where the signatures of a MinHash index, which would also miss some, alone take 20 s.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

from tunediff.config.task import TaskSection
from tunediff.data.cases import Case

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Numbers = npt.NDArray[np.int32]

NEARLY = 4, 5
"""The threshold of the similarity as a fraction, 4/5, so that whole numbers decide it."""

WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Leaks:
    """Ids of the cases that share something with the training cases, in the order of the cases."""

    pairs: list[str]
    """All inputs stand in one training case, character by character."""
    premises: list[str]
    """The source input (premise) stands in a training case."""
    hypotheses: list[str]
    """The input that the partial-input baseline reads stands in a training case."""
    near_duplicates: dict[str, list[str]]
    """The inputs together are nearly those of training cases and not the same: their ids, in training order."""

    def counts(self) -> dict[str, int]:
        """How many cases leak in each way, under the names of the metrics."""
        return {
            "leaked_pairs": len(self.pairs),
            "shared_sources": len(self.premises),
            "shared_partial_inputs": len(self.hypotheses),
            "near_duplicates": len(self.near_duplicates),
        }


def find_leaks(
    cases: Sequence[Case], train: Sequence[Case], task: TaskSection, trained: TaskSection | None = None
) -> Leaks:
    """What of `cases` stands in `train`, whatever the labels.

    Args:
        cases: the cases to measure on.
        train: the cases to learn from.
        task: names of the inputs of `cases`.
        trained: names of the inputs of `train`, where they are others; inputs are compared in reading order.
    """
    trained = trained or task
    pairs = {_pair(case, trained) for case in train}
    premises = {case.inputs[trained.source_input] for case in train}
    hypotheses = {case.inputs[trained.partial_input] for case in train}
    return Leaks(
        pairs=[case.case_id for case in cases if _pair(case, task) in pairs],
        premises=[case.case_id for case in cases if case.inputs[task.source_input] in premises],
        hypotheses=[case.case_id for case in cases if case.inputs[task.partial_input] in hypotheses],
        near_duplicates=_near_duplicates(cases, train, task, trained),
    )


def _pair(case: Case, task: TaskSection) -> tuple[str, ...]:
    return tuple(case.inputs[name] for name in task.inputs)


def _near_duplicates(
    cases: Sequence[Case], train: Sequence[Case], task: TaskSection, trained: TaskSection
) -> dict[str, list[str]]:
    # Only who looks for near-duplicates waits for these two.
    import numpy as np
    from scipy.sparse import csr_array

    if not cases or not train:
        return {}
    part, whole = NEARLY
    left, right = _shingles([_pair(case, task) for case in cases], [_pair(case, trained) for case in train])
    sizes = np.array([len(shingles) for shingles in right], int)
    ends = np.concatenate([[0], sizes.cumsum()]).astype(int)
    n_shingles = 1 + max((int(shingles[-1]) for shingles in (*left, *right) if len(shingles)), default=0)
    # A row a training case: all of its shingles in one table, only its rarest in the other, to be asked by shingle.
    all_of = csr_array((np.ones(ends[-1], np.int8), np.concatenate(right), ends), shape=(len(right), n_shingles))
    rarest = [_rarest(shingles) for shingles in right]
    starts = np.concatenate([[0], np.cumsum([len(some) for some in rarest])]).astype(int)
    rare_in = csr_array((np.ones(starts[-1], np.int8), np.concatenate(rarest), starts), shape=all_of.shape).tocsc()
    wanted = np.zeros(n_shingles, int)
    found: dict[str, list[str]] = {}
    for case, shingles in zip(cases, left, strict=True):
        spans = [rare_in.indptr[one : one + 2] for one in _rarest(shingles)]
        near = np.unique(np.concatenate([np.empty(0, int), *(rare_in.indices[start:end] for start, end in spans)]))
        # Sets of very different sizes cannot share enough; looking at sizes is cheaper than at what is shared.
        near = near[(part * len(shingles) <= whole * sizes[near]) & (part * sizes[near] <= whole * len(shingles))]
        wanted[shingles] = 1
        both = all_of[near] @ wanted
        wanted[shingles] = 0
        near = near[whole * both >= part * (len(shingles) + sizes[near] - both)]
        ids = [train[j].case_id for j in near if _pair(train[j], trained) != _pair(case, task)]
        if ids:
            found[case.case_id] = ids
    return found


def _shingles(
    cases: Sequence[tuple[str, ...]], train: Sequence[tuple[str, ...]]
) -> "tuple[list[Numbers], list[Numbers]]":
    """The words of each case and their pairs of neighbouring words, apart for each input, as numbers that ascend.

    The rarer a word or pair among all cases, the smaller its number. A text that many cases share is read once.
    """
    import numpy as np

    number: dict[str, int] = {}

    @cache
    def read(place: int, text: str) -> "Numbers":
        words = [f"{place} {word}" for word in WORD.findall(text.casefold())]
        shingles = dict.fromkeys([*words, *map(" ".join, pairwise(words))])
        return np.array([number.setdefault(shingle, len(number)) for shingle in shingles], np.int32)

    def numbers(side: Sequence[tuple[str, ...]]) -> "list[Numbers]":
        return [np.concatenate([read(place, text) for place, text in enumerate(inputs)]) for inputs in side]

    left, right = numbers(cases), numbers(train)
    counts = np.bincount(np.concatenate([*left, *right]), minlength=len(number))
    by_rarity = np.empty(len(number), np.int32)
    by_rarity[np.argsort(counts, kind="stable")] = np.arange(len(number), dtype=np.int32)
    return [np.sort(by_rarity[some]) for some in left], [np.sort(by_rarity[some]) for some in right]


def _rarest(shingles: "Numbers") -> "Numbers":
    """The rarest shingles, one of which any set has that is nearly the same as this one.

    Such a set shares at least `ceil(4/5 * len(shingles))`; were all of those outside the rarest, too few would remain.
    """
    part, whole = NEARLY
    shared = -(-part * len(shingles) // whole)
    return shingles[: len(shingles) - shared + 1]
