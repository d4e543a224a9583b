"""Convert values to text, in the same way for CSV, JSON lines and Parquet.

    >>> [value_text(value) for value in (1, 1.0, "1.0", " 1 ", True, "True", 1e19, "1e+19")]
    ['1', '1', '1', '1', 'true', 'true', '10000000000000000000', '10000000000000000000']
    >>> [value_text(value) for value in ("007", "1.10", "1e5", "Yes", "", None)]
    ['007', '1.10', '1e5', 'Yes', None, None]

CSV has no types: a number 1.0 is read back as the text "1.0". So a text is treated as a number if it has the form in
which programs write numbers, and is kept if converting it to a number would lose information: leading zeros (007),
trailing zeros of a fraction (1.10), an exponent without a sign (1e5).
"""

import re
from decimal import Decimal
from typing import Any

import numpy as np

# Numbers in the form of Python, C and R: an exponent has a sign and two digits; only a zero fraction ends in a zero.
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.(?:0+|[0-9]*[1-9]))?(?:e[+-][0-9]{2,3})?")
_TRUTH = {word: word.lower() for word in ("True", "TRUE", "False", "FALSE")}
# A superset of the texts that `value_text` changes, for searching a column.
MAYBE_OTHER = r"^(?:-0|-?[0-9]+\.[0-9]+|-?[0-9]+(?:\.[0-9]+)?e[+-][0-9]{2,3}|True|TRUE|False|FALSE)$"


def value_text(value: Any) -> str | None:
    """Return a value of a column of labels, predictions, ids or the like as text; None if the cell is empty.

    Spaces around a text are stripped. Integers have no decimal point, even if stored as floats.

    Raises:
        TypeError: the value is a list, an object or bytes that are not UTF-8 text.
    """
    if isinstance(value, bytes):
        try:
            value = value.decode()
        except UnicodeDecodeError as error:
            raise TypeError from error
    if isinstance(value, str):
        text = value.strip()
        return _TRUTH.get(text) or (_digits(text) if _NUMBER.fullmatch(text) else text) or None
    return _typed(value)


def key_of(value: object) -> str | None:
    """Return a value of any type as text for comparisons, so that 0 and 0.0 match "0"; None if the cell is empty."""
    try:
        return value_text(value)
    except TypeError:
        return str(value)


def verbatim_text(value: Any) -> str | None:
    """Return a value as text like `value_text`, but leave texts unchanged."""
    return value if isinstance(value, str) else value_text(value)


def _typed(value: Any) -> str | None:
    if isinstance(value, list | tuple | dict | set | np.ndarray):
        raise TypeError
    if value is None or value != value:  # NaN is an empty cell in pandas
        return None
    if isinstance(value, bool | np.bool_):
        return str(value).lower()
    # str gives the shortest digits that identify the number, also for float32.
    return _digits(str(value)) if isinstance(value, int | float | np.number | Decimal) else str(value)


def _digits(text: str) -> str:
    number = Decimal(text)
    if not number.is_finite():
        return text
    plain = format(number, "f")
    if "." in plain:
        plain = plain.rstrip("0").rstrip(".")
    return "0" if plain == "-0" else plain
