"""Laws declared in YAML: first-class laws, exact slopes, one clear line for every slip."""

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from laws_grid import REFERENCE, TARGET_PARAMS, observations, target_truth

import ptpp
from ptpp.errors import InputError
from ptpp.laws import FitSettings, FittedLaw, declared_law, find_law, fit, get_law, load_law
from ptpp.laws.declared import FUNCTIONS, INPUT_NAMES
from ptpp.planning import LawPlanner, PlanRequest
from ptpp.planning.search import Mesh
from ptpp.report.planner import javascript
from ptpp.table.kinds import target_rows
from ptpp.table.observations import read_observations, write_observations

TABLES = Path(__file__).parents[3] / "shared" / "tables"
published = pytest.mark.skipif(not TABLES.is_dir(), reason="the published tables are not here")

CHINCHILLA = {
    "name": "mine",
    "expression": "exp(e) + exp(a)*n_params**-alpha + exp(b)*tokens**-beta",
    "parameters": {
        "e": {"low": -5, "high": 3},
        "a": {"low": 0, "high": 40},
        "b": {"low": 0, "high": 40},
        "alpha": {"low": 0.02, "high": 1.5},
        "beta": {"low": 0.02, "high": 1.5},
    },
}
GATED = {
    "name": "my_gate",
    "expression": "E + A*n^-alpha + B*d^-beta*p^delta",
    "parameters": {
        "E": {"low": 0, "high": 10},
        "A": {"low": 1e-6, "high": 100, "scale": "log", "unit": "nats", "meaning": "size"},
        "alpha": {"low": 0.02, "high": 1.2},
        "B": {"low": 1e-6, "high": 100, "scale": "log"},
        "beta": {"low": 0.02, "high": 1.2},
        "delta": {"low": -0.6, "high": 0.6},
    },
}


@published
@pytest.mark.parametrize(
    ("table", "published"),
    [
        ("gemstones_hot", (0.0019816129, 0.2928687, 0.7128722, 5.3613, 15.4160, 0.762264)),
        ("gemstones_cool_end", (0.0019640865, 0.3002728, 0.5802411, 5.4197, 12.5139, 0.729786)),
    ],
)
def test_a_declared_chinchilla_law_meets_published_fits(root, table, published):
    law = load_law(root / "resources" / "laws" / "chinchilla.yaml")
    rename = {"N": "n_params", "D": "adapt_tokens"}
    rows = read_observations(TABLES / f"{table}.csv", rename=rename, needs=law.columns)
    assert not {"ptpp", "replay"} & set(rows.columns)
    fitted = fit(law, rows)
    objective, alpha, beta, a, b, e = published
    assert fitted.record.objective <= objective * (1 + 1e-6)
    assert fitted.record.params["alpha"] == pytest.approx(alpha, abs=2e-4)
    assert fitted.record.params["beta"] == pytest.approx(beta, abs=2e-4)
    assert fitted.record.params["a"] == pytest.approx(a, abs=3e-3)
    assert fitted.record.params["b"] == pytest.approx(b, abs=6e-3)
    assert fitted.record.params["e"] == pytest.approx(e, abs=2e-4)
    assert fitted.record.converged and fitted.record.share_1e6 == 1


def rows_of(law="gated", noise=0.0):
    rows = target_rows(observations(law, noise), "fr")
    return rows[rows["replay"] == 0].reset_index(drop=True)


def test_a_declared_law_is_fitted_filed_and_read_again_without_its_yaml(tmp_path):
    path = tmp_path / "my_gate.yaml"
    path.write_text(yaml.safe_dump(GATED))
    rows = rows_of()
    fitted = fit(str(path), rows, FitSettings(starts=8))
    assert fitted.record.law == "my_gate" and fitted.record.converged
    assert fitted.record.params["beta"] == pytest.approx(TARGET_PARAMS["beta"], rel=1e-3)
    assert fitted.record.params["delta"] == pytest.approx(TARGET_PARAMS["delta"], rel=1e-3)
    fitted.save(tmp_path / "fit.json")
    path.unlink()
    again = replace(FittedLaw.load(tmp_path / "fit.json"), rows=rows)
    assert again == fitted
    np.testing.assert_array_equal(again.value(rows), fitted.value(rows))
    np.testing.assert_allclose(again.value(rows), rows["loss"], rtol=1e-5)
    objective = again.problem.objective(again.theta)
    np.testing.assert_allclose(objective, fitted.record.objective, atol=1e-15)


def test_a_declared_law_plans():
    fitted = fit(declared_law(GATED, "law"), rows_of(), FitSettings(starts=4))
    request = PlanRequest(
        n_params=5e4, ptpp=279, forgetting_limits={}, max_atpp=16, target_loss=4.0
    )
    plan = LawPlanner(request, fitted, {}, mesh=Mesh(20)).plan()
    assert plan.feasible and plan.target_loss <= 4.0 + 1e-6


def test_a_plan_refuses_a_law_whose_loss_rises_with_tokens():
    rising = {
        "name": "rising",
        "expression": "E + B*d**beta + 0*n*p",
        "parameters": {"E": {"low": 0, "high": 10}, "B": {"low": 0, "high": 9},
                       "beta": {"low": 0.1, "high": 1}},
    }  # fmt: skip
    rows = rows_of()
    rows = rows.assign(loss=3 + 0.1 * rows["adapt_tokens"] ** 0.2)
    fitted = fit(declared_law(rising, "law"), rows, FitSettings(starts=4))
    request = PlanRequest(
        n_params=5e4, ptpp=279, forgetting_limits={}, max_atpp=16, target_loss=4.0
    )
    with pytest.raises(InputError, match="by the law rising the target loss rises"):
        LawPlanner(request, fitted, {}).plan()


def test_a_declared_law_equals_the_coded_one():
    same = {
        "name": "same",
        "expression": "E + A*n**-alpha + B*s**eta*d**-beta*p**delta",
        "parameters": {
            **GATED["parameters"],
            "eta": {"low": -1, "high": 2},
        },
    }
    law, coded = declared_law(same, "law"), get_law("gated")
    rows = target_rows(observations(), "fr")
    inputs = {n: rows[n].to_numpy() for n in ("n_params", "ptpp", "adapt_tokens")}
    inputs["share"] = 1 - rows["replay"].to_numpy()
    params = {**TARGET_PARAMS, "S": 1e-300}
    mine = law.predict(law.to_solver(params), inputs, REFERENCE)
    theirs = coded.predict(coded.to_solver(params), inputs, REFERENCE)
    np.testing.assert_allclose(mine, theirs, rtol=1e-12)
    j, k = law.names.index("delta"), coded.names.index("delta")
    np.testing.assert_allclose(
        law.jacobian(law.to_solver(params), inputs, REFERENCE)[:, j],
        coded.jacobian(coded.to_solver(params), inputs, REFERENCE)[:, k],
        rtol=1e-12,
    )
    assert target_truth("gated").law == "gated"


WIDE = {
    "name": "wide",
    "expression": "E + B*d^-beta + C*width + where(ptpp < 100, G, 0)",
    "inputs": ["d", "width", "ptpp"],
    "parameters": {
        "E": {"low": 0, "high": 10},
        "B": {"low": 0.001, "high": 10, "scale": "log"},
        "beta": {"low": 0.02, "high": 1.2},
        "C": {"low": -5, "high": 5},
        "G": {"low": -5, "high": 5},
    },
}


def wide_table():
    """Rows with columns of the table's own: a width that may be negative, and a note."""
    table = observations("gated").query("domain == 'fr'")
    width = np.log(table["n_params"] / 4e4)
    loss = 2 + (table["adapt_tokens"] / 1e5) ** -0.3 - 0.2 * width + 0.1 * (table["ptpp"] < 100)
    return table.assign(width=width, note="x", loss=loss)


@pytest.mark.parametrize("stated", [True, False])
def test_a_declared_law_reads_columns_of_the_table_s_own(tmp_path, stated):
    declaration = {key: WIDE[key] for key in WIDE if stated or key != "inputs"}
    law = declared_law(declaration, "law")
    assert law.columns == ("adapt_tokens", "width", "ptpp")
    path = tmp_path / "x.csv"
    wide_table().to_csv(path, index=False)
    table = read_observations(path, target="fr")
    assert "width" in table and "note" not in table
    one = ptpp.fit(table, law, target="fr", starts=4, draws=3)
    params = one.fitted.record.params
    assert params["C"] == pytest.approx(-0.2, rel=1e-4)
    assert params["G"] == pytest.approx(0.1, rel=1e-4)
    point = {"n_params": 1e5, "adapt_tokens": 2e5, "width": -0.5}
    predicted = one.predict(**point, ptpp=[50, 200])["loss"]
    assert predicted[0] - predicted[1] == pytest.approx(0.1, rel=1e-3)
    with pytest.raises(InputError, match="predict: law wide needs width"):
        one.predict(n_params=1e5, adapt_tokens=2e5, ptpp=50)
    one.save(tmp_path / "fit.json")
    assert FittedLaw.load(tmp_path / "fit.json").law.inputs == law.inputs
    # Read for the law alone, and written and read again, the column stays.
    assert "width" in read_observations(path, needs=law.columns)
    write_observations(table, path)
    np.testing.assert_array_equal(
        np.sort(read_observations(path)["width"]), np.sort(table["width"])
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns="width"), "no column 'width'"),
        (lambda t: t.assign(width="wide"), "row 2, column width: 'wide' is not a number"),
        (lambda t: t.assign(width=""), "row 2, column width: an empty field; accepted is a finite"),
    ],
)
def test_a_column_that_the_law_needs_is_missed_in_one_line(tmp_path, change, message):
    path = tmp_path / "x.csv"
    change(wide_table()).to_csv(path, index=False)
    with pytest.raises(InputError) as raised:
        read_observations(path, needs=declared_law(WIDE, "law").columns)
    assert str(raised.value).startswith(f"{path}: {message}") and "\n" not in str(raised.value)
    with pytest.raises(InputError, match=r"law wide: (the table has no )?column 'width'"):
        fit(declared_law(WIDE, "law"), wide_table().assign(width="wide"))


def test_a_law_of_own_columns_is_not_planned_with_and_says_so():
    rows = target_rows(wide_table(), "fr")
    fitted = fit(declared_law(WIDE, "law"), rows, FitSettings(starts=2))
    request = PlanRequest(n_params=5e4, ptpp=279, forgetting_limits={}, max_atpp=16, target_loss=4)
    with pytest.raises(InputError, match="law wide: the table has no column 'width'"):
        LawPlanner(request, fitted, {}).plan()
    with pytest.raises(InputError, match="law wide: it reads width, which the page cannot ask for"):
        javascript(fitted.law)


PIECES = "E + min(B*d^-beta, C) + max(0.3, s) + where(p >= 1, G*log(p), 0)"


def pieces():
    bounds = {name: {"low": 0.1, "high": 5} for name in ("E", "B", "beta", "C", "G")}
    return declared_law({"name": "pieces", "expression": PIECES, "parameters": bounds}, "law")


def test_minimum_maximum_and_cases_are_what_they_say():
    law = pieces()
    inputs = {
        "adapt_tokens": np.array([1.0, 16.0, 4.0]),
        "share": np.array([0.1, 0.9, 0.3]),
        "ptpp": np.array([0.5, 2.0, 1.0]),
    }
    reference = dict.fromkeys(inputs, 1.0)
    theta = np.array([1.0, 2.0, 0.5, 1.5, 0.7])
    expected = 1 + np.array([1.5, 0.5, 1.0]) + np.array([0.3, 0.9, 0.3])
    expected[1] += 0.7 * np.log(2)
    np.testing.assert_allclose(law.predict(theta, inputs, reference), expected)
    jacobian = law.jacobian(theta, inputs, reference)
    for j in range(len(theta)):
        step = theta.astype(complex)
        step[j] += 1e-30j
        expected = law.predict(step, inputs, reference).imag / 1e-30
        np.testing.assert_allclose(jacobian[:, j], expected, rtol=1e-12, atol=1e-15)
    # In batches of parameters as alone.
    both = law.jacobian(np.array([theta, 2 * theta]), inputs, reference)
    np.testing.assert_array_equal(both[0], jacobian)


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_the_page_s_formula_has_them_too():
    law, params = pieces(), [1.0, 2.0, 0.5, 1.5, 0.7]
    reference = {"adapt_tokens": 1e5, "share": 0.8, "ptpp": 20.0}
    points = [(0.0, 1.0, 15.0), (0.9, 8.0, 30.0), (0.5, 0.01, 20.0)]
    script = f"const f = {javascript(law)};\nconsole.log(JSON.stringify({json.dumps(points)}.map("
    script += f"([r, a, P]) => f({params}, {json.dumps(reference)}, {{n_params: 5e4, ptpp: P}})"
    script += "(r, a))))"
    out = subprocess.run(["node", "-e", script], capture_output=True, text=True, check=True).stdout
    replay, atpp, ptpps = np.array(points).T
    inputs = {"adapt_tokens": 5e4 * atpp, "share": 1 - replay, "ptpp": ptpps}
    expected = law.predict(np.array(params), inputs, reference)
    np.testing.assert_allclose(json.loads(out), expected, rtol=1e-12)


def test_a_declared_law_holds_what_rows_of_one_kind_cannot_tell():
    rows = rows_of().query("size == 'xs'").reset_index(drop=True)
    fitted = fit(declared_law(GATED, "law"), rows, FitSettings(starts=4))
    assert fitted.record.fixed == ("alpha",)
    (warning,) = fitted.record.warnings
    assert warning == "n_params does not vary: alpha has no effect and is held"
    assert np.abs(fitted.value(rows) / rows["loss"] - 1).max() < 1e-3


@st.composite
def expressions(draw, depth=3):
    """Random expressions of three parameters and two inputs, positive wherever they are."""
    if depth == 0:
        return draw(st.sampled_from(["u", "v", "w", "n", "d", "2", "0.5"]))
    left, right = draw(expressions(depth=depth - 1)), draw(expressions(depth=depth - 1))
    kinds = ["+", "*", "/", "**", "exp", "log", "sqrt", "-", "min", "max", "where"]
    kind = draw(st.sampled_from(kinds))
    if kind in ("min", "max"):
        return f"{kind}({left}, 1.0123457*({right}))"  # at a tie there is no derivative
    if kind == "where":
        sign = draw(st.sampled_from(["<", "<=", ">", ">="]))
        return f"where({left} {sign} 1.0123457, {left}, {right})"
    if kind == "exp":
        return f"exp(-({left}))"
    if kind == "log":
        return f"log(1 + ({left}))"
    if kind == "sqrt":
        return f"sqrt({left})"
    if kind == "**":
        return f"(1 + {left})**-(0.3*({right})/(1 + {right}))"
    if kind == "-":
        return f"(({left}) + 2 - 1/(1 + ({right})))"
    return f"(({left}) {kind} ({right}))"


@settings(max_examples=60)
@given(text=expressions(), theta=st.lists(st.floats(0.3, 1.5), min_size=3, max_size=3))
def test_the_derived_jacobian_is_the_derivative(text, theta):
    bounds = {"low": 0.1, "high": 2}
    declaration = {
        "name": "x",
        "expression": f"{text} + u + v + w + 0*n*d",
        "parameters": {"u": bounds, "v": bounds, "w": {**bounds, "scale": "log"}},
    }
    law = declared_law(declaration, "law")
    inputs = {"n_params": np.array([0.5, 2.0]), "adapt_tokens": np.array([3.0, 0.7])}
    reference = {"n_params": 1.0, "adapt_tokens": 1.0}
    theta = np.array(theta)
    jacobian = law.jacobian(theta, inputs, reference)
    assert np.isfinite(jacobian).all()
    for j in range(3):
        step = theta.astype(complex)
        step[j] += 1e-30j
        expected = law.predict(step, inputs, reference).imag / 1e-30
        np.testing.assert_allclose(jacobian[:, j], expected, rtol=1e-9, atol=1e-12)


def test_amplitudes_are_recognised_so_that_starts_can_be_solved_for():
    def amplitudes(expression, names):
        bounds = {name: {"low": 0.1, "high": 2} for name in names}
        law = declared_law({"name": "x", "expression": expression, "parameters": bounds}, "law")
        return {p.name: p.amplitude for p in law.parameters}

    assert amplitudes(CHINCHILLA["expression"], ["e", "a", "b", "alpha", "beta"]) == {
        "e": "exp", "a": "exp", "b": "exp", "alpha": "", "beta": "",
    }  # fmt: skip
    assert amplitudes("E - A*n**-k/d", ["E", "A", "k"]) == {"E": "linear", "A": "linear", "k": ""}
    assert amplitudes("E*n + E*d + F", ["E", "F"]) == {"E": "linear", "F": "linear"}
    assert amplitudes("E*n + E*F*d", ["E", "F"])["F"] != amplitudes("E*n + E*F*d", ["E", "F"])["E"]
    assert amplitudes("E + n**E", ["E"]) == {"E": ""}


def change(**changes):
    return {**CHINCHILLA, **changes}


def bounds(**changes):
    return change(parameters={**CHINCHILLA["parameters"], **changes})


@pytest.mark.parametrize(
    ("declaration", "message"),
    [
        ([1], "not a mapping; accepted are the keys name, expression, parameters"),
        ({"name": "x"}, "no key 'expression'"),
        (change(expresion="1"), "key 'expresion' is not known; did you mean 'expression'?"),
        (change(name="../x"), "name: '../x'; accepted are letters, digits"),
        (change(name=3), "name: 3; accepted is a text"),
        (change(expression=" "), "expression: ' '; accepted is a text"),
        (change(expression="exp(e) +"), "expression: 'exp(e) +' is not a valid expression"),
        (change(expression="exp(e) + alpa*n"), "expression: 'alpa' is not known; did you mean 'al"),
        (change(expression="exp(e) + _x*n"), "expression: '_x' is not known; known are"),
        (change(expression="min(e)*n"), "'min(e)' is not allowed; accepted are numbers"),
        (change(expression="where(e, a, b)*n"), "'e' is no condition; accepted is one of < <= >"),
        (change(expression="where(e < a < b, a, b)*n"), "'e < a < b' is no condition; accepted"),
        (change(expression="where(e == a, a, b)*n"), "'e == a' is no condition; accepted is one"),
        (change(expression="where(e < 'a', a, b)*n"), "\"'a'\" is not allowed; accepted are"),
        (change(expression="(e < a)*n"), "'e < a' is not allowed; accepted are numbers"),
        (change(expression="where(a < b, e < a, b)*n"), "'e < a' is not allowed; accepted are"),
        (change(expression="exp(e)*n_param"), "'n_param' is not known; did you mean 'n_params'?"),
        (change(expression="tanh(e)*n"), "expression: function 'tanh' is not known; known are exp"),
        (change(expression="exp(e, a)*n"), "'exp(e, a)' is not allowed; accepted are numbers"),
        (change(expression="__import__('os')"), "function '__import__' is not known"),
        (change(expression="e.real + n"), "'e.real' is not allowed; accepted are numbers"),
        (change(expression="[e for e in n]"), "is not allowed; accepted are numbers"),
        (change(expression="(lambda: n)()"), "is not allowed; accepted are numbers"),
        (change(expression="e if n else a"), "is not allowed; accepted are numbers"),
        (change(expression="n + 'a'"), "is not allowed; accepted are numbers"),
        (change(expression="n + 1j*e"), "is not allowed; accepted are numbers"),
        (change(expression="n + 1e999*e"), "a number is not finite"),
        (change(expression="n // e"), "is not allowed; accepted are numbers"),
        (change(expression="n" + "+n" * 900), "the expression is too long"),
        (change(expression="n" + "+ n" * 900), "characters; accepted are at most 2000"),
        (change(expression="exp(e)*n"), "parameter 'a' does not occur in the expression"),
        (change(expression="e+a+b+alpha+beta"), "expression: no input occurs in it; inputs are"),
        (change(parameters={}), "parameters: none are given"),
        (change(parameters=["e"]), "parameters: none are given"),
        (bounds(e={"low": 0}), "parameter 'e': no bound 'high'; accepted is a finite number"),
        (bounds(e={}), "parameter 'e': no bound 'low'; accepted is a finite number"),
        (bounds(e=None), "parameter 'e': not a mapping; accepted are the keys low, high, scale"),
        (bounds(e={"low": 0, "high": float("inf")}), "parameter 'e': high is inf; accepted is"),
        (bounds(e={"low": float("nan"), "high": 1}), "parameter 'e': low is nan; accepted is"),
        (bounds(e={"low": True, "high": 1}), "parameter 'e': True bound 'low'; accepted is a fin"),
        (bounds(e={"low": 1, "high": 1}), "parameter 'e': low 1 is not below high 1"),
        (bounds(e={"low": 0, "high": 1, "scale": "log"}), "on a log scale accepted are bounds ab"),
        (bounds(e={"low": 0, "high": 1, "scale": "ln"}), "parameter 'e': scale is 'ln'; accepted"),
        (bounds(e={"lo": 0, "high": 1}), "parameter 'e': key 'lo' is not known; did you mean 'l"),
        (bounds(n={"low": 0, "high": 1}), "parameter 'n': the name is taken by an input or a fun"),
        (bounds(**{"x y": {"low": 0, "high": 1}}), "parameter 'x y': accepted are names of lett"),
        (change(inputs=["n_params"]), "inputs: n_params are stated, but the expression uses n_pa"),
        (change(inputs=["no name"]), "inputs: 'no name'; accepted are columns, named by letters"),
        (change(inputs=["alpha"]), "inputs: 'alpha' is a parameter; choose another name"),
        (change(inputs="n_params"), "inputs: 'n_params'; accepted is a list of names"),
    ],
)
def test_a_wrong_declaration_is_refused_in_one_line(declaration, message):
    with pytest.raises(InputError) as raised:
        declared_law(declaration, "law.yaml")
    assert message in str(raised.value)
    assert str(raised.value).startswith("law.yaml: ") and "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: [", "not valid YAML (line "),
        ("", "not a mapping"),
        ("name: !!python/object/apply:os.system ['true']", "not valid YAML (line 1)"),
        ("\x00", "not valid YAML"),
    ],
)
def test_a_file_that_holds_no_declaration_is_refused(tmp_path, text, message):
    path = tmp_path / "law.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as raised:
        find_law(str(path))
    assert str(raised.value).startswith(f"{path}: ") and message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.yaml: No such file"):
        load_law(tmp_path / "none.yaml")


def test_a_law_that_is_not_finite_on_the_data_says_so():
    declaration = change(expression="log(e - 10)*n_params**-alpha + a + b + tokens**-beta")
    rows = pd.DataFrame({"n_params": [1e3, 2e3, 3e3] * 3, "adapt_tokens": np.arange(1, 10) * 1e4})
    rows["loss"] = 3 + 1e3 / rows["adapt_tokens"]
    with pytest.raises(InputError, match="law mine: not finite on the data, from any start"):
        fit(declared_law(declaration, "law.yaml"), rows)
    zero = rows.assign(adapt_tokens=rows["adapt_tokens"].where(rows.index > 0, 0))
    with pytest.raises(InputError, match=r"not finite on the data, .*row 1: .*adapt_tokens = 0"):
        fit(declared_law(CHINCHILLA, "law.yaml"), zero)


@settings(max_examples=120)
@given(
    text=st.one_of(
        st.text(max_size=60),
        st.lists(
            st.sampled_from(
                [*INPUT_NAMES, *FUNCTIONS, *CHINCHILLA["parameters"], "(", ")", "*", "**", "+",
                 "-", "/", "^", "1", "0.5", ",", ".", "[", "]", "=", "if", "lambda", ":", "'", " "]
            ),
            max_size=20,
        ).map("".join),
    )
)  # fmt: skip
def test_no_text_brings_more_than_one_clear_line(text):
    try:
        law = declared_law(change(expression=text), "law.yaml")
    except InputError as error:
        assert "\n" not in str(error)
    else:
        assert law.inputs and law.names == tuple(CHINCHILLA["parameters"])


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.floats(), st.integers(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=5,
)


@settings(max_examples=80)
@given(key=st.sampled_from(["name", "expression", "parameters", "inputs", "title", "e"]),
       value=json_values)  # fmt: skip
def test_no_value_brings_more_than_one_clear_line(key, value):
    declaration = bounds(e=value) if key == "e" else change(**{key: value})
    try:
        declared_law(declaration, "law.yaml")
    except InputError as error:
        assert "\n" not in str(error)
