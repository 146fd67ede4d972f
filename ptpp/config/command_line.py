"""Values of `--config key=value`, read by the type that the key has.

Snakemake reads `tensorboard=true` and `plan='{law: gated, n_params: 1e9}'` as text: it knows no
types. Keys of a section are given as a YAML mapping, since `--config plan.law=gated` is no
identifier to Snakemake.
"""

import types
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml

from ptpp.config.fields import Section
from ptpp.config.sections import Config
from ptpp.table.units import expand


def read_command_line(values: Mapping) -> dict:
    """The same values, texts turned into what their keys hold; what cannot be read stays text."""
    return _read(values, [Config])


def _read(value: Any, kinds: list) -> Any:
    if isinstance(value, Mapping):
        return {key: _read(item, _kinds_of_key(kinds, key)) for key, item in value.items()}
    if isinstance(value, list):
        items = _members(get_args(kind)[0] for kind in kinds if get_origin(kind) is list)
        return [_read(item, items) for item in value]
    if isinstance(value, str):
        return _read_text(value, kinds)
    is_name = type(value) in (int, float) and set(kinds) <= {str, type(None)}
    return str(value) if is_name else value  # scale=7


def _read_text(text: str, kinds: list) -> Any:
    if type(None) in kinds and text.lower() in ("null", "none", "~"):
        return None
    words = [word for kind in kinds if get_origin(kind) is Literal for word in get_args(kind)]
    if str in kinds or text in words:
        return text
    if float in kinds or int in kinds:
        try:
            plain = expand(text)
            number = float(plain)
            is_whole = number.is_integer() and ("." not in text or plain != text)
            return int(number) if is_whole else number
        except ValueError:
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


def _members(kinds: Any) -> list:
    """The plain types behind unions and annotations."""
    members = []
    for kind in kinds:
        if get_origin(kind) is Annotated:
            members += _members(get_args(kind)[:1])
        elif get_origin(kind) in (Union, types.UnionType):
            members += _members(get_args(kind))
        else:
            members.append(kind)
    return members
