"""What a table of losses must hold: names, numbers, signs, units, and one row per measurement."""

import logging
from collections.abc import Collection, Sequence

import numpy as np
import pandas as pd

from ptpp.errors import InputError
from ptpp.table.columns import EXTRA, REQUIRED, TEXT, TOKENS, check_columns, own_columns
from ptpp.table.kinds import (
    CELL,
    CELL_KEYS,
    is_stage,
    is_sweep,
    is_zero_shot,
    list_stages,
    stage_numbers,
    stages_of,
)
from ptpp.table.reading import Places, number_text
from ptpp.table.units import expand, has_thousands
from ptpp.table.where import is_empty

log = logging.getLogger("ptpp")

# A run ends on a whole optimiser step, so the tokens read may differ a little from atpp * n_params.
STEP_TOLERANCE = 0.05

_POSITIVE = ("n_params", "n_params_non_embedding", "ptpp", "loss", "bits_per_byte", *EXTRA, "stage")
_COUNTS = ("n_params", "n_params_non_embedding", "adapt_tokens", "ptpp", "atpp", "flops", "stage")
_WHOLE = ("n_params", "n_params_non_embedding", "adapt_tokens", "flops")
_ABOVE, _NOT_BELOW = "; accepted is a number above 0", "; accepted is a number not below 0"
_SHARE = "accepted is a share between 0 and 1"
_UNITS = {"thousands": 1e3, "millions": 1e6, "billions": 1e9}
_LEAST_PARAMS = 1000  # no language model is smaller; 0.11, 7 and 350 are billions or millions
_LEAST_TOKENS = 1e5  # a sweep that never reads so many, nor one per thousand parameters, has a unit
_LEAST_ATPP = 1e-3
_MOST_TPP = 1e7  # tokens per parameter; more are tokens


def check_observations(
    frame: pd.DataFrame,
    places: Places | None = None,
    held_out: float | None = None,
    target: str | None = None,
    needs: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Validate and complete a table in memory; see `ptpp.table.observations.read_observations`.

    `places`: how errors call the rows (by default those of "observations", from 1).
    """
    places = places or Places("observations", range(1, len(frame) + 1))
    kept = check_columns(frame.columns, places.source, needs)
    own = own_columns(frame, needs)
    kept = (*kept, *own)
    if frame.empty:
        raise InputError(f"{places.source}: no rows; at least one observation is needed")
    read = {c: _texts if c in TEXT else _numbers for c in kept}
    table = pd.DataFrame({c: read[c](frame, c, places) for c in kept})
    _check_values(table, places, {*REQUIRED, *(needs or ())}, own)
    if {"n_params", *TOKENS} <= set(kept):
        _fill_tokens(table, places)
    else:
        for column in set(TOKENS) & set(kept):
            places.refuse(table[column].isna(), table[column], _NOT_BELOW)
    _check_units(table, places, [c for c in TOKENS if c in frame])
    table["seed"] = table["seed"].fillna(0).astype(np.int64)
    table["domain"] = table["domain"].replace("", target or "target")
    if "n_params" in kept:
        _fill_gaps(table, "size", table["n_params"].map(number_text))
        first = table.groupby("size")["n_params"].transform("first")
        other = table["n_params"] != first
        if other.any():
            size, count = table["size"][other].iloc[0], number_text(first[other].iloc[0])
            message = f", but size {size!r} has {count} in an earlier row"
            places.refuse(other, table["n_params"], message)
    if "ptpp" in kept:
        kept = _fill_stages(table, places, kept)
    if set(CELL) <= set(kept):
        # No token was replayed before adaptation: the value means nothing.
        table.loc[is_zero_shot(table), "replay"] = 0.0
        if "run" in kept:
            _fill_gaps(table, "run", _run_names(table))
        # Curves often begin with their checkpoint, which then stands in the table once per replay
        # ratio: zero-shot rows that repeat the same loss are one measurement and are kept once.
        key = [*CELL, "seed"]
        table = table[~(table.duplicated([*key, "loss"]) & is_zero_shot(table))]
        message = "a second measurement of the cell and seed of row {}; accepted is one row per "
        message += "size, ptpp, replay, atpp, domain and seed"
        if "seed" not in frame:
            message += "; name repeated runs in a column 'seed', or average them"
        _refuse_repeats(table[key], places, message)
        _warn_of_close_stages(table, places.source)
    else:
        message = "a copy of row {} in every column; remove one of them"
        _refuse_repeats(frame.astype(str).reset_index(drop=True), places, message)
    _check_presence(table, places.source, held_out, target)
    return table[list(kept)].reset_index(drop=True)


def _texts(frame: pd.DataFrame, column: str, places: Places) -> pd.Series:
    def text(value: object) -> str:
        is_number = isinstance(value, int | float | np.number)
        return "" if pd.isna(value) else number_text(value) if is_number else str(value)

    return pd.Series([text(value) for value in frame.get(column, [""] * len(frame))], dtype=object)


def _numbers(frame: pd.DataFrame, column: str, places: Places) -> pd.Series:
    """A column as float64; an absent column and an empty field are NaN; counts may be 7B."""
    numbers = np.full(len(frame), np.nan)
    values = frame.get(column, pd.Series(np.nan, frame.index))
    cells = values.to_list()
    for position in np.flatnonzero(~is_empty(values)):
        value = cells[position]
        is_text = isinstance(value, str)
        try:
            numbers[position] = float(expand(value) if is_text and column in _COUNTS else value)
        except (TypeError, ValueError):
            raise places.error(position, column, _why_no_number(str(value))) from None
        if is_text and not np.isfinite(numbers[position]):
            raise places.error(position, column, f"{value!r}; accepted is a finite number")
    if column in _COUNTS:
        _refuse_thousands(cells, column, places)
    return pd.Series(numbers, name=column)


def _refuse_thousands(cells: Sequence[object], column: str, places: Places) -> None:
    """Raise for 1.000 in a column of whole numbers: written by one hand, that is a thousand."""
    texts = [cell.strip() if isinstance(cell, str) else "" for cell in cells]
    marked = [has_thousands(text, column in _WHOLE) for text in texts]
    if any(marked) and any(text.isdecimal() for text in texts):
        position = marked.index(True)
        message = f"{texts[position]!r} among whole numbers looks like thousands set off by a point"
        cure = texts[position].replace(".", "")
        raise places.error(position, column, f"{message}; accepted is {cure}, or {cure[:-3]}")


def _why_no_number(text: str) -> str:
    if text.endswith("%"):
        return f"{text!r} is a percentage; {_SHARE}"
    if "," in text and "." not in text:
        return f"{text!r} has a decimal comma; accepted is a decimal point"
    return f"{text!r} is not a number"


def _check_values(
    table: pd.DataFrame, places: Places, required: Collection[str], own: Collection[str]
) -> None:
    """Signs, ranges and gaps; `atpp` and `adapt_tokens` may still have gaps. Columns of the table's
    `own` may hold any finite number.
    """
    adapted = np.ones(len(table), dtype=bool)
    for column in set(TOKENS) & set(table):
        adapted &= (table[column] != 0).to_numpy()
    for column in table.columns.difference(TEXT, sort=False):
        values = table[column]
        places.refuse(np.isinf(values), values, "; accepted is a finite number")
        if column in own:
            places.refuse(values.isna(), values, "; accepted is a finite number")
        elif column == "replay":
            if column in required:
                places.refuse(values.isna() & adapted, values, f"; {_SHARE}")
            percent = (values > 1) & (values <= 100)
            places.refuse(percent, values, f" looks like a percentage; {_SHARE}")
            places.refuse((values < 0) | (values > 1), values, f"; {_SHARE}")
        elif column == "seed":
            whole = (values == values.round()) & (values.abs() <= 2**53)
            places.refuse(values.notna() & ~whole, values, "; accepted is an integer")
        else:
            if column in required and column not in TOKENS:
                places.refuse(values.isna(), values, _ABOVE)
            if column in _POSITIVE:
                places.refuse(values <= 0, values, _ABOVE)
            places.refuse(values < 0, values, _NOT_BELOW)


def _fill_tokens(table: pd.DataFrame, places: Places) -> None:
    """Complete `atpp` and `adapt_tokens` from each other; raises where they contradict."""
    atpp, tokens, n_params = table["atpp"], table["adapt_tokens"], table["n_params"]
    missing = atpp.isna() & tokens.isna()
    places.refuse(missing, atpp, ", and none in adapt_tokens; one of them is needed")
    expected = atpp * n_params
    apart = (tokens - expected).abs() > STEP_TOLERANCE * expected.abs()
    if apart.any():
        message = f" contradicts atpp * n_params by more than {STEP_TOLERANCE:.0%}"
        with np.errstate(divide="ignore"):
            ratio = np.divide(expected[apart].iloc[0], tokens[apart].iloc[0])
        for unit, factor in _UNITS.items():
            if abs(ratio / factor - 1) <= STEP_TOLERANCE:
                message += f"; one of the columns looks like {unit}: "
                message += _cure("adapt_tokens", unit)
        places.refuse(apart, tokens, message)
    table["adapt_tokens"] = tokens.fillna(expected)
    # To three digits: runs end on whole steps, so that one ATPP differs a little from size to size.
    gaps = atpp.isna()
    derived = (tokens[gaps] / n_params[gaps]).map(lambda value: float(f"{value:.3g}"))
    table["atpp"] = atpp.fillna(derived)
    beyond = ~np.isfinite(table["adapt_tokens"]) | ~np.isfinite(table["atpp"])
    message = "; the tokens that follow from it are not a finite number"
    places.refuse(beyond, n_params, message)


def _cure(column: str, unit: str) -> str:
    factor = f"{_UNITS[unit]:.0e}".replace("e+0", "e")
    return f'--rename "{column}={column}*{factor}" reads it so'


def _check_units(table: pd.DataFrame, places: Places, measured: Sequence[str]) -> None:
    """Refuse parameters and tokens in thousands, millions or billions, which would fit silently.

    `measured`: those of `atpp` and `adapt_tokens` that the table itself has.
    """

    def refuse(few: pd.Series, column: str, largest: float, billions: float, what: str) -> None:
        units = ["billions"] if largest < billions else ["millions"]
        if what == "parameters" and largest < 0.1:  # as likely a small model's millions
            units.insert(0, "millions")
        cures = ", or ".join(_cure(column, unit) for unit in units)
        message = f" looks like {' or '.join(units)} of {what}; accepted is their number: {cures}"
        places.refuse(few, table[column], message)

    if "n_params" in table:
        few = table["n_params"] < _LEAST_PARAMS
        refuse(few, "n_params", table["n_params"][few].max(), 100, "parameters")
    for column in {"ptpp", "atpp"} & set(table):
        message = " looks like tokens; accepted are tokens per parameter"
        places.refuse(table[column] > _MOST_TPP, table[column], message)
    if "adapt_tokens" not in table:
        return
    tokens = table["adapt_tokens"]
    few = (tokens > 0) & (tokens < 1)
    if "n_params" in table and tokens.max() < _LEAST_TOKENS:
        few |= (tokens > 0) & ((tokens / table["n_params"]).max() < _LEAST_ATPP)
    if "adapt_tokens" in measured:
        refuse(few, "adapt_tokens", tokens.max(), 1e3, "tokens")
    elif few.any():
        message = " is less than one token per thousand parameters in every row; accepted are "
        message += "adaptation tokens, not billions of them, per parameter"
        places.refuse(few, table["atpp"], message)


def _fill_gaps(table: pd.DataFrame, column: str, texts: pd.Series) -> None:
    table[column] = table[column].where(table[column] != "", texts)


def _fill_stages(table: pd.DataFrame, places: Places, kept: tuple[str, ...]) -> tuple[str, ...]:
    """Complete `stage`, and keep it only where it says more than `ptpp` does; returns the columns.

    Raises InputError where a stage holds PTPP of another one.
    """
    labels = pd.Series(stage_numbers(table["ptpp"]), index=table.index)
    if "stage" in table:
        # Beside rows that name their stage, one whose PTPP is such a name is of that stage.
        named = table["ptpp"].where(table["ptpp"].isin(table["stage"].dropna()))
        labels = table["stage"].fillna(named).fillna(labels)
    table["stage"] = labels
    ends = table.groupby("stage")["ptpp"].agg(["min", "max"])
    before = ends["max"].cummax().shift()
    if (wrong := ends.index[(ends["min"] <= before).to_numpy()]).size:
        ptpp = number_text(before[wrong[0]])
        message = f" holds PTPP {number_text(ends['min'][wrong[0]])}, but a lower stage holds "
        message += f"{ptpp}; accepted are numbers that name the groups of PTPP in their order"
        places.refuse(table["stage"] == wrong[0], table["stage"], message)
    if (table["stage"] == table["ptpp"]).all():
        del table["stage"]
        return tuple(name for name in kept if name != "stage")
    return kept if "stage" in kept else (*kept, "stage")


def _warn_of_close_stages(table: pd.DataFrame, source: str) -> None:
    """Say so where one run counts as a repeat of another because their PTPP are one stage."""
    key = [*CELL_KEYS, "seed"]
    staged = table.assign(stage=stages_of(table))
    twins = staged[staged.duplicated(key, keep=False)]
    if len(twins):
        first = twins[(twins[key] == twins[key].iloc[0]).all(axis=1)]
        values = " and ".join(number_text(value) for value in sorted(first["ptpp"])[:2])
        log.warning(
            "%s: size %s was measured at PTPP %s, which are one stage and count as repeats; a "
            "column stage (a number) tells them apart",
            *(source, first["size"].iloc[0], values),
        )


def _run_names(table: pd.DataFrame) -> pd.Series:
    names = [
        f"{size}-p{ptpp:g}-" + ("zero" if atpp == 0 else f"r{replay:g}") + f"-s{seed}"
        for size, ptpp, atpp, replay, seed in zip(
            *(
                table["size"],
                stages_of(table),
                *(table[name] for name in ("atpp", "replay", "seed")),
            ),
            strict=True,
        )
    ]
    return pd.Series(names, index=table.index, dtype=object)


def _refuse_repeats(keys: pd.DataFrame, places: Places, message: str) -> None:
    """Raise for the first row that repeats an earlier one; `message` has a place for its line."""
    repeated = keys.index[keys.duplicated()]
    if len(repeated):
        first = keys.index[(keys == keys.loc[repeated[0]]).all(axis=1)][0]
        raise places.error(repeated[0], "loss", message.format(places.lines[first]))


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
        rows = table[is_sweep(table) & (table["domain"] == (target or table["domain"]))]
        if not is_stage(rows, held_out).any():
            stages = ", ".join(f"{p:g}" for p in list_stages(rows)) or "none"
            raise InputError(
                f"{source}: column ptpp: the held-out stage {held_out:g} has no sweep rows "
                f"(atpp > 0, replay < 1); stages found: {stages}"
            )
