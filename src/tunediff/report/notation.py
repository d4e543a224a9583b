"""How the report writes a figure: shares, differences, counts, p-values, times, sizes.

    percent(0.41)          41.0 %
    points(0.47)           +47.0 points
    p_value(1.18e-12)      p = 1.2 × 10⁻¹²
    duration(2297.4)       00:38:17

Figure and unit are joined by a no-break space, and a minus is a minus sign, not a hyphen.
"""

import math

NBSP = "\N{NO-BREAK SPACE}"
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def percent(share: float, digits: int = 1) -> str:
    """A share in 0..1 as a percentage."""
    return f"{_plain(100 * share, digits)}{NBSP}%"


def level(share: float) -> str:
    """A round share, such as a confidence, with as many decimals as it needs: `95 %`, `99.9 %`."""
    return f"{100 * share:g}{NBSP}%"


def points(difference: float, digits: int = 1) -> str:
    """A difference of two shares as signed percentage points."""
    return f"{signed(100 * difference, digits)}{NBSP}points"


def interval(low: float, high: float, digits: int = 1) -> str:
    """An interval of shares: `38.3 to 43.8 %`."""
    return f"{_plain(100 * low, digits)} to {percent(high, digits)}"


def points_interval(low: float, high: float, digits: int = 1) -> str:
    """An interval of differences: `+43.9 to +50.0 points`."""
    return f"{signed(100 * low, digits)} to {points(high, digits)}"


def signed(value: float, digits: int = 1) -> str:
    """A number that always carries its sign, except for one that rounds to zero."""
    text = _plain(value, digits)
    return f"+{text}" if text.strip("0.,") and not text.startswith("−") else text


def decimal(value: float, digits: int = 3) -> str:
    """A number with that many decimals."""
    return _plain(value, digits)


def whole(value: float) -> str:
    """A count, thousands apart: `2,800,655,360`."""
    return _plain(value, 0)


def counted(n: int, noun: str, plural: str | None = None) -> str:
    """A count and what is counted: `1 case`, `1,200 cases`."""
    return f"{whole(n)}{NBSP}{noun if n == 1 else plural or noun + 's'}"


def p_value(p: float) -> str:
    """A p-value: two to four decimals, or a power of ten below 0.0001."""
    if p < 1e-300:
        return f"p{NBSP}<{NBSP}10{'-300'.translate(_SUPERSCRIPT)}"
    if p >= 0.0001:
        return f"p{NBSP}={NBSP}{p:.4f}" if p < 0.1 else f"p{NBSP}={NBSP}{p:.2f}"
    exponent = math.floor(math.log10(p))
    mantissa = round(p / 10**exponent, 1)
    if mantissa == 10:
        mantissa, exponent = 1.0, exponent + 1
    return f"p{NBSP}={NBSP}{mantissa:.1f}{NBSP}×{NBSP}10{str(exponent).translate(_SUPERSCRIPT)}"


def duration(seconds: float) -> str:
    """A time as HH:MM:SS, to the nearest second; hours do not wrap at a day."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest:02d}"


def gib(size: float) -> str:
    """A number of bytes in GiB, in MiB below a hundredth of one."""
    if size < 0.01 * 2**30:
        return f"{_plain(size / 2**20, 1)}{NBSP}MiB"
    return f"{_plain(size / 2**30, 2)}{NBSP}GiB"


def _plain(value: float, digits: int) -> str:
    text = f"{value:,.{digits}f}"
    if not text.strip("-0.,"):
        return text.lstrip("-")
    return text.replace("-", "−")
