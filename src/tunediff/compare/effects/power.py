"""What a test set of this size can show, and how many cases more it would take.

    >>> print(power_sentence(n=1000, repaired=60, broken=50))
    1,000 cases, of which 110 changed between right and wrong, detect a difference of 2.9 points or more with 80 % \
power (two-sided 5 % level). Detecting the observed difference of +1.0 points requires 8,632 cases: 7,632 more.
"""

from tunediff.stats.paired import cases_needed, minimum_detectable_difference, smallest_detectable

POWER = 0.8


def cases_still_needed(n: int, repaired: int, broken: int, alpha: float = 0.05) -> int:
    """Return how many more cases detect a difference of the observed size with 80 % power; 0 where there are enough.

    Raises:
        ValueError: as many cases were repaired as broken, and no number of cases shows a difference of 0.
    """
    return max(0, cases_needed((repaired - broken) / n, (repaired + broken) / n, alpha, POWER) - n)


def power_sentence(n: int, repaired: int, broken: int, alpha: float = 0.05) -> str:
    """Say in a sentence or two which differences n cases show, and how many more the observed one takes.

    Args:
        n: number of cases.
        repaired: cases that went from not right to right.
        broken: cases that went from right to not right.
        alpha: two-sided level of the test.
    """
    flips, level = repaired + broken, f"two-sided {100 * alpha:.3g} % level"
    smallest = smallest_detectable(n, flips / n, alpha, POWER)
    cases = "1 case" if n == 1 else f"{n:,} cases"
    if smallest >= 1:
        return f"{cases} cannot detect any difference ({level})."
    if minimum_detectable_difference(n, flips / n, alpha, POWER) is None or flips == 0:
        return (
            f"Of {cases}, {flips or 'none'} changed between right and wrong, too few to detect a difference; {cases} "
            f"could detect one of {100 * smallest:.1f} points if every change goes the same way ({level})."
        )
    sentence = (
        f"{cases}, of which {flips:,} changed between right and wrong, detect a difference of {100 * smallest:.1f} "
        f"points or more with 80 % power ({level})."
    )
    if repaired == broken:
        return sentence
    more = cases_still_needed(n, repaired, broken, alpha)
    if not more:
        return sentence
    observed = 100 * (repaired - broken) / n
    return (
        f"{sentence} Detecting the observed difference of {observed:+.1f} points requires {n + more:,} cases: "
        f"{more:,} more."
    )
