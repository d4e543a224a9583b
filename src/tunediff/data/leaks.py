"""Find test cases that training has seen, fully, partially or nearly.

    leaks = find_leaks(test, train, params.task)
    len(leaks.pairs)               # cases whose inputs all occur in one training case
    leaks.near_duplicates          # {"0f3a9c51d2b7e846": ["77b0...", ...]}: test case -> training cases

Near-duplicates have a Jaccard similarity of at least `NEARLY`: of all words and pairs of adjacent words in the inputs
of two cases, four fifths occur in both, in the same input. This corresponds to one changed word in 14 or more, and is
the threshold of Lee et al. 2022, "Deduplicating Training Data Makes Language Models Better". Letter case and
punctuation are ignored.

The search is exact. Sets of this similarity share at least one of their few rarest members (Bayardo et al. 2007,
"Scaling Up All Pairs Similarity Search"), so only such cases are compared: 10,000 SNLI cases against 18,000 take 2 to
3 s on one core, whereas the signatures of a MinHash index, which could miss some, take 20 s.
"""

import re
from array import array
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count, zip_longest
from typing import TYPE_CHECKING, Any, NamedTuple

from tunediff.config.task import TaskSection
from tunediff.data.cases import Case

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Numbers = npt.NDArray[np.integer[Any]]

NEARLY = 4, 5
"""The threshold of the similarity as the fraction 4/5, for integer arithmetic."""

WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Leaks:
    """Ids of the cases that overlap with the training cases, in the order of the cases."""

    pairs: list[str]
    """All inputs are identical to those of a training case."""
    premises: list[str]
    """The source input (premise) is identical to that of a training case."""
    hypotheses: list[str]
    """The partial input (hypothesis) is identical to that of a training case."""
    near_duplicates: dict[str, list[str]]
    """The ids of the training cases with nearly the same inputs, in training order."""

    def counts(self) -> dict[str, int]:
        """Return the number of leaked cases of each kind, by name of the metric."""
        return {
            "leaked_pairs": len(self.pairs),
            "shared_sources": len(self.premises),
            "shared_partial_inputs": len(self.hypotheses),
            "near_duplicates": len(self.near_duplicates),
        }


def find_leaks(
    cases: Sequence[Case], train: Sequence[Case], task: TaskSection, trained: TaskSection | None = None
) -> Leaks:
    """Find the overlap of `cases` and `train`, regardless of labels.

    Args:
        cases: the test cases.
        train: the training cases.
        task: names of the inputs of `cases`.
        trained: names of the inputs of `train`, if different; inputs are compared in reading order.
    """
    trained = trained or task
    pairs = {_pair(case, trained) for case in train}
    premises = {case.inputs[trained.source_input] for case in train}
    hypotheses = {case.inputs[trained.partial_input] for case in train}
    return Leaks(
        pairs=[case.case_id for case in cases if _pair(case, task) in pairs],
        premises=[case.case_id for case in cases if case.inputs[task.source_input] in premises],
        hypotheses=[case.case_id for case in cases if case.inputs[task.partial_input] in hypotheses],
        near_duplicates={
            cases[i].case_id: [train[j].case_id for j in near]
            for i, near in nearly_equal(
                [_pair(case, task) for case in cases], [_pair(case, trained) for case in train]
            ).items()
        },
    )


def _pair(case: Case, task: TaskSection) -> tuple[str, ...]:
    return tuple(case.inputs[name] for name in task.inputs)


def nearly_equal(evaluated: Sequence[tuple[str, ...]], learned: Sequence[tuple[str, ...]]) -> dict[int, list[int]]:
    """Return the indices of the near-duplicates in `learned` of each row of `evaluated` that has any, both ascending.

    A row is the texts of a case; an equal row is no near-duplicate.
    """
    import numpy as np
    from scipy.sparse import csr_array

    if not evaluated or not learned:
        return {}
    part, whole = NEARLY
    left, right, n_shingles = _shingles(evaluated, learned)
    # One row per training case: all of its shingles in one table, only its rarest in the other, for lookup by shingle.
    all_of, few_of = (
        csr_array((np.ones(len(some.members), np.int8), some.members, some.ends), shape=(len(learned), n_shingles))
        for some in (right, _rarest(right))
    )
    rare_in = few_of.tocsc()
    rarest = _rarest(left)
    sizes = np.diff(right.ends)
    wanted = np.zeros(n_shingles, np.int32)
    found: dict[int, list[int]] = {}
    for i, case in enumerate(evaluated):
        spans = [rare_in.indptr[one : one + 2] for one in rarest.row(i)]
        near = np.concatenate([np.empty(0, np.int32), *(rare_in.indices[start:end] for start, end in spans)])
        # Sets of very different sizes cannot be similar enough, and comparing sizes is cheap.
        shingles = left.row(i)
        size = len(shingles)
        near = near[(part * size <= whole * sizes[near]) & (part * sizes[near] <= whole * size)]
        if not len(near):
            continue
        near = np.unique(near)
        wanted[shingles] = 1
        both = all_of[near] @ wanted
        wanted[shingles] = 0
        near = near[whole * both >= part * (size + sizes[near] - both)]
        others = [j for j in near.tolist() if learned[j] != case]
        if others:
            found[i] = others
    return found


class _Sets(NamedTuple):
    """Sets of integers, concatenated, each ascending: set i is `members[ends[i] : ends[i + 1]]`."""

    members: "Numbers"
    ends: "Numbers"

    def row(self, i: int) -> "Numbers":
        return self.members[self.ends[i] : self.ends[i + 1]]


def _shingles(cases: Sequence[tuple[str, ...]], train: Sequence[tuple[str, ...]]) -> tuple[_Sets, _Sets, int]:
    """The words and pairs of adjacent words of each case, distinct for each input, and their number.

    They are encoded as integers, in ascending order of their frequency. A text that many cases share is read once.
    """
    import numpy as np

    rows, members, counts, n_before = [], [], [], 0
    # A further test set may have fewer inputs; missing inputs have no words.
    for texts in zip_longest(*cases, *train, fillvalue=""):
        place: dict[str, int] = {}
        which = np.array([place.setdefault(text, len(place)) for text in texts], np.int32)
        of_text, n = _shingles_of_texts(list(place))
        lengths = np.diff(of_text.ends)
        often = np.repeat(np.bincount(which, minlength=len(place)), lengths)
        counts.append(np.bincount(of_text.members, often, n))
        row, one = _gathered(of_text, which)
        rows.append(row)
        members.append(one + n_before)
        n_before += n
    by_rarity = np.empty(n_before, np.int64)
    by_rarity[np.argsort(np.concatenate(counts), kind="stable")] = np.arange(n_before)
    both = _as_sets(np.concatenate(rows), by_rarity[np.concatenate(members)], len(cases) + len(train), n_before)
    cut = both.ends[len(cases)]
    left = _Sets(both.members[:cut], both.ends[: len(cases) + 1])
    return left, _Sets(both.members[cut:], both.ends[len(cases) :] - cut), n_before


def _shingles_of_texts(texts: Sequence[str]) -> tuple[_Sets, int]:
    """The words and pairs of adjacent words of each text, as integers, and their number."""
    import numpy as np

    number: defaultdict[str, int] = defaultdict(count().__next__)
    words, lengths = array("i"), array("i")
    for text in texts:
        found = WORD.findall(text.casefold())
        words.extend(map(number.__getitem__, found))
        lengths.append(len(found))
    single, row = np.array(words, np.int64), np.repeat(np.arange(len(texts)), np.array(lengths))
    neighbours = row[1:] == row[:-1]
    pairs, pair = np.unique((single[:-1] * len(number) + single[1:])[neighbours], return_inverse=True)
    n = len(number) + len(pairs)
    rows = np.concatenate([row, row[1:][neighbours]])
    return _as_sets(rows, np.concatenate([single, len(number) + pair]), len(texts), n), n


def _gathered(sets: _Sets, which: "Numbers") -> "tuple[Numbers, Numbers]":
    """The members of the sets `which`, and the index of each member's set in `which`."""
    import numpy as np

    lengths = np.diff(sets.ends)[which]
    starts = np.repeat(sets.ends[:-1][which] - (lengths.cumsum() - lengths), lengths)
    return np.repeat(np.arange(len(which)), lengths), sets.members[starts + np.arange(len(starts))]


def _as_sets(rows: "Numbers", members: "Numbers", n_rows: int, n_members: int) -> _Sets:
    """The set of the distinct members of each row."""
    import numpy as np

    # np.unique uses a hash table for integers, which is several times slower here than sorting.
    keys = np.sort(rows * max(1, n_members) + members)
    keys = keys[np.append(True, keys[1:] != keys[:-1])[: len(keys)]]
    row, member = np.divmod(keys, max(1, n_members))
    return _Sets(member.astype(np.int32), np.concatenate([[0], np.bincount(row, minlength=n_rows).cumsum()]))


def _rarest(sets: _Sets) -> _Sets:
    """The rarest members of each set; any nearly equal set contains at least one of them.

    Such a set shares at least `ceil(4/5 * n)` of the n members, which is more than there are outside of the rarest.
    """
    import numpy as np

    part, whole = NEARLY
    n = np.diff(sets.ends)
    kept = np.minimum(n, n - -(-part * n // whole) + 1)
    place = np.arange(len(sets.members)) - np.repeat(sets.ends[:-1], n)
    return _Sets(sets.members[place < np.repeat(kept, n)], np.concatenate([[0], kept.cumsum()]))
