"""Foreign and broken tables: renamed, filtered, or refused in one line; never a silent number."""

import io
import math
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ptpp.cli.main import main
from ptpp.errors import InputError
from ptpp.laws import LAWS, FitSettings, declared_law, fit
from ptpp.laws.rows import law_rows
from ptpp.laws.solver import huber
from ptpp.laws.uncertainty import refits
from ptpp.table.observations import read_observations
from ptpp.table.reading import Places
from ptpp.table.where import choose_rows

GRID = pd.DataFrame(
    [
        (n, p, r, a)
        for n in (1000, 3000, 9000)
        for p in (15, 31, 279)
        for r in (0, 0.25, 0.5)
        for a in (1, 4, 16)
    ],
    columns=["n_params", "ptpp", "replay", "atpp"],
)
GRID["loss"] = (
    2 + 3 * GRID["n_params"] ** -0.2 + (GRID["atpp"] * GRID["n_params"]) ** -0.15
    + 0.1 * GRID["replay"] + 0.01 * np.sin(np.arange(len(GRID)))
).round(6)  # fmt: skip
FOREIGN = "N,D,TPP,set,loss_c4,note\n" + "".join(
    f"{n},{n * a},{20 * a},{name},{3 + 10 * n**-0.3 + a**-0.5:.6f},\n"
    for name in ("a", "b")
    for n in (1000, 3000, 9000)
    for a in (1, 4, 16)
)
RENAME = {"N": "n_params", "D": "adapt_tokens", "loss_c4": "loss"}


def write(folder, text, name="losses.csv"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def refusal(path, **arguments):
    with pytest.raises(InputError) as raised:
        read_observations(path, **arguments)
    message = str(raised.value)
    assert message.startswith(f"{path}: ") and "\n" not in message
    return message.removeprefix(f"{path}: ")


def test_a_table_of_n_d_and_loss_is_enough_for_a_law_of_n_and_d(tmp_path):
    path = write(tmp_path, FOREIGN)
    law = LAWS["chinchilla"]
    where = "set == 'a'"
    rows = read_observations(path, rename=RENAME, where=where, needs=law.columns)
    assert len(rows) == 9
    assert not {"ptpp", "replay", "TPP"} & set(rows.columns)
    assert not rows[["n_params", "adapt_tokens", "atpp", "loss"]].isna().any().any()
    assert fit(law, law_rows(rows, law, "target")).record.n_rows == 9


def test_tokens_are_filled_for_a_law_that_needs_them(tmp_path):
    text = "n_params,atpp,loss\n1000,2,5\n1000,4,4\n"
    rows = read_observations(write(tmp_path, text), needs=("n_params", "adapt_tokens"))
    assert rows["adapt_tokens"].tolist() == [2000, 4000]


def test_a_law_of_tokens_alone_needs_tokens_alone(tmp_path):
    path = write(tmp_path, "adapt_tokens,loss\n1000,5\n2000,4.5\n4000,4.2\n8000,4.1\n")
    rows = read_observations(path, needs=("adapt_tokens",))
    assert list(rows["loss"]) == [5, 4.5, 4.2, 4.1]
    path = write(tmp_path, "adapt_tokens,loss\n1000,5\n,4.5\n")
    message = refusal(path, needs=("adapt_tokens",))
    assert message.startswith("row 3, column adapt_tokens: an empty field; accepted is a number")


def test_a_gap_is_refused_even_in_a_column_the_law_does_not_need(tmp_path):
    text = "n_params,ptpp,replay,atpp,loss\n1000,15,0,1,5\n1000,,0,2,4\n"
    message = refusal(write(tmp_path, text), needs=LAWS["dcpt"].columns)
    assert message.startswith("row 3, column ptpp: an empty field; accepted is a number above 0")


def test_a_base_loss_of_ones_own_is_kept(tmp_path):
    table = GRID.assign(base_loss=5 - 0.1 * np.log(GRID["ptpp"]))
    table.to_csv(tmp_path / "losses.csv", index=False)
    observations = read_observations(tmp_path / "losses.csv")
    rows = law_rows(observations, "checkpoint_informed", "target")
    assert rows["base_loss"].nunique() == 3
    assert fit("checkpoint_informed", rows, FitSettings(starts=2)).record.n_rows == 81


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "no column 'ptpp'; is 'TPP' meant for it?"),
        ({"needs": ("n_params",)}, "no column 'loss'"),
        ({"rename": {"M": "n_params"}}, "rename: column 'M' is not known; known are N, D, TPP"),
        ({"rename": {"note": "set"}}, "rename: there would be 2 columns 'set'; rename the others"),
        ({"rename": {"N": "x", "D": "x"}}, "rename: there would be 2 columns 'x'"),
        ({"where": "sets == 'a'"}, "where: column 'sets' is not known; did you mean 'set'?"),
        ({"where": "set == 'c'"}, "where: \"set == 'c'\" holds in none of 18 rows"),
        ({"where": "set < 5"}, "where: 'set' cannot stand there; accepted are columns, numbers"),
        ({"where": "set == 5"}, "where: a text is compared with '5'; put texts in quotes"),
        ({"where": "N"}, "where: 'N' cannot stand there; accepted are columns, numbers"),
        ({"where": "N <"}, "where: 'N <' is not a valid expression"),
        ({"where": ""}, "where: the expression is empty"),
        ({"where": "__import__('os').system('x') == 1"}, "where: \"__import__('os').system('x')\""),
        ({"where": "N == N.real"}, "where: 'N.real' cannot stand there"),
        ({"where": "D > 5 and (N := 3) > 2"}, "where: '(N := 3)' cannot stand there"),
        ({"where": "N ** D > 1"}, "where: 'N ** D' cannot stand there"),
        ({"where": "N is 3"}, "where: '3' cannot stand there"),
        ({"where": "N > 1e999"}, "where: '1e309' cannot stand there"),
    ],
)
def test_a_wrong_rename_or_where_is_refused_in_one_line(tmp_path, arguments, message):
    assert refusal(write(tmp_path, FOREIGN), **arguments).startswith(message)


def test_where_names_the_row_of_a_field_that_cannot_be_compared(tmp_path):
    text = FOREIGN.replace("3000,12000", "3000,many", 1)
    expected = "row 6, column D: 'many' is not a number, and where needs one"
    assert refusal(write(tmp_path, text), where="D > 10") == expected


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("x < 3", [1, 1, 0, 0]),
        ("1 < x <= 3", [0, 1, 1, 0]),
        ("not x < 3", [0, 0, 1, 1]),
        ("x >= 2 and y == 'b'", [0, 1, 0, 0]),
        ("x == 1 or y != 'b'", [1, 0, 1, 0]),
        ("y in ['a', 'b']", [1, 1, 0, 0]),
        ("x not in (1, 2)", [0, 0, 1, 0]),
        ("2 * x - 1 > x / 1", [0, 1, 1, 0]),
        ("x == -1 or x == 3", [0, 0, 1, 0]),
        ("y in []", [0, 0, 0, 0]),
    ],
)
def test_where_chooses_rows_and_an_empty_field_satisfies_nothing(where, expected):
    frame = pd.DataFrame({"x": ["1", "2", "3", ""], "y": ["a", "b", "c", ""]})
    expected = [bool(e) for e in expected]
    assert choose_rows(frame, where, Places("t", range(1, len(frame) + 1))).tolist() == expected


def test_rows_left_out_are_not_checked(tmp_path):
    text = "n_params,ptpp,replay,atpp,loss\n1000,15,0,1,5\n1000,279,0,1,nan\n"
    path = write(tmp_path, text)
    assert len(read_observations(path, where="ptpp < 100")) == 1
    assert refusal(path).startswith("row 3, column loss: 'nan'")


def test_copied_rows_are_refused_where_there_are_no_cells(tmp_path):
    text = "n_params,adapt_tokens,loss,width\n1000,2000,5,8\n1000,2000,5,9\n1000,2000,5,8\n"
    message = refusal(write(tmp_path, text), needs=("n_params", "adapt_tokens"))
    assert message == "row 4, column loss: a copy of row 2 in every column; remove one of them"


BAD_FIELDS = [
    "", "nan", "NaN", "inf", "-inf", "0", "-1", "1e400", "3,5", "25%", "25", "-0.1", "1.5",
    "n/a", "x", "None", "1e-320", "5.5.5", "--", "\u0663", '"', "\u00b5", "1e308", "9" * 400,
]  # fmt: skip


@st.composite
def corrupted(draw):
    """The text of a sound table, then broken in one or two ways."""
    table = GRID.astype(str)
    header = list(table.columns)
    lines = [list(map(str, row)) for row in table.itertuples(index=False)]
    bom = newline = separator = None
    for _ in range(draw(st.integers(1, 2))):
        kind = draw(
            st.sampled_from(
                ["field", "header", "drop", "copy", "cut", "bom", "separator", "extra", "noise",
                 "constant", "one_stage", "few", "comma", "empty"]
            )
        )  # fmt: skip
        column = draw(st.integers(0, len(header) - 1))
        row = draw(st.integers(0, max(0, len(lines) - 1)))
        if kind == "field" and lines:
            lines[row][min(column, len(lines[row]) - 1)] = draw(st.sampled_from(BAD_FIELDS))
        elif kind == "header":
            header[column] = draw(
                st.sampled_from(["", "los", "loss", "Loss", "reply", "N", "seed"])
            )
        elif kind == "drop":
            header.pop(column)
            lines = [line[:column] + line[column + 1 :] for line in lines]
            if not header:
                break
        elif kind == "copy" and lines:
            lines.append(list(lines[row]))
        elif kind == "cut" and lines:
            lines[row] = lines[row][: max(1, column)]
        elif kind == "bom":
            bom = True
        elif kind == "separator":
            separator = draw(st.sampled_from([";", "\t", "|"]))
        elif kind == "extra" and lines:
            lines[row].append("7")
        elif kind == "noise":
            newline = draw(st.sampled_from(["\r\n", "\n\n", "\r"]))
        elif kind == "constant" and lines:
            for line in lines:
                if column < len(line):
                    line[column] = lines[row][min(column, len(lines[row]) - 1)]
        elif kind == "one_stage":
            lines = [line for line in lines if len(line) > 1 and line[1] == "15"]
        elif kind == "few":
            lines = lines[: draw(st.integers(0, 9))]
        elif kind == "comma":
            lines = [[f.replace(".", ",") for f in line] for line in lines]
        elif kind == "empty":
            lines = []
    text = (newline or "\n").join((separator or ",").join(line) for line in [header, *lines])
    return ("\ufeff" if bom else "") + text


TOKENS_ONLY = declared_law(
    {
        "name": "tokens_only",
        "expression": "E + B*tokens**-beta",
        "parameters": {
            "E": {"low": 0, "high": 10},
            "B": {"low": 0, "high": 1000},
            "beta": {"low": 0.02, "high": 1.2},
        },
    },
    "tokens_only",
)
FUZZED = [TOKENS_ONLY] + [
    LAWS[name] for name in ("chinchilla", "dcpt", "gated_floor", "transfer_offset", "forgetting")
]


def through_every_entrance(path, law, arguments):
    """Read, fit, predict and refit; returns the fit, and checks that no number is silently NaN."""
    observations = read_observations(path, **arguments)
    numbers = {"n_params", "ptpp", "replay", "adapt_tokens", "atpp", "loss"}
    kept = [column for column in observations if column in numbers]
    assert np.isfinite(observations[kept].to_numpy(float)).all()
    rows = law_rows(observations, law, "target")
    fitted = fit(law, rows, FitSettings(starts=2, max_evaluations=60), source=str(path))
    assert all(math.isfinite(v) for v in fitted.record.params.values())
    assert math.isfinite(fitted.record.objective) and fitted.record.objective >= 0
    assert np.isfinite(fitted.value(rows)).all()
    assert fitted.how_far(rows) == {}
    thetas, _ = refits(fitted.problem, fitted.theta[None], fitted.problem.free)
    assert np.isfinite(thetas).all()
    return fitted, rows


@settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=corrupted(), law=st.sampled_from(FUZZED), partial=st.booleans())
def test_a_corrupted_table_is_refused_in_one_line_or_fitted_soundly(tmp_path, text, law, partial):
    path = tmp_path / "losses.csv"
    path.write_bytes(text.encode("utf-8"))
    arguments = {"needs": law.columns} if partial else {}
    try:
        fitted, rows = through_every_entrance(path, law, arguments)
    except InputError as error:
        assert "\n" not in str(error) and str(error)
        return
    if fitted.record.converged:
        assert_minimum(fitted, rows)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=corrupted(), law=st.sampled_from(["chinchilla", "dcpt", "gated_floor"]))
def test_the_command_line_fits_a_corrupted_table_or_refuses_it_in_one_line(tmp_path, text, law):
    table, out = tmp_path / "losses.csv", tmp_path / "fit.json"
    out.unlink(missing_ok=True)
    table.write_bytes(text.encode("utf-8"))
    complaint = io.StringIO()
    command = ["fit", table, "--law", law, "--out", out, "--starts", "2", "--bootstrap", "2"]
    with redirect_stderr(complaint), redirect_stdout(io.StringIO()):
        code = main([str(word) for word in command])
    assert code in (0, 2)
    assert out.exists() == (code == 0)
    if code == 2:
        assert complaint.getvalue().startswith("error: ")
        assert complaint.getvalue().count("\n") == 1


def assert_minimum(fitted, rows):
    """No small step of a parameter lowers the objective of a fit that is called converged."""
    law = fitted.law
    at = law.to_solver(fitted.record.params)
    loss = rows["loss"].to_numpy()

    def objective(theta):
        params = law.from_solver(theta)
        inside = {p.name: min(max(params[p.name], p.low), p.high) for p in law.parameters}
        changed = replace(fitted, record=replace(fitted.record, params=inside))
        predicted = np.maximum(changed.loss(rows), 1e-3 * loss)
        return huber(np.log(predicted / loss), fitted.record.settings["delta"]).sum()

    for j, name in enumerate(law.names):
        if name in fitted.record.fixed:
            continue
        for step in (-1e-4, 1e-4):
            theta = at.copy()
            theta[j] += step
            assert objective(theta) >= fitted.record.objective * (1 - 1e-6) - 1e-18


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=300))
def test_bytes_that_are_no_table_are_refused_in_one_line(tmp_path, data):
    path = tmp_path / "losses.csv"
    path.write_bytes(data)
    with pytest.raises(InputError) as raised:
        read_observations(path)
    assert "\n" not in str(raised.value)


@settings(max_examples=200)
@given(
    where=st.one_of(
        st.text(max_size=40),
        st.lists(
            st.sampled_from(
                ["x", "y", "z", " ", "<", "==", "and", "or", "not", "in", "(", ")", "[", "]", ",",
                 "'a'", "1", "-", "*", "/", "**", ".", "if", "else", "lambda", ":", "True"]
            ),
            max_size=12,
        ).map(" ".join),
    )
)  # fmt: skip
def test_no_where_brings_more_than_one_clear_line(where):
    frame = pd.DataFrame({"x": ["1", "2", ""], "y": ["a", "b", "c"], "z": [1.0, np.nan, 3.0]})
    try:
        mask = choose_rows(frame, where, Places("t", range(1, len(frame) + 1)))
    except InputError as error:
        assert "\n" not in str(error)
    else:
        assert mask.shape == (3,) and mask.dtype == bool


@settings(max_examples=25)
@given(
    noise=st.floats(0, 1.5),
    seed=st.integers(0, 10**6),
    law=st.sampled_from(["chinchilla", "dcpt", "gated_floor", "checkpoint_informed"]),
)
def test_a_fit_called_converged_is_a_minimum_on_any_losses(noise, seed, law):
    random = np.random.default_rng(seed)
    rows = GRID.assign(
        adapt_tokens=GRID["atpp"] * GRID["n_params"],
        base_loss=5 - 0.2 * np.log(GRID["ptpp"]),
        loss=GRID["loss"] * np.exp(noise * random.standard_normal(len(GRID))),
    )
    fitted = fit(law, rows, FitSettings(starts=4))
    if fitted.record.converged:
        assert_minimum(fitted, rows)
    assert np.isfinite(fitted.value(rows)).all()
