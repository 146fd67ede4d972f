"""Numbers as people write them: 7B, 40B, 1.5T, 350M, 10k."""

import math
import re

from ptpp.errors import InputError

_POWERS = {"k": 3, "m": 6, "b": 9, "g": 9, "t": 12}
ACCEPTED = "accepted is a finite number, such as 7000000000, 7e9, 7B or 1.5T"
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(\.\d{3})+")
_SUFFIX = re.compile(r"([+-]?(?:\d[\d_]*\.?\d*|\.\d+))\s*([kmbgt])", re.IGNORECASE)


def parse_number(text: str | float) -> float:
    """The number that `text` states; k, M, B (or G) and T are thousand to trillion, in any case.

    Raises InputError, one line, for anything else and for what is not finite.
    """
    try:
        number = float(expand(text) if isinstance(text, str) else text)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if isinstance(text, bool) or not math.isfinite(number):
        raise InputError(f"{text!r}; {ACCEPTED}")
    return number


def expand(text: str) -> str:
    """`text` with a suffix written as an exponent: 1.5T -> 1.5e12; unchanged without one."""
    match = _SUFFIX.fullmatch(text.strip())
    return f"{match[1]}e{_POWERS[match[2].lower()]}" if match else text


def has_thousands(text: str, whole: bool = False) -> bool:
    """Whether a number may have a point between thousands: 1.000, or 87.360 where it must be
    `whole`. Whoever writes a number by hand gives it no three zeros after the decimal point.
    """
    text = text.strip()
    return bool(_THOUSANDS.fullmatch(text)) and (whole or text.endswith(".000"))


def read_quantity(value: object) -> object:
    """A text with a suffix as the number it states, an int where it is whole; else unchanged."""
    if not isinstance(value, str) or (text := expand(value)) == value:
        return value
    number = float(text)
    return int(number) if number.is_integer() else number
