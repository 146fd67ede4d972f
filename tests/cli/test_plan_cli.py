"""`python -m ptpp plan`: from a table of losses to a plan in one call."""

import io
import re
from contextlib import redirect_stderr, redirect_stdout

import numpy as np
import pandas as pd
import pytest
from commands import call
from hypothesis import given, settings
from hypothesis import strategies as st
from laws_grid import observations

from ptpp.cli.main import main
from ptpp.table.observations import write_observations

N = "87360"
QUICK = ["--starts", "4", "--bootstrap", "20", "--no-krige"]  # test_docs runs kriged plans


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("plan") / "table.csv"
    write_observations(observations(noise=0.01), path)
    return path


def run(capsys, table, *arguments):
    """Exit code, printed text and error text of one `plan`."""
    return call(capsys, "plan", table, *arguments)


def test_plans_are_printed_and_written(table, capsys, tmp_path):
    out = tmp_path / "plan.csv"
    code, text, err = run(
        capsys, table, "--target", "fr", "--n-params", "200k", "--ptpp", 279, "--limit", "en=1",
        "--limit", "ar=1", "--law", "dcpt", "--law", "floor", "--out", out, *QUICK,
    )  # fmt: skip
    assert code == 0, err
    assert "dcpt (all_rows) for 200,000 parameters at PTPP 279, fitted to 180 rows of fr" in text
    assert text.count("point plan") == text.count("robust plan, 90% of draws") == 2
    assert re.search(r"extrapolated: adapt_tokens, n_params.* outside the fitted rows' range", text)
    plans = pd.read_csv(out)
    assert plans[["law", "kind"]].to_numpy().tolist() == [
        ["dcpt", "point"], ["dcpt", "robust"], ["floor", "point"], ["floor", "robust"]
    ]  # fmt: skip
    assert plans.met.between(0, 1).all()
    assert plans.extrapolated.str.contains("n_params").all()


def test_a_held_out_stage_is_left_out_and_anchors_are_let_in(table, capsys):
    small = ["--target", "fr", "--n-params", N, "--ptpp", 279, "--law", "dcpt", *QUICK]
    code, text, _ = run(capsys, table, *small, "--held-out", 279)
    assert code == 0 and "dcpt (early_to_late)" in text and "120 rows" in text
    code, text, _ = run(capsys, table, *small, "--held-out", 279, "--anchors", 5)
    assert code == 0 and "dcpt (with_anchors)" in text and "125 rows" in text


def test_an_infeasible_plan_says_what_would_help(table, capsys):
    code, text, _ = run(
        capsys, table, "--target", "fr", "--n-params", N, "--ptpp", 279, "--target-loss", 2.5,
        "--limit", "en=0.3", "--law", "dcpt", *QUICK,
    )  # fmt: skip
    assert code == 0
    assert "INFEASIBLE by" in text
    assert "what would make it feasible, each limit alone:" in text
    needed = float(re.search(r"target_loss: (\S+) nats instead of 2.5", text).group(1))
    assert needed > 2.5


def test_other_goals(table, capsys, tmp_path):
    common = ["--target", "fr", "--n-params", N, "--ptpp", 279, "--law", "dcpt", *QUICK]
    code, text, _ = run(
        capsys, table, *common, "--goal", "least_loss", "--limit", "en=1", "--max-flops", "3e11"
    )
    assert code == 0
    atpp = float(re.search(r"point plan: replay \S+, ATPP (\S+)", text).group(1))
    assert atpp <= 3e11 / (6 * float(N) ** 2) * 1.001
    code, text, _ = run(
        capsys, table, *common, "--goal", "pareto", "--limit", "en=1", "--out", tmp_path / "f.csv"
    )
    assert code == 0 and "worst_forgetting" in text
    front = pd.read_csv(tmp_path / "f.csv")
    assert np.isfinite(front[["flops", "target_loss", "worst_forgetting"]]).all().all()


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.3, 1.0))
def test_a_table_with_holes_plans_or_says_what_is_missing(tmp_path_factory, seed, share):
    path = tmp_path_factory.mktemp("holes") / "table.csv"
    whole = observations(noise=0.01)
    write_observations(whole.sample(frac=share, random_state=seed), path)
    errors, text = io.StringIO(), io.StringIO()
    with redirect_stderr(errors), redirect_stdout(text):
        code = main(
            ["plan", str(path), "--target", "fr", "--n-params", N, "--ptpp", "279", "--limit",
             "en=1", "--law", "floor", "--break-even", "--next", "2", *QUICK]
        )  # fmt: skip
    if code == 0:
        assert "point plan" in text.getvalue() and errors.getvalue() == ""
    else:
        assert errors.getvalue().startswith("error: ") and errors.getvalue().count("\n") == 1


NEEDED = ["--n-params", N, "--ptpp", "279"]
WRONG = [
    ([*NEEDED], "3 domains (ar, en, fr); choose the target by --target"),
    ([*NEEDED, "--target", "de"], "no row of the target domain 'de'"),
    ([*NEEDED, "--target", "fr", "--limit", "de=1"], "no adapted rows (atpp > 0) of the base"),
    ([*NEEDED, "--target", "fr", "--limit", "fr=1"], "fr is the target; its loss is limited by"),
    ([*NEEDED, "--target", "fr", "--limit", "en"], "accepted is DOMAIN=NATS, such as en=0.5"),
    ([*NEEDED, "--target", "fr", "--limit", "en=x"], "accepted is a finite number"),
    ([*NEEDED, "--target", "fr", "--law", "none"], "law: 'none' is not known"),
    ([*NEEDED, "--target", "fr", "--held-out", "62"], "the held-out stage 62 has no sweep rows"),
    ([*NEEDED, "--target", "fr", "--max-flops", "1"], "max_atpp and max_flops allow"),
    ([*NEEDED, "--target", "fr", "--target-loss", "3", "--target-within", "1"], "not allowed with"),
    ([*NEEDED, "--target", "fr", "--goal", "fastest"], "'fastest' is not one of"),
    (["--ptpp", "279"], "Missing option '--n-params'"),
]


@pytest.mark.parametrize("arguments,message", WRONG)
def test_bad_input_is_one_line_and_nothing_is_written(table, tmp_path, capsys, arguments, message):
    code, out, err = run(capsys, table, *arguments, "--out", tmp_path / "x.csv", *QUICK)
    assert code == 2 and out == ""
    assert err.startswith("error: ") and err.count("\n") == 1
    assert message in err
    assert not list(tmp_path.iterdir())
