"""Reading a configuration: its form is checked by pydantic, and each error is one line."""

import re
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from ptpp.config.checks import check_sense
from ptpp.config.fields import Section, UnknownKey
from ptpp.config.sections import Config
from ptpp.errors import InputError

_NUMBER = r"[-+]?[\d.]+([eE][-+]?\d+)?"
_MESSAGES = {
    "string_type": "expected text",
    "int_type": "expected integer",
    "int_from_float": "expected integer",
    "float_type": "expected number",
    "bool_type": "expected true or false",
    "list_type": "expected list",
    "dict_type": "expected mapping",
    "model_type": "expected mapping",
    "greater_than": "must be above {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be below {lt}",
    "less_than_equal": "must be at most {le}",
    "too_short": "needs {min_length} entries or more",
    "too_long": "takes {max_length} entries at most",
    "finite_number": "accepted is a finite number",
    "string_pattern_mismatch": "letters, digits, - and _ only, at most 41",
    "literal_error": "accepted: {expected}",
    "union_tag_invalid": "accepted: {expected_tags}",
}


def read_config(config: dict) -> Config:
    """Check a configuration and return it typed; fills in defaults and drops nulls, in place.

    An overlay takes out an entry of corpora.base or plan.forgetting by null. Raises InputError, one
    line that names the key, unless the configuration can be run.
    """
    for section, key in (("corpora", "base"), ("plan", "forgetting")):
        entries = (config.get(section) or {}).get(key)
        if isinstance(entries, dict):
            for name in [name for name, value in entries.items() if value is None]:
                del entries[name]
    try:
        checked = Config.model_validate(_to_plain(config))
    except ValidationError as error:
        raise InputError(_describe(error)) from None
    check_sense(checked)
    _fill_defaults(config, checked)
    return checked


def _describe(errors: ValidationError) -> str:
    """The most telling of several errors: an unknown key first, then the first in order."""
    every = errors.errors(include_url=False)
    unknown = [one for one in every if isinstance(one.get("ctx", {}).get("error"), UnknownKey)]
    error: Any = [*unknown, *every][0]
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    # Parts in parentheses are kinds of a section, and "[key]" marks a mapping's key.
    path = [str(part) for part in error["loc"] if not re.match(r"\(|\[key\]$", str(part))]
    if kind == "union_tag_invalid":  # only languages, by their source
        path, value = [*path, "source"], value.get("source", "nothing")
    *above, last = path or [""]
    if kind == "missing":
        return f"config: {'.'.join(above) or 'top level'}: key {last!r} is missing"
    place = f"config: {'.'.join(path) or 'top level'}"
    if kind == "value_error":
        return f"{place}: {context['error']}"
    expected = _MESSAGES.get(kind, error["msg"]).format(**context)
    if "accepted: " in expected:
        expected = re.sub("[()']", "", expected).replace(" or ", ", ")
    if kind in ("int_type", "float_type") and re.fullmatch(_NUMBER, str(value)):
        expected += " (YAML reads 1e9 as text: write 1.0e+9)"
    elif kind == "int_type" and re.fullmatch(_NUMBER + r"\s*[kKMBT]", str(value)):
        expected += ", such as 350M, 7B or 7_000_000_000"
    if error["loc"][-1] in ("(number)", "(text)") and kind.endswith("_type"):  # resources
        expected += ", or a mapping of the rules pretrain and adapt"
    return f"{place}: found {value!r}; {expected}"


def _to_plain(value: Any) -> Any:
    """Dict subclasses of the workflow engine as plain dicts, which strict models ask for."""
    if isinstance(value, Mapping):
        return {key: _to_plain(item) for key, item in value.items()}
    return [_to_plain(item) for item in value] if isinstance(value, list) else value


def _fill_defaults(config: dict, section: Section) -> None:
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, Section):
            _fill_defaults(config[name], value)
        else:
            config.setdefault(name, value)
