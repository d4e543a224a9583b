"""The cost per net repaired case, with an interval that follows from that of the difference.

    >>> found = per_net_repair(262.0, n=1200, delta=0.1017, low=0.0783, high=0.1258)
    >>> f"{found.value:.2f} ({found.low:.2f} to {found.high:.2f})"
    '2.15 (1.74 to 2.79)'

The cost, in seconds, money or joules, is taken as exact; only the number of net repaired cases is uncertain.
"""

from typing import NamedTuple


class PerNetRepair(NamedTuple):
    """A cost per net repaired case, in the unit of the cost."""

    value: float | None  # None: not more cases were repaired than broken
    low: float
    high: float | None  # None: unbounded


def per_net_repair(cost: float, n: int, delta: float, low: float, high: float) -> PerNetRepair | None:
    """Return cost / (n * delta) with its interval, or None if no value in the interval of delta is positive.

    The cost falls as the difference grows, so the ends are swapped. If the interval of the difference includes zero,
    there is no upper end.

    Args:
        cost: total cost in any unit, at least 0.
        n: number of cases.
        delta: accuracy after minus before, in -1..1.
        low: lower end of the paired interval of delta.
        high: upper end of the paired interval of delta.
    """
    if high <= 0 or n == 0:
        return None
    return PerNetRepair(
        value=cost / (n * delta) if delta > 0 else None,
        low=cost / (n * high),
        high=cost / (n * low) if low > 0 else None,
    )


def per_net_repair_clause(found: PerNetRepair | None, confidence: float, unit: str) -> str:
    """Return the cost per net repaired case as a clause, each figure with its unit."""
    if found is None:
        return "no case was repaired on balance: the interval of the difference has no value above zero"
    level = f"{100 * confidence:g}% interval"
    value = "no net repaired case" if found.value is None else f"{figure(found.value)} {unit} per net repaired case"
    if found.high is not None:
        return f"{value}, {level} {figure(found.low)} to {figure(found.high)} {unit}"
    return (
        f"{value}, {level} from {figure(found.low)} {unit} up, with no upper bound: the interval of the "
        "difference includes zero"
    )


def figure(value: float) -> str:
    """Format with two decimals, or with three significant digits below one."""
    return f"{value:,.2f}" if value >= 1 else f"{value:.3g}"
