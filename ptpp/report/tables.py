"""Tables for readers: the same rows as CSV, Markdown, LaTeX and text for the terminal."""

import os
import re

import numpy as np
import pandas as pd

from ptpp.jobs.files import write_text

_MISSING = "\N{EN DASH}"
_MARKDOWN = str.maketrans({"\\": "\\\\", "|": "\\|", "*": "\\*", "`": "\\`", "<": "&lt;"})
_UNDERSCORE = re.compile(r"(?<!\w)_|_(?!\w)")  # those that Markdown could take for emphasis


def write_table(frame: pd.DataFrame, path: str | os.PathLike) -> None:
    """Write a table as .csv, .md and .tex. `path` may leave out its ".csv".

    The CSV keeps full precision. The other two are for reading: four significant digits, dashes for
    missing values, special characters escaped. The LaTeX is a tabular that needs booktabs.
    """
    stem = os.fspath(path).removesuffix(".csv")
    texts = {".csv": to_csv(frame), ".md": to_markdown(frame), ".tex": to_latex(frame)}
    for suffix, text in texts.items():
        write_text(stem + suffix, text)


def write_csv(frame: pd.DataFrame, path: str | os.PathLike) -> None:
    """Write a table as CSV alone, floats at full precision."""
    write_text(path, to_csv(frame))


def to_csv(frame: pd.DataFrame) -> str:
    """CSV whose floats read back bit for bit."""
    return frame.to_csv(index=False, lineterminator="\n")


def to_markdown(frame: pd.DataFrame) -> str:
    """A Markdown pipe table, numbers to the right."""
    alignment = ["right" if _is_numeric(frame[c]) else "left" for c in frame]
    cells = frame.astype(object).map(_markdown_cell).rename(columns=_markdown_cell)
    text = cells.to_markdown(index=False, disable_numparse=True, colalign=alignment)
    return text + "\n"


def to_text(frame: pd.DataFrame) -> str:
    """A table for the terminal: aligned columns, numbers to the right, four significant digits."""
    columns = []
    for name in frame:
        cells = [str(name), *map(round_value, frame[name])]
        width = max(map(len, cells))
        right = _is_numeric(frame[name])
        columns.append([cell.rjust(width) if right else cell.ljust(width) for cell in cells])
    return "".join("  ".join(row).rstrip() + "\n" for row in zip(*columns, strict=True))


def to_latex(frame: pd.DataFrame) -> str:
    """A LaTeX tabular for the booktabs package, numbers to the right."""
    alignment = "".join("r" if _is_numeric(frame[c]) else "l" for c in frame)
    styler = frame.reset_index(drop=True).style.hide(axis="index")
    styler = styler.format(_latex_cell, escape="latex").format_index(escape="latex", axis=1)
    return styler.to_latex(hrules=True, column_format=alignment)


def round_value(value: object) -> str:
    """Text with four significant digits; powers of ten only from a million on and below 1e-4."""
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return _MISSING
    if not isinstance(value, float):
        return str(value).replace("\n", " ")
    size = abs(value)
    if np.isinf(value) or size == 0 or 1e-4 <= size < 1e6:
        rounded = float(f"{value:.4g}")
        return str(int(rounded)) if rounded.is_integer() else f"{value:.4g}"
    mantissa, exponent = f"{value:.3e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def _is_numeric(column: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)


def _markdown_cell(value: object) -> str:
    return _UNDERSCORE.sub(r"\\_", round_value(value).translate(_MARKDOWN))


def _latex_cell(value: object) -> str:
    """A number in LaTeX; a text is escaped already."""
    text = round_value(value)
    if text == _MISSING:
        return "--"
    if isinstance(value, float) and "e" in text:
        mantissa, exponent = text.split("e")
        return f"${mantissa}\\times10^{{{exponent}}}$"
    if isinstance(value, int | float | np.number):
        return f"${text}$" if text.startswith("-") else text  # a minus, not a hyphen
    return text
