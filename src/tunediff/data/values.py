"""The text of a value, the same whether the file is CSV, JSON lines or Parquet.

    >>> [value_text(value) for value in (1, 1.0, "1.0", " 1 ", True, "True", 1e19, "1e+19")]
    ['1', '1', '1', '1', 'true', 'true', '10000000000000000000', '10000000000000000000']
    >>> [value_text(value) for value in ("007", "1.10", "1e5", "Yes", "", None)]
    ['007', '1.10', '1e5', 'Yes', None, None]

CSV has no types: what a program wrote there as the number 1.0 comes back as the text "1.0". So a text counts as a
number where it is written as programs write numbers, and stays as it is where a number would lose what it says: leading
zeros (007), zeros at the end of a fraction (1.10), an exponent without a sign (1e5).
"""

import re
from decimal import Decimal
from typing import Any

import numpy as np

# As Python, C and R write a number. The exponent has a sign and two digits; only a fraction of zeros ends in one.
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.(?:0+|[0-9]*[1-9]))?(?:e[+-][0-9]{2,3})?")
_TRUTH = {word: word.lower() for word in ("True", "TRUE", "False", "FALSE")}
# Texts that are not their own text by the rules above, and others: what a column has to be searched for.
MAYBE_OTHER = r"^(?:-0|-?[0-9]+\.[0-9]+|-?[0-9]+(?:\.[0-9]+)?e[+-][0-9]{2,3}|True|TRUE|False|FALSE)$"


def value_text(value: Any) -> str | None:
    """The text of a value of a column of labels, predictions, ids or the like; None where the cell is empty.

    Blanks around a text do not count. A whole number has no decimal point, whatever it is stored as.

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


def verbatim_text(value: Any) -> str | None:
    """As `value_text`, but a text stays as it stands, blanks and all."""
    return value if isinstance(value, str) else value_text(value)


def _typed(value: Any) -> str | None:
    if isinstance(value, list | tuple | dict | set | np.ndarray):
        raise TypeError
    if value is None or value != value:  # NaN, which pandas has for an empty cell
        return None
    if isinstance(value, bool | np.bool_):
        return str(value).lower()
    # The shortest digits that give the number back, also of one in single precision.
    return _digits(str(value)) if isinstance(value, int | float | np.number | Decimal) else str(value)


def _digits(text: str) -> str:
    number = Decimal(text)
    if not number.is_finite():
        return text
    plain = format(number, "f")
    if "." in plain:
        plain = plain.rstrip("0").rstrip(".")
    return "0" if plain == "-0" else plain
