"""Options that several commands share, and the types of their values."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click

from ptpp.errors import InputError
from ptpp.table.units import parse_number


class Number(click.ParamType):
    """A finite number, 7B and 1.5T included; `what` says in words which ones are accepted."""

    name = "number"

    def __init__(self, what: str = "", accept: Callable[[float], bool] = lambda value: True):
        self.what, self.accept = what, accept

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        try:
            number = parse_number(value)
        except InputError as error:
            self.fail(str(error), param, ctx)
        if not self.accept(number):
            self.fail(f"{value!r}; accepted is {self.what}", param, ctx)
        return number


class Pair(click.ParamType):
    """LEFT=RIGHT, split at the first sign of equality."""

    name = "pair"

    def __init__(self, accepted: str, right: click.ParamType | None = None):
        self.accepted, self.right = accepted, right

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple:
        if isinstance(value, tuple):
            return value
        left, equals, right = (part.strip() for part in value.partition("="))
        if not (left and equals and right):
            self.fail(f"{value!r}; accepted is {self.accepted}", param, ctx)
        return left, self.right.convert(right, param, ctx) if self.right else right


NUMBER = Number()
POSITIVE = Number("a number above 0", lambda value: value > 0)
SHARE = Number("a share from 0 to 1, not percent", lambda value: 0 <= value <= 1)
COUNT = click.IntRange(min=1)
RENAMING = Pair("THEIRS=OURS, such as N=n_params, cpt_B=adapt_tokens*1e9 or replay=1 - share")
LIMIT = Pair("DOMAIN=NATS, such as en=0.5", NUMBER)
FILE = click.Path()


@dataclass(frozen=True)
class TableOptions:
    """The table that a command reads, and how."""

    path: str
    rename: dict[str, str]
    where: str | None
    target: str | None


def table_options(command: Callable) -> Callable:
    """TABLE, --rename, --where and --target, handed over as `source`."""

    def with_source(
        table: str, rename: tuple, where: str | None, target: str | None, **options: Any
    ) -> Any:
        return command(source=TableOptions(table, dict(rename), where, target), **options)

    with_source.__doc__ = command.__doc__
    with_source.__name__ = command.__name__
    with_source.__click_params__ = getattr(command, "__click_params__", [])
    for decorate in (
        click.option("--target", help="The domain to use, where the table has several."),
        click.option("--where", help="Rows to use, such as 'ptpp < 100'."),
        click.option(
            "--rename",
            type=RENAMING,
            multiple=True,
            metavar="THEIRS=OURS",
            help="Read a column as ours, such as N=n_params or tokens_B=adapt_tokens*1e9, or "
            "compute one, such as 'replay=1 - share'; may be repeated.",
        ),
        click.argument("table", type=FILE),
    ):
        with_source = decorate(with_source)
    return with_source


def fit_options(command: Callable) -> Callable:
    """--held-out, --anchors, --starts, --seed and --bootstrap."""
    for decorate in (
        click.option("--bootstrap", type=COUNT, default=200, show_default=True, help="Refits."),
        click.option("--seed", type=int, default=0, help="Of starts, refits and anchors."),
        click.option("--starts", type=COUNT, default=16, show_default=True, help="Of the solver."),
        click.option("--anchors", type=COUNT, help="And so many small-scale cells of that stage."),
        click.option("--held-out", type=POSITIVE, help="Fit the stages before this PTPP alone."),
    ):
        command = decorate(command)
    return command


json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
