"""The difference that a test set can detect, and the number of cases that the observed difference requires.

    >>> print(power_sentence(n=1000, repaired=60, broken=50))
    1,000 cases, of which 110 changed between right and wrong, detect a difference of 2.9 points or more with 80 % \
power (two-sided 5 % level). Detecting the observed difference of +1.0 points requires 8,632 cases: 7,632 more.
"""

from tunediff.stats.paired import cases_needed, minimum_detectable_difference, smallest_detectable

POWER = 0.8


def cases_still_needed(n: int, repaired: int, broken: int, alpha: float = 0.05) -> int:
    """Return how many more cases are needed to detect the observed difference with 80 % power; 0 if none.

    Raises:
        ValueError: as many cases were repaired as broken: no number of cases detects a difference of 0.
    """
    return max(0, cases_needed((repaired - broken) / n, (repaired + broken) / n, alpha, POWER) - n)


def power_sentence(n: int, repaired: int, broken: int, alpha: float = 0.05) -> str:
    """Return one or two sentences: the difference that n cases detect, and how many more the observed one requires.

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
