"""Format the figures of the report: shares, differences, counts, p-values, durations, sizes.

    percent(0.41)          41.0 %
    points(0.47)           +47.0 points
    p_value(1.18e-12)      p = 1.2 × 10⁻¹²
    duration(2297.4)       00:38:17

Figure and unit are joined by a no-break space; negative numbers have a minus sign, not a hyphen.
"""

import math
import re

NBSP = "\N{NO-BREAK SPACE}"
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def percent(share: float, digits: int = 1) -> str:
    """Format a share in 0..1 as a percentage."""
    return f"{decimal(100 * share, digits)}{NBSP}%"


def level(share: float) -> str:
    """Format a round share, such as a confidence level, with as few decimals as possible: `95 %`, `99.9 %`."""
    return f"{100 * share:g}{NBSP}%"


def points(difference: float) -> str:
    """Format a difference of two shares as signed percentage points."""
    return f"{signed(100 * difference)}{NBSP}points"


def interval(low: float, high: float) -> str:
    """Format an interval of shares: `38.3 to 43.8 %`."""
    return f"{decimal(100 * low, 1)} to {percent(high)}"


def points_interval(low: float, high: float) -> str:
    """Format an interval of differences: `+43.9 to +50.0 points`."""
    return f"{signed(100 * low)} to {points(high)}"


def signed(value: float, digits: int = 1) -> str:
    """Format a number with its sign, unless it rounds to zero."""
    text = decimal(value, digits)
    return f"+{text}" if text.strip("0.,") and not text.startswith("−") else text


def decimal(value: float, digits: int = 3) -> str:
    """Format a number with a fixed number of decimals and thousands separators."""
    text = f"{value:,.{digits}f}"
    return text.replace("-", "−") if text.strip("-0.,") else text.lstrip("-")


def whole(value: float) -> str:
    """Format a count with thousands separators: `2,800,655,360`."""
    return decimal(value, 0)


def counted(n: int, noun: str) -> str:
    """Format a count with its noun: `1 case`, `1,200 cases`, `2 bodies`."""
    several = re.sub("(?<![aeiou])y$", "ie", noun) + "s"
    return f"{whole(n)}{NBSP}{noun if n == 1 else several}"


def p_value(p: float) -> str:
    """Format a p-value with two to four decimals, or as a power of ten below 0.0001."""
    if p < 1e-300:
        return f"p{NBSP}<{NBSP}10{'-300'.translate(_SUPERSCRIPT)}"
    if p >= 0.0001:
        return f"p{NBSP}={NBSP}{p:.4f}" if p < 0.1 else f"p{NBSP}={NBSP}{p:.2f}"
    exponent = math.floor(math.log10(p))
    mantissa = round(p / 10**exponent, 1)
    if mantissa == 10:
        mantissa, exponent = 1.0, exponent + 1
    return f"p{NBSP}={NBSP}{mantissa:.1f}{NBSP}×{NBSP}10{str(exponent).translate(_SUPERSCRIPT)}"


def capitalised(text: str) -> str:
    """Return text with a capital first letter, and everything else as it is."""
    return text[:1].upper() + text[1:]


def bare_p_value(p: float) -> str:
    """Format a p-value for a column that is named p."""
    return p_value(p).removeprefix(f"p{NBSP}=").strip(NBSP)


def duration(seconds: float) -> str:
    """Format a duration as HH:MM:SS, rounded to seconds; hours may exceed 24."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest:02d}"


def gib(size: float) -> str:
    """Format a number of bytes in GiB, or in MiB below 0.01 GiB."""
    if size < 0.01 * 2**30:
        return f"{decimal(size / 2**20, 1)}{NBSP}MiB"
    return f"{decimal(size / 2**30, 2)}{NBSP}GiB"
