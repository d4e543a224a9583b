"""Several tests at once: p-values adjusted for their number.

>>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]                     # the few planned metrics
[0.03, 0.06, 0.06]
>>> [round(p, 3) for p in benjamini_hochberg([0.01, 0.04, 0.03])]       # the many slices
[0.03, 0.04, 0.04]
"""

from collections.abc import Sequence


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values of Holm 1979: below a level with at most that chance of a single false finding.

    Raises:
        ValueError: a p-value outside 0..1.
    """
    return _adjusted(p_values, "holm")


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Return the p-values of Benjamini and Hochberg 1995: below a level with at most that share of false findings.

    Raises:
        ValueError: a p-value outside 0..1.
    """
    return _adjusted(p_values, "fdr_bh")


def _adjusted(p_values: Sequence[float], method: str) -> list[float]:
    if not all(0 <= p <= 1 for p in p_values):
        raise ValueError(f"found p-values {list(p_values)}, expected numbers in 0..1")
    if not p_values:
        return []
    # statsmodels takes about a second to import: only who has several tests pays for it.
    from statsmodels.stats.multitest import multipletests  # type: ignore[import-untyped, unused-ignore]

    return [float(p) for p in multipletests(list(p_values), method=method)[1]]
