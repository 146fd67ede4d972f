"""What every section of the configuration shares: strict keys, and the types of their values."""

from difflib import get_close_matches
from functools import reduce
from operator import or_
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    WrapValidator,
    model_validator,
)

from ptpp.table.units import read_quantity


class Section(BaseModel):
    """A mapping of the configuration. Unknown keys are refused, with the nearest known one."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        defer_build=True,  # at the first use of the whole, not once per section
    )

    @model_validator(mode="before")
    @classmethod
    def _check_keys(cls, value: Any) -> Any:
        if isinstance(value, dict) and cls.model_config["extra"] == "forbid":
            for key in value:
                if key not in cls.model_fields:
                    raise UnknownKey(key, list(cls.model_fields))
        return value


class UnknownKey(ValueError):
    """A key that a section does not have."""

    def __init__(self, key: str, known: list[str]):
        near = get_close_matches(str(key), known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"accepted: {', '.join(known)}"
        super().__init__(f"unknown key {key!r}; {hint}")


def _require_distinct(value: Any, validate: Any) -> list:
    """Refuse a list that holds an entry twice."""
    values = validate(value)
    if any(one in values[:place] for place, one in enumerate(values)):
        raise ValueError(f"found {values!r}; holds an entry twice")
    return values


def _keep_number(value: Any, validate: Any) -> int | float:
    """Check a number, but leave whole numbers as they are written; 7B is one."""
    value = read_quantity(value)
    validate(value)
    return value


# Names become parts of file names.
Name = Annotated[str, Field(pattern="^[A-Za-z0-9][A-Za-z0-9_-]{0,40}$")]
Count = Annotated[int, Field(ge=1), WrapValidator(_keep_number)]
Whole = Annotated[int, Field(ge=0)]
Number = Annotated[float, WrapValidator(_keep_number)]
Positive = Annotated[float, Field(gt=0), WrapValidator(_keep_number)]
NonNegative = Annotated[float, Field(ge=0), WrapValidator(_keep_number)]
Share = Annotated[float, Field(gt=0, le=1), WrapValidator(_keep_number)]
BelowOne = Annotated[float, Field(ge=0, lt=1), WrapValidator(_keep_number)]
Paths = Annotated[list[str], Field(min_length=1)]


def distinct(kind: Any, least: int = 1) -> Any:
    """A list of at least so many entries, all different."""
    return Annotated[list[kind], Field(min_length=least), WrapValidator(_require_distinct)]


def one_of_kinds(choose: Any, **kinds: type) -> Any:
    """A union whose member `choose(value)` names, so that errors are those of one member.

    Tags stand in parentheses, by which `reading` tells them from keys.
    """
    members = tuple(Annotated[kind, Tag(f"({name})")] for name, kind in kinds.items())
    return Annotated[reduce(or_, members), Discriminator(lambda value: f"({choose(value)})")]
