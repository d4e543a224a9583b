"""Groups of ties among many runs, and ranks as intervals.

    groups = tie_groups(separated)                 # [[0, 1, 2], [1, 2, 3]]: only 0 and 3 differ
    low, high = rank_intervals(separated, shares)  # ranks from 1, each from low to high

Adjacent runs of a ranking usually do not differ significantly, so a rank without an interval claims too much.
"""

from collections.abc import Iterator
from string import ascii_lowercase

import numpy as np

from tunediff.stats.bootstrap import Floats
from tunediff.stats.discordance import Counts, Flags

# Graphs of ties usually have few maximal cliques; more would be useless.
MOST_GROUPS = 10_000


def tie_groups(separated: Flags) -> list[list[int]]:
    """Return the maximal groups of runs of which no two are separated (maximal cliques of the graph of ties).

    A run can be in several groups, and two runs share a group exactly if they are not separated (the letters of a
    compact letter display; Piepho 2004). The algorithm is that of Bron and Kerbosch 1973 with Tomita's pivot.

    Args:
        separated: whether two runs are separated, symmetric, of shape (n_runs, n_runs), False on the diagonal.

    Returns:
        The runs of each group, ascending; groups in the order of their first runs.

    Raises:
        ValueError: there are more than 10,000 groups.
    """
    ties = [set(np.flatnonzero(~row).tolist()) - {run} for run, row in enumerate(separated)]

    def grow(clique: set[int], candidates: set[int], done: set[int]) -> Iterator[list[int]]:
        if not candidates and not done:
            yield sorted(clique)
            return
        pivot = max(sorted(candidates | done), key=lambda run: len(ties[run] & candidates))
        for run in sorted(candidates - ties[pivot]):
            yield from grow(clique | {run}, candidates & ties[run], done & ties[run])
            candidates = candidates - {run}
            done = done | {run}

    found: list[list[int]] = []
    for group in grow(set(), set(range(len(separated))), set()):
        found.append(group)
        if len(found) > MOST_GROUPS:
            raise ValueError(f"found more than {MOST_GROUPS:,} groups of ties")
    return sorted(found)


def rank_intervals(separated: Flags, shares: Floats) -> tuple[Counts, Counts]:
    """Return the best and the worst rank of each run, from 1, of shape (n_runs,) each.

    The best rank is one plus the number of significantly better runs, the worst is the number of runs minus the number
    of significantly worse ones.

    Args:
        separated: as for `tie_groups`.
        shares: share of right cases of each run, which decides the better one of two separated runs.
    """
    better = separated & (shares[None, :] > shares[:, None])
    worse = separated & (shares[None, :] < shares[:, None])
    return 1 + better.sum(axis=1), len(shares) - worse.sum(axis=1)


def letters(groups: int) -> list[str]:
    """Return a name for each group: a to z, then aa to az, ba, and so on.

    >>> letters(28)[-3:]
    ['z', 'aa', 'ab']
    """

    def name(number: int) -> str:
        rest, last = divmod(number, len(ascii_lowercase))
        return (name(rest - 1) if rest else "") + ascii_lowercase[last]

    return [name(number) for number in range(groups)]
