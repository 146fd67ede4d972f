"""Tables for readers: exact CSV, readable Markdown and LaTeX."""

import numpy as np
import pandas as pd
import pytest

from ptpp.report.tables import (
    round_value,
    to_latex,
    to_markdown,
    to_text,
    write_csv,
    write_table,
)

FRAME = pd.DataFrame(
    {
        "law": ["gated_floor", "a|b & c"],
        "mae_rel": [1 / 3, np.nan],
        "flops": [1.23456e19, 0.0],
        "n": [60, 1],
        "feasible": [True, False],
    }
)


def test_one_table_is_written_in_three_forms(tmp_path):
    write_table(FRAME, tmp_path / "scores.v1")
    paths = sorted(tmp_path.iterdir())
    assert [p.name for p in paths] == ["scores.v1.csv", "scores.v1.md", "scores.v1.tex"]
    assert all(p.read_text(encoding="utf-8") for p in paths)


def test_csv_keeps_full_precision(tmp_path):
    write_csv(FRAME, tmp_path / "a.csv")
    back = pd.read_csv(tmp_path / "a.csv")
    pd.testing.assert_frame_equal(back, FRAME, check_exact=True, check_dtype=False)


def test_markdown_is_rounded_aligned_and_escaped():
    assert to_markdown(FRAME).splitlines() == [
        r"| law         |   mae_rel |    flops |   n | feasible   |",
        r"|:------------|----------:|---------:|----:|:-----------|",
        r"| gated_floor |    0.3333 | 1.235e19 |  60 | yes        |",
        r"| a\|b & c    |         – |        0 |   1 | no         |",
    ]


def test_underscores_that_could_be_emphasis_are_escaped_in_markdown():
    assert r"\_a_b\_" in to_markdown(pd.DataFrame({"x": ["_a_b_"]}))


def test_latex_is_a_booktabs_tabular():
    assert to_latex(FRAME).splitlines() == [
        r"\begin{tabular}{lrrrl}",
        r"\toprule",
        r"law & mae\_rel & flops & n & feasible \\",
        r"\midrule",
        r"gated\_floor & 0.3333 & $1.235\times10^{19}$ & 60 & yes \\",
        r"a|b \& c & -- & 0 & 1 & no \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]


def test_every_special_character_of_latex_is_escaped():
    frame = pd.DataFrame({"&": ["& % $ # _ { }"], "%": ["a~b^c"], "_": ["a\\b"]})
    header, _, row = to_latex(frame).splitlines()[2:5]
    assert header == r"\& & \% & \_ \\"
    text = r"\& \% \$ \# \_ \{ \} & a\textasciitilde b\textasciicircum c & a\textbackslash b"
    assert row == rf"{text} \\"


@pytest.mark.parametrize(
    "value,text",
    [
        (0.123456, "0.1235"),
        (12345.678, "12350"),
        (1.0, "1"),
        (-0.05, "-0.05"),
        (8.1e9, "8.1e9"),
        (1.5e-7, "1.5e-7"),
        (0.0, "0"),
        (float("inf"), "inf"),
        (123456789, "123456789"),
        (pd.NA, "–"),
        (True, "yes"),
    ],
)
def test_floats_have_four_digits_and_integers_all_of_theirs(value, text):
    assert round_value(value) == text


def test_text_for_the_terminal_is_aligned():
    frame = pd.DataFrame({"size": ["w8", "all"], "hours": [1.5, 12345.678], "n": [1, 20]})
    assert to_text(frame) == "size  hours   n\nw8      1.5   1\nall   12350  20\n"
