"""Options that several commands share, the types of their values, and what a command returns."""

import functools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from ptpp.errors import InputError
from ptpp.table.units import has_thousands, parse_number

if TYPE_CHECKING:
    import pandas as pd

    from ptpp.laws.law import Law


class Number(click.ParamType):
    """A finite number, 7B and 1.5T included; `what` says in words which ones are accepted.

    `whole`: numbers that are large and whole, so that 87.360 is hardly one of them.
    """

    name = "number"

    def __init__(
        self,
        what: str = "",
        accept: Callable[[float], bool] = lambda value: True,
        whole: bool = False,
    ):
        self.what, self.accept, self.whole = what, accept, whole

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        try:
            number = parse_number(value)
        except InputError as error:
            self.fail(str(error), param, ctx)
        if isinstance(value, str) and has_thousands(value, self.whole):
            cure = value.strip().replace(".", "")
            self.fail(
                f"{value!r} may be {cure} with a point between thousands, or a small number with "
                f"decimals; accepted are {cure} and {number:g}",
                param,
                ctx,
            )
        if not self.accept(number):
            self.fail(f"{value!r}; accepted is {self.what}", param, ctx)
        return number


class Pair(click.ParamType):
    """LEFT=RIGHT, split at the first sign of equality."""

    name = "pair"

    def __init__(self, accepted: str, right: click.ParamType = click.STRING):
        self.accepted, self.right = accepted, right

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple:
        left, _, right = (part.strip() for part in value.partition("="))
        if not (left and right):
            self.fail(f"{value!r}; accepted is {self.accepted}", param, ctx)
        return left, self.right.convert(right, param, ctx)


class File(click.Path):
    """The name of a file; what stands there is checked by whoever reads or writes it."""

    def convert(self, value: Any, param: Any, ctx: Any) -> str:
        if not value or "\0" in value:
            self.fail(f"{value!r:.80}; accepted is the name of a file", param, ctx)
        return value


NUMBER = Number()
POSITIVE = Number("a number above 0", lambda value: value > 0)
TOKENS = Number("a number above 0", lambda value: value > 0, whole=True)
SHARE = Number("a share from 0 to 1, not percent", lambda value: 0 <= value <= 1)
COUNT = click.IntRange(min=1)
SEED = click.IntRange(0, 2**32 - 1)
RENAMING = Pair("THEIRS=OURS, such as N=n_params, cpt_B=adapt_tokens*1e9 or replay=1 - share")
LIMIT = Pair("DOMAIN=NATS, such as en=0.5", NUMBER)
INPUT = Pair("NAME=VALUE, such as width=64", NUMBER)
FILE = File()


@dataclass(frozen=True)
class Result:
    """What a command leaves: `lines` are printed, or `values` as JSON where `as_json`."""

    lines: Sequence[str]
    values: Mapping[str, Any] = field(default_factory=dict)
    as_json: bool = False

    def render(self, notes: Sequence[str] = ()) -> str:
        """The text to print; `notes` stand before the lines, or under the key `notes`."""
        if self.as_json:
            return json.dumps(_plain({**self.values, "notes": list(notes)}), allow_nan=False)
        return "\n".join([*(f"note: {line}" for line in notes), *self.lines])


@dataclass(frozen=True)
class Source:
    """The table that a command reads, and how."""

    path: str
    rename: dict[str, str]
    where: str | None
    target: str | None

    def read(self, law: "Law | None" = None, held_out: float | None = None) -> "pd.DataFrame":
        """The table; with `law`, the columns that this law needs."""
        from ptpp.table.observations import read_observations

        needs = None if law is None else law.columns
        return read_observations(self.path, held_out, self.target, self.rename, self.where, needs)


def add_options(*options: Callable) -> Callable:
    """A decorator that adds options and arguments to a command, in this order."""
    return lambda command: functools.reduce(lambda last, add: add(last), options[::-1], command)


def table_options(command: Callable) -> Callable:
    """TABLE, --rename, --where and --target, handed over as `source`."""

    @functools.wraps(command)
    def with_source(table: str, rename: tuple, where: str, target: str, **options: Any) -> Any:
        return command(source=Source(table, dict(rename), where, target), **options)

    return add_options(
        click.argument("table", type=FILE),
        click.option(
            "--rename",
            type=RENAMING,
            multiple=True,
            metavar="THEIRS=OURS",
            help="Read a column as ours, such as N=n_params or tokens_B=adapt_tokens*1e9, or "
            "compute one, such as 'replay=1 - share'; may be repeated.",
        ),
        click.option("--where", help="Rows to use, such as 'ptpp < 100'."),
        click.option("--target", help="The domain to use, where the table has several."),
    )(with_source)


fit_options = add_options(
    click.option("--held-out", type=POSITIVE, help="Fit the stages before this PTPP alone."),
    click.option(
        "--anchors",
        type=click.IntRange(0, 100_000),
        default=0,
        help="And so many small-scale cells of that stage.",
    ),
    click.option(
        "--starts",
        type=click.IntRange(1, 10_000),
        default=16,
        show_default=True,
        help="Of the solver.",
    ),
    click.option("--seed", type=SEED, default=0, help="Of starts, refits and anchors."),
    click.option(
        "--bootstrap",
        "draws",
        type=click.IntRange(1, 100_000),
        default=200,
        show_default=True,
        help="Refits.",
    ),
    click.option(
        "--krige/--no-krige",
        default=True,
        show_default=True,
        help="Correct the law by its misfit.",
    ),
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


def _plain(value: Any) -> Any:
    """`value` as JSON knows it: numbers that are not finite are null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if hasattr(value, "tolist"):  # of numpy
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
