"""Tables of the report: chosen columns of a CSV file, with the digits that the noise allows."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ptpp.laws.levels import FORECASTS, INFORMATION
from ptpp.report.names import law_name, protocol_name, short_number
from ptpp.report.page.findings import digits

MOST_ROWS = 150  # a longer table is cut; its file has all rows
_MISSING = "\N{EN DASH}"
_TEXTS = {
    "early": "early stages",
    "zero_shot": "and base losses",
    "anchors": "and anchors",
    "law": "law alone",
}
_NAMES = {"law": law_name, "protocol": protocol_name}  # kinds of text with names of their own
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Column:
    """A column of a file under a heading of its own; `kind` is one of `KINDS`."""

    name: str
    heading: str
    kind: str = "text"

    @property
    def is_number(self) -> bool:
        return self.kind not in ("text", "long", *_NAMES)


@dataclass(frozen=True)
class Cell:
    """What is shown, and what a reader sorts by: a number, or the text itself."""

    text: str
    key: str


@dataclass(frozen=True)
class Table:
    """A table as it is shown: `total` rows stand in the file `path`, relative to the page."""

    title: str
    path: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    total: int


def read_shown(
    folder: Path, path: str, title: str, columns: tuple[Column, ...], loss_digits: int
) -> Table | None:
    """The columns that the file has; None without file or rows.

    `loss_digits`: decimals of a loss, from `digits_of_noise`.
    """
    frame = read_csv(folder / path)
    if frame is None or frame.empty:
        return None
    columns = tuple(c for c in columns if c.name in frame and frame[c.name].notna().any())
    shown = frame.head(MOST_ROWS)
    parts = [
        [_cell(value, column.kind, loss_digits) for value in shown[column.name]]
        for column in columns
    ]
    return Table(title, path, columns, tuple(zip(*parts, strict=True)), len(frame))


def read_errors(folder: Path, path: str, title: str) -> Table | None:
    """Scores as a row per domain and law, and a column for each level of what a forecast knew.

    A cell has the kriged forecast's error and, in brackets, the law's own. None without scores.
    """
    scores = read_csv(folder / path)
    if scores is None or scores.empty:
        return None
    levels = [each for each in INFORMATION if (scores["information"] == each).any()]
    rows = []
    for (domain, law), group in scores.groupby(["domain", "law"], sort=False):
        errors = group.set_index(["information", "forecast"])["mae_rel"]
        cells = [_cell(law, "law", 0), _cell(domain, "text", 0)]
        cells += [_both(*(errors.get((level, each)) for each in FORECASTS)) for level in levels]
        rows.append((*cells, _cell(group["noise_floor"].iloc[0], "percent", 0)))
    columns = [Column("law", "law", "law"), Column("domain", "domain")]
    columns += [Column(each, f"{_TEXTS[each]} (%)", "percent") for each in levels]
    columns.append(Column("noise_floor", "noise (%)", "percent"))
    return Table(title, path, tuple(columns), tuple(rows), len(rows))


def _both(law: float | None, kriged: float | None) -> Cell:
    if kriged is None:
        return _cell(law, "percent", 0)
    first, second = _cell(kriged, "percent", 0), _cell(law, "percent", 0)
    same = law is None or first.text == second.text
    return first if same else Cell(f"{first.text} ({second.text})", first.key)


def read_csv(path: Path) -> pd.DataFrame | None:
    """A table of the run; None where it was not made, or has no column."""
    if not path.exists() or not path.read_text(encoding="utf-8").strip():
        return None
    return pd.read_csv(path)


def digits_of_noise(sd: float) -> int:
    """Decimals of a loss [nats] so that the last one is the first digit of its noise `sd`."""
    if not (sd > 0 and math.isfinite(sd)):
        return 3
    return min(max(-math.floor(math.log10(sd)), 1), 4)


def _cell(value: object, kind: str, loss_digits: int) -> Cell:
    if value is None or pd.isna(value):
        return Cell(_MISSING, "")
    if kind in _NAMES:
        text = _NAMES[kind](str(value))
        return Cell(text, text)
    if kind in ("text", "long"):
        text = str(value)
        if isinstance(value, bool) or text in ("True", "False"):
            text = "yes" if text == "True" else "no"
        text = _TEXTS.get(text, text.replace("_", " "))
        return Cell(text, text)
    number = float(value)
    if not math.isfinite(number):
        return Cell("∞" if number > 0 else "\N{MINUS SIGN}∞", repr(number))
    text = KINDS[kind](number, loss_digits).replace("-", "\N{MINUS SIGN}")
    return Cell(text, repr(number))


def _power(value: float) -> str:
    """Two digits and a power of ten, such as "6.1 × 10¹¹"."""
    if value == 0:
        return "0"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa} × 10{str(int(exponent)).translate(_SUPERSCRIPTS)}"


# percent: a share with two digits; share: the same in whole percent; loss: nats.
KINDS: Mapping[str, Callable[[float, int], str]] = {
    "percent": lambda value, _: digits(100 * value),
    "share": lambda value, _: f"{100 * value:.0f}",
    "loss": lambda value, decimals: f"{value:.{decimals}f}",
    "number": lambda value, _: (
        f"{value:.3g}" if 1e-3 <= abs(value) < 1e4 or value == 0 else _power(value)
    ),
    "count": lambda value, _: f"{value:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}"),
    "size": lambda value, _: short_number(value),
    "power": lambda value, _: _power(value),
}
