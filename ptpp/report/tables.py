"""Tables for readers: the same rows as CSV, Markdown and LaTeX."""

import os
import re
from pathlib import Path

import numpy as np
import pandas as pd

from ptpp.jobs.files import write_text

_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}
_MARKDOWN = {"\\": "\\\\", "|": "\\|", "*": "\\*", "`": "\\`", "<": "&lt;", "\n": " "}
_UNDERSCORE = re.compile(r"(?<!\w)_|_(?!\w)")  # those that Markdown could take for emphasis


def write_table(frame: pd.DataFrame, stem: str | os.PathLike) -> list[Path]:
    """Write `stem`.csv, `stem`.md and `stem`.tex; returns the paths.

    The CSV keeps full precision. The other two are for reading: four significant digits, dashes for
    missing values, special characters escaped. The LaTeX is a tabular that needs booktabs.
    """
    texts = {".csv": to_csv(frame), ".md": to_markdown(frame), ".tex": to_latex(frame)}
    paths = []
    for suffix, text in texts.items():
        path = Path(f"{os.fspath(stem)}{suffix}")
        write_text(path, text)
        paths.append(path)
    return paths


def write_csv(frame: pd.DataFrame, path: str | os.PathLike) -> None:
    """Write a table as CSV alone, floats at full precision."""
    write_text(path, to_csv(frame))


def to_csv(frame: pd.DataFrame) -> str:
    """CSV whose floats read back bit for bit."""
    return frame.to_csv(index=False, lineterminator="\n")


def to_markdown(frame: pd.DataFrame) -> str:
    """A Markdown pipe table, numbers to the right."""
    rule = ["---:" if _is_numeric(frame[c]) else ":---" for c in frame]
    rows = [[_markdown(c) for c in frame.columns], rule]
    rows += [[_markdown(_rounded(value)) for value in row] for row in _rows(frame)]
    return "".join("| " + " | ".join(row) + " |\n" for row in rows)


def to_latex(frame: pd.DataFrame) -> str:
    """A LaTeX tabular for the booktabs package, numbers to the right."""
    columns = "".join("r" if _is_numeric(frame[c]) else "l" for c in frame)
    lines = [f"\\begin{{tabular}}{{{columns}}}", r"\toprule"]
    lines += [" & ".join(_latex(c) for c in frame.columns) + r" \\", r"\midrule"]
    for row in _rows(frame):
        lines.append(" & ".join(_latex_cell(value) for value in row) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def to_text(frame: pd.DataFrame) -> str:
    """A table for the terminal: aligned columns, numbers to the right, four significant digits."""
    columns = []
    for name in frame:
        cells = [str(name), *(_rounded(value) for value in frame[name])]
        width = max(map(len, cells))
        right = _is_numeric(frame[name])
        columns.append([cell.rjust(width) if right else cell.ljust(width) for cell in cells])
    return "".join("  ".join(row).rstrip() + "\n" for row in zip(*columns, strict=True))


def _rows(frame: pd.DataFrame) -> list[list[object]]:
    """Row by row, each value of its column's own type."""
    return [list(row) for row in zip(*(frame[c] for c in frame), strict=True)]


def _is_numeric(column: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)


def _rounded(value: object) -> str:
    """Text with four significant digits; powers of ten only from a million on and below 1e-4."""
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return "–"
    if isinstance(value, int | np.integer):
        return str(value)
    if not isinstance(value, float):
        return str(value)
    size = abs(value)
    if np.isinf(value) or size == 0 or 1e-4 <= size < 1e6:
        rounded = float(f"{value:.4g}")
        return str(int(rounded)) if rounded.is_integer() else f"{value:.4g}"
    mantissa, exponent = f"{value:.3e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def _latex_cell(value: object) -> str:
    text = _rounded(value)
    if text == "–":
        return "--"
    if isinstance(value, float) and "e" in text:
        mantissa, exponent = text.split("e")
        return f"${mantissa}\\times10^{{{exponent}}}$"
    if isinstance(value, int | float | np.number) and not isinstance(value, bool):
        return f"${text}$" if text.startswith("-") else text  # a minus, not a hyphen
    return _latex(text)


def _latex(text: object) -> str:
    return "".join(_LATEX.get(c, c) for c in str(text)).replace("\n", " ")


def _markdown(text: object) -> str:
    escaped = "".join(_MARKDOWN.get(c, c) for c in str(text))
    return _UNDERSCORE.sub(r"\\_", escaped)
