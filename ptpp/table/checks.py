"""What a table of losses must hold: names, numbers, signs, units, and one row per measurement."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ptpp.errors import InputError
from ptpp.table.columns import EXTRA, REQUIRED, TEXT, TOKENS, check_columns
from ptpp.table.kinds import CELL, is_stage, is_sweep, is_zero_shot
from ptpp.table.units import parse_number

# A run ends on a whole optimiser step, so the tokens read may differ a little from atpp * n_params.
STEP_TOLERANCE = 0.05

_POSITIVE = ("n_params", "n_params_non_embedding", "ptpp", "loss", "bits_per_byte", *EXTRA)
_COUNTS = ("n_params", "n_params_non_embedding", "adapt_tokens", "ptpp", "atpp", "flops")
_SHARE = "accepted is a share between 0 and 1"
_LEAST_PARAMS = 1000  # no language model is smaller; 0.11, 7 and 350 are billions or millions
_LEAST_TOKENS = 1e5  # a sweep that never reads so many, nor one per thousand parameters, has a unit
_LEAST_ATPP = 1e-3
_MOST_TPP = 1e7  # tokens per parameter; more are tokens


@dataclass(frozen=True)
class Places:
    """How errors call the rows of a table: by its name and their lines."""

    source: str
    lines: Sequence[int]

    def error(self, position: int, column: str, message: str) -> InputError:
        return InputError(f"{self.source}: row {self.lines[position]}, column {column}: {message}")

    def refuse(self, bad: pd.Series | np.ndarray, values: pd.Series, message: str) -> None:
        """Raise for the first row where `bad` holds; `message` may hold {value}."""
        positions = np.flatnonzero(np.asarray(bad))
        if len(positions):
            text = number_text(values.iloc[positions[0]]) or "an empty field"
            raise self.error(positions[0], str(values.name), message.format(value=text))


def check_observations(
    frame: pd.DataFrame,
    source: str = "observations",
    lines: Sequence[int] | None = None,
    held_out: float | None = None,
    target: str | None = None,
    needs: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Validate and complete a table in memory; see `ptpp.table.observations.read_observations`.

    `lines` are the numbers by which errors call the rows (default: 1, 2, ...).
    """
    places = Places(source, range(1, len(frame) + 1) if lines is None else lines)
    kept = check_columns(frame.columns, source, needs)
    if frame.empty:
        raise InputError(f"{source}: no rows; at least one observation is needed")
    table = pd.DataFrame(
        {c: _texts(frame, c) if c in TEXT else _numbers(frame, c, places) for c in kept}
    )
    _check_values(table, places, {*REQUIRED, *(needs or ())})
    if {"n_params", *TOKENS} <= set(kept):
        _fill_tokens(table, places)
    else:
        for column in set(TOKENS) & set(kept):
            values = table[column]
            places.refuse(values.isna(), values, "{value}; accepted is a number not below 0")
    _check_units(table, places, [c for c in TOKENS if c in frame])
    table["seed"] = table["seed"].fillna(0).astype(np.int64)
    table["domain"] = table["domain"].replace("", target or "target")
    if "n_params" in kept:
        _fill(table, "size", lambda rows: rows["n_params"].map(number_text))
        _check_sizes(table, places)
    if set(CELL) <= set(kept):
        # No token was replayed before adaptation: the value means nothing.
        table.loc[is_zero_shot(table), "replay"] = 0.0
        if "run" in kept:
            _fill(table, "run", _run_names)
        table = _without_repeats(table, places)
    else:
        _check_copies(frame, places)
    _check_presence(table, source, held_out, target)
    return table[list(kept)].reset_index(drop=True)


def number_text(value: object) -> str:
    """The shortest text that reads back to the same float; whole numbers without a point."""
    number = float(value)  # type: ignore[arg-type]
    if np.isnan(number):
        return ""
    if number.is_integer() and abs(number) < 2**53:
        return str(int(number))
    return repr(number)


def _texts(frame: pd.DataFrame, column: str) -> pd.Series:
    if column not in frame:
        return pd.Series([""] * len(frame), dtype=object)
    values = ["" if pd.isna(v) else v if isinstance(v, str) else _text(v) for v in frame[column]]
    return pd.Series(values, dtype=object)


def _text(value: object) -> str:
    return number_text(value) if isinstance(value, int | float | np.number) else str(value)


def _numbers(frame: pd.DataFrame, column: str, places: Places) -> pd.Series:
    """A column as float64; an absent column and an empty field are NaN."""
    numbers = np.full(len(frame), np.nan)
    for position, value in enumerate(frame.get(column, ())):
        if value is None or value is pd.NA or value == "":
            continue
        try:
            numbers[position] = float(value)
        except (TypeError, ValueError):
            numbers[position] = _count(str(value), position, column, places)
        if isinstance(value, str) and not np.isfinite(numbers[position]):
            raise places.error(position, column, f"{value!r}; accepted is a finite number")
    return pd.Series(numbers, name=column)


def _count(text: str, position: int, column: str, places: Places) -> float:
    """A field that is no plain number: a count such as 7B, or an error."""
    try:
        if column in _COUNTS:
            return parse_number(text)
    except InputError:
        pass
    if text.endswith("%"):
        message = f"{text!r} is a percentage; accepted is a share between 0 and 1"
    elif "," in text and "." not in text:
        message = f"{text!r} has a decimal comma; accepted is a decimal point"
    else:
        message = f"{text!r} is not a number"
    raise places.error(position, column, message)


def _check_values(table: pd.DataFrame, places: Places, required: Collection[str]) -> None:
    """Signs, ranges and gaps; `atpp` and `adapt_tokens` may still have gaps."""
    above, not_below = "{value}; accepted is a number above 0", "{value}; accepted is a number not"
    for column in table.columns.difference(TEXT, sort=False):
        values = table[column]
        places.refuse(np.isinf(values), values, "{value}; accepted is a finite number")
        if column in required and column not in (*TOKENS, "replay"):
            places.refuse(values.isna(), values, above)
        if column in _POSITIVE:
            places.refuse(values <= 0, values, above)
        elif column not in ("replay", "seed"):
            places.refuse(values < 0, values, not_below + " below 0")
    if "replay" in table:
        replay = table["replay"]
        adapted = np.ones(len(table), dtype=bool)
        for column in set(TOKENS) & set(table):
            adapted &= (table[column] != 0).to_numpy()
        if "replay" in required:
            places.refuse(replay.isna() & adapted, replay, "{value}; " + _SHARE)
        percent = (replay > 1) & (replay <= 100)
        places.refuse(percent, replay, "{value} looks like a percentage; " + _SHARE)
        places.refuse((replay < 0) | (replay > 1), replay, "{value}; " + _SHARE)
    seed = table["seed"]
    no_integer = seed.notna() & ((seed != seed.round()) | (seed.abs() > 2**53))
    places.refuse(no_integer, seed, "{value}; accepted is an integer")


def _fill_tokens(table: pd.DataFrame, places: Places) -> None:
    """Complete `atpp` and `adapt_tokens` from each other; raises where they contradict."""
    atpp, tokens, n_params = table["atpp"], table["adapt_tokens"], table["n_params"]
    both_missing = atpp.isna() & tokens.isna()
    places.refuse(both_missing, atpp, "{value}, and none in adapt_tokens; one of them is needed")
    expected = atpp * n_params
    apart = (tokens - expected).abs() > STEP_TOLERANCE * expected.abs()
    apart = (apart & tokens.notna() & atpp.notna()).to_numpy()
    if apart.any():
        first = int(np.argmax(apart))
        hint = _unit_of(expected.iloc[first] / tokens.iloc[first] if tokens.iloc[first] else np.nan)
        message = "{value} contradicts atpp * n_params by more than " + f"{STEP_TOLERANCE:.0%}"
        places.refuse(apart, tokens, message + hint)
    table["adapt_tokens"] = tokens.fillna(expected)
    # To three digits: runs end on whole steps, so that one ATPP differs a little from size to size.
    gaps = atpp.isna()
    derived = (tokens[gaps] / n_params[gaps]).map(lambda value: float(f"{value:.3g}"))
    table["atpp"] = atpp.fillna(derived)
    beyond = ~np.isfinite(table["adapt_tokens"]) | ~np.isfinite(table["atpp"])
    message = "{value}; the tokens that follow from it are not a finite number"
    places.refuse(beyond, n_params, message)


def _unit_of(ratio: float) -> str:
    """What explains tokens that are `ratio` times too small, if a unit does."""
    for unit, factor in (("thousands", 1e3), ("millions", 1e6), ("billions", 1e9)):
        if abs(ratio / factor - 1) <= STEP_TOLERANCE:
            return f"; one of the columns looks like {unit}: {_cure('adapt_tokens', factor)}"
    return ""


def _cure(column: str, factor: float) -> str:
    return f'--rename "{column}={column}*{factor:.0e}" reads it so'.replace("e+0", "e")


def _check_units(table: pd.DataFrame, places: Places, measured: Sequence[str]) -> None:
    """Refuse parameters and tokens in thousands, millions or billions, which would fit silently.

    `measured`: those of `atpp` and `adapt_tokens` that the table itself has.
    """
    if "n_params" in table:
        n_params = table["n_params"]
        few = n_params < _LEAST_PARAMS
        largest = n_params[few].max()
        unit, factor = ("billions", 1e9) if largest < 100 else ("millions", 1e6)
        places.refuse(
            few,
            n_params,
            f"{{value}} looks like {unit} of parameters; accepted is their number: "
            + _cure("n_params", factor),
        )
    for column in ("ptpp", "atpp"):
        if column in table:
            message = "{value} looks like tokens; accepted are tokens per parameter"
            places.refuse(table[column] > _MOST_TPP, table[column], message)
    tokens = table["adapt_tokens"] if "adapt_tokens" in table else pd.Series(dtype=float)
    read = tokens > 0
    if not read.any():
        return
    few = read & (tokens < 1)
    if "n_params" in table and tokens.max() < _LEAST_TOKENS:
        per_parameter = tokens / table["n_params"]
        few |= read & (per_parameter.max() < _LEAST_ATPP)
    if few.any() and "adapt_tokens" in measured:
        largest = tokens.max()
        unit, factor = ("billions", 1e9) if largest < 1e3 else ("millions", 1e6)
        message = f"{{value}} looks like {unit} of tokens; accepted is their number: "
        places.refuse(few, tokens, message + _cure("adapt_tokens", factor))
    elif few.any():
        message = "{value} is less than one token per thousand parameters in every row; accepted "
        message += "are adaptation tokens, not billions of them, per parameter"
        places.refuse(few, table["atpp"], message)


def _fill(table: pd.DataFrame, column: str, texts: Callable[[pd.DataFrame], pd.Series]) -> None:
    """Fill the empty fields of a column of text."""
    gaps = table[column] == ""
    if gaps.any():
        table.loc[gaps, column] = texts(table[gaps])


def _check_sizes(table: pd.DataFrame, places: Places) -> None:
    first = table.groupby("size")["n_params"].transform("first")
    positions = np.flatnonzero(table["n_params"] != first)
    if len(positions):
        row = table.iloc[positions[0]]
        message = (
            f"{number_text(row['n_params'])}, but size {row['size']!r} has "
            f"{number_text(first.iloc[positions[0]])} in an earlier row"
        )
        raise places.error(positions[0], "n_params", message)


def _run_names(rows: pd.DataFrame) -> pd.Series:
    columns = (rows[name] for name in ("size", "ptpp", "atpp", "replay", "seed"))
    names = [
        f"{size}-p{ptpp:g}-" + ("zero" if atpp == 0 else f"r{replay:g}") + f"-s{seed}"
        for size, ptpp, atpp, replay, seed in zip(*columns, strict=True)
    ]
    return pd.Series(names, index=rows.index, dtype=object)


def _without_repeats(table: pd.DataFrame, places: Places) -> pd.DataFrame:
    """Refuse two measurements of one cell and seed.

    Curves often begin with their checkpoint, which then stands in the table once per replay ratio:
    zero-shot rows that repeat the same loss are one measurement and are kept once.
    """
    key = [*CELL, "seed"]
    table = table[~(table.duplicated([*key, "loss"]) & is_zero_shot(table))]
    repeated = table.duplicated(key)
    if repeated.any():
        position = int(table.index[repeated][0])
        same = (table[key] == table.loc[position, key]).all(axis=1)
        first = int(table.index[same][0])
        raise places.error(
            position,
            "loss",
            f"a second measurement of the cell and seed of row {places.lines[first]}; accepted is "
            "one row per size, ptpp, replay, atpp, domain and seed",
        )
    return table


def _check_copies(frame: pd.DataFrame, places: Places) -> None:
    """Refuse rows that are equal in every column of the file, known or not."""
    texts = frame.astype(str)
    copied = texts.duplicated().to_numpy()
    if copied.any():
        position = int(np.argmax(copied))
        same = (texts == texts.iloc[position]).all(axis=1).to_numpy()
        line = places.lines[int(np.argmax(same))]
        message = f"a copy of row {line} in every column; remove one of them"
        raise places.error(position, "loss", message)


def _check_presence(
    table: pd.DataFrame, source: str, held_out: float | None, target: str | None
) -> None:
    domains = sorted(table["domain"].unique())
    if target is not None and target not in domains:
        raise InputError(
            f"{source}: column domain: no row of the target domain {target!r}; found "
            + ", ".join(map(repr, domains))
        )
    if held_out is not None:
        for column in ("ptpp", "atpp", "replay"):
            if column not in table:
                raise InputError(f"{source}: no column {column!r}; a held-out stage needs it")
        rows = table[is_sweep(table)]
        if target is not None:
            rows = rows[rows["domain"] == target]
        if not is_stage(rows, held_out).any():
            stages = ", ".join(f"{p:g}" for p in sorted(rows["ptpp"].unique())) or "none"
            raise InputError(
                f"{source}: column ptpp: the held-out stage {held_out:g} has no sweep rows "
                f"(atpp > 0, replay < 1); stages found: {stages}"
            )
