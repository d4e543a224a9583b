"""Which of many runs can be told apart: groups of those that cannot, and ranks as intervals.

    groups = tie_groups(separated)                 # [[0, 1, 2], [1, 2, 3]]: 0 and 3 differ, 1 and 2 may be either
    low, high = rank_intervals(separated, shares)  # ranks from 1, each from low to high

A position without its interval says more than was measured: two neighbours of a ranking mostly cannot be told apart.
"""

from collections.abc import Iterator
from string import ascii_lowercase

import numpy as np

from tunediff.stats.bootstrap import Floats
from tunediff.stats.discordance import Counts, Flags

# Graphs of ties are nearly intervals and have few groups; nobody reads more of them.
MOST_GROUPS = 10_000


def tie_groups(separated: Flags) -> list[list[int]]:
    """Return the groups: all largest sets of runs of which no two are told apart (maximal cliques of the ties).

    A run is in one group or in several, and runs share a group exactly where they are not told apart (the letters of a
    compact letter display; Piepho 2004). By Bron and Kerbosch 1973 with Tomita's pivot.

    Args:
        separated: whether two runs are told apart, symmetric, of shape (n_runs, n_runs), False on the diagonal.

    Returns:
        The runs of each group rising; groups in the order of their first runs.

    Raises:
        ValueError: more than 10,000 groups.
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
            raise ValueError(f"found more than {MOST_GROUPS:,} groups of runs that cannot be told apart")
    return sorted(found)


def rank_intervals(separated: Flags, shares: Floats) -> tuple[Counts, Counts]:
    """Return the best and the worst rank of each run, from 1, of shape (n_runs,) each.

    From one more than the runs that are clearly better to all less those that are clearly worse.

    Args:
        separated: as for `tie_groups`.
        shares: of right cases of each run, which say who is the better of two that are told apart.
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
