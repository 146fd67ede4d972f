"""Values of `--config key=value`, read by the type that the key has.

Snakemake reads `tensorboard=true` and `plan='{law: gated, n_params: 1e9}'` as text: it knows no
types. Keys of a section are given as a YAML mapping, since `--config plan.law=gated` is no
identifier to Snakemake.
"""

import types
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml

from ptpp.config.experiment import Config
from ptpp.config.fields import Section
from ptpp.table.units import read_quantity


def read_command_line(values: Mapping) -> dict:
    """The same values, texts turned into what their keys hold; what cannot be read stays text."""
    return _read(values, [Config])


def _read(value: Any, kinds: list) -> Any:
    if isinstance(value, Mapping):
        return {key: _read(item, _kinds_of_key(kinds, key)) for key, item in value.items()}
    if isinstance(value, list):
        items = [get_args(kind)[0] for kind in kinds if get_origin(kind) is list]
        return [_read(item, _members(items)) for item in value]
    if isinstance(value, str):
        return _read_text(value, kinds)
    if isinstance(value, int | float) and not isinstance(value, bool) and set(kinds) <= _TEXTS:
        return str(value)  # scale=7 is a name
    return value


_TEXTS = {str, type(None)}


def _read_text(text: str, kinds: list) -> Any:
    if type(None) in kinds and text.lower() in ("null", "none", "~"):
        return None
    if str in kinds or any(
        get_origin(kind) is Literal and text in get_args(kind) for kind in kinds
    ):
        return text
    if float in kinds or int in kinds:
        try:
            quantity = read_quantity(text)
            if quantity is not text:
                return quantity
            number = float(text)
            return int(number) if number.is_integer() and "." not in text else number
        except (ValueError, OverflowError):
            pass
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _kinds_of_key(kinds: list, key: str) -> list:
    """What a key may hold in a mapping of one of `kinds`."""
    for kind in kinds:
        if isinstance(kind, type) and issubclass(kind, Section) and key in kind.model_fields:
            return _members([kind.model_fields[key].annotation])
        if get_origin(kind) is dict:
            return [*_members([get_args(kind)[1]]), type(None)]  # null takes an entry out
    return [str]


def _members(kinds: list) -> list:
    """The plain types behind unions and annotations."""
    members = []
    for kind in kinds:
        if get_origin(kind) is Annotated:
            members += _members([get_args(kind)[0]])
        elif get_origin(kind) in (Union, types.UnionType):
            members += _members(list(get_args(kind)))
        else:
            members.append(kind)
    return members
