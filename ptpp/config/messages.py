"""A configuration's errors of form, in one line each: key, what was found, what is accepted."""

import re
from typing import Any

from pydantic import ValidationError

from ptpp.config.fields import UnknownKey

_EXPECTED = {
    "string_type": "text",
    "int_type": "integer",
    "int_from_float": "integer",
    "float_type": "number",
    "bool_type": "true or false",
    "list_type": "list",
    "dict_type": "mapping",
    "model_type": "mapping",
}
_LIMITS = {
    "greater_than": "must be above {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be below {lt}",
    "less_than_equal": "must be at most {le}",
    "too_short": "needs {min_length} entries or more",
    "too_long": "takes {max_length} entries at most",
    "finite_number": "accepted is a finite number",
    "string_pattern_mismatch": "letters, digits, - and _ only, at most 41",
}


def describe_error(error: ValidationError) -> str:
    """The most telling of several errors: an unknown key first, then the first in order."""
    errors = error.errors(include_url=False)
    unknown = [one for one in errors if isinstance(one.get("ctx", {}).get("error"), UnknownKey)]
    return _describe([*unknown, *errors][0])


def _describe(error: Any) -> str:
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    # Parts in parentheses are kinds of a section, and "[key]" marks a mapping's key.
    path = [
        str(part)
        for part in error["loc"]
        if part != "[key]" and not (isinstance(part, str) and part.startswith("("))
    ]
    if kind == "missing":
        return f"config: {_place(path[:-1])}: key {path[-1]!r} is missing"
    if kind == "value_error":
        return f"config: {_place(path)}: {context['error']}"
    if kind == "union_tag_invalid":  # only languages, by their source
        path, value = [*path, "source"], value.get("source", "nothing")
        context = {"expected": re.sub("[()]", "", context["expected_tags"])}
        kind = "literal_error"
    if kind == "literal_error":
        accepted = context["expected"].replace("'", "").replace(" or ", ", ")
        expected = f"accepted: {accepted}"
    elif kind in _LIMITS:
        expected = _LIMITS[kind].format(**context)
    elif kind in _EXPECTED:
        expected = f"expected {_EXPECTED[kind]}"
        if kind in ("int_type", "float_type") and isinstance(value, str) and _is_number(value):
            expected += " (YAML reads 1e9 as text: write 1.0e+9)"
    else:
        expected = error["msg"]
    if error["loc"][-1] in ("(number)", "(text)") and kind in _EXPECTED:  # of a size's resources
        expected += ", or a mapping of the rules pretrain and adapt"
    return f"config: {_place(path)}: found {value!r}; {expected}"


def _place(path: list[str]) -> str:
    return ".".join(path) or "top level"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
