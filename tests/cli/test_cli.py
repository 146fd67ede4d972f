"""The command line: fit, predict, score, and one line for whatever is wrong."""

import json
import re

import numpy as np
import pytest
from commands import call as run
from laws_grid import HELD_OUT, observations

from ptpp.cli.main import main
from ptpp.laws import FittedLaw, early_to_late, fit, score
from ptpp.table.kinds import target_rows
from ptpp.table.observations import write_observations

TABLE = observations(noise=0.01)
CHINCHILLA = """
name: chinchilla_log
expression: exp(e) + exp(a)*n_params**-alpha + exp(b)*tokens**-beta
parameters:
  e: {low: -2, high: 3}
  a: {low: -5, high: 25}
  b: {low: -5, high: 25}
  alpha: {low: 0, high: 2}
  beta: {low: 0, high: 2}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a table, a fit of all its stages and of its early ones, kriged and alone."""
    folder = tmp_path_factory.mktemp("cli")
    write_observations(TABLE, folder / "table.csv")
    quick = ["--target", "fr", "--starts", "4", "--bootstrap", "20"]
    table = str(folder / "table.csv")
    assert main(["fit", table, "--law", "gated", "--out", str(folder / "all.json"), *quick]) == 0
    early = ["--law", "floor", "--out", str(folder / "early.json"), "--held-out", "279"]
    assert main(["fit", table, *early, *quick]) == 0
    alone = ["--law", "floor", "--out", str(folder / "alone.json"), "--held-out", "279"]
    assert main(["fit", table, *alone, "--no-krige", *quick]) == 0
    return folder


def test_fit_writes_the_same_fit_as_the_package_and_draws_beside_it(folder):
    record = FittedLaw.load(folder / "all.json").record
    rows = target_rows(TABLE, "fr")
    assert record.params == pytest.approx(fit("gated", rows).record.params, rel=1e-4)
    assert (record.protocol, record.domain, record.n_rows) == ("all_rows", "fr", len(rows))
    assert (folder / "all.npz").exists()


def test_a_held_out_stage_is_not_fitted_but_scored(folder, capsys):
    record = FittedLaw.load(folder / "early.json").record
    parts = early_to_late(target_rows(TABLE, "fr"), HELD_OUT)
    assert record.n_rows == len(parts.fit)
    code, out, _ = run(
        capsys, "score", folder / "early.json", folder / "table.csv",
        "--target", "fr", "--where", "ptpp > 100",
    )  # fmt: skip
    assert code == 0
    fitted = FittedLaw.load(folder / "early.json")
    law = fitted.score(parts.held_out)["mae_rel"]
    kriged = score(parts.held_out["loss"], fitted.forecast(parts.held_out)[0])["mae_rel"]
    line = next(line for line in out.splitlines() if "mae_rel" in line)
    assert line.startswith(f"  mae_rel = {kriged:.4g} (90%:")
    assert line.endswith(f"; the law alone {law:.4g}")
    assert f"{kriged:.4g}" != f"{law:.4g}"
    assert "coverage of 90% intervals" in out
    assert "noise floor" in out


def test_a_score_is_of_the_domain_of_the_fit_unless_another_is_asked_for(folder, capsys):
    arguments = ["score", folder / "early.json", folder / "table.csv", "--where", "ptpp > 100"]
    asked, alone, other = (
        run(capsys, *arguments, *more, "--json")
        for more in (["--target", "fr"], [], ["--target", "en"])
    )
    assert json.loads(alone[1]) == json.loads(asked[1])
    assert json.loads(other[1])["domain"] == "en"
    notes = json.loads(other[1])["notes"]
    assert notes == [f"{folder / 'early.json'}: a fit to fr, scored on en"]
    whole = json.loads(run(capsys, *arguments[:-2], "--json")[1])
    (note,) = whole["notes"]
    rows = target_rows(TABLE, "fr")
    early = len(early_to_late(rows, HELD_OUT).fit)
    assert f"{early} of {len(rows)} rows are of stages that it was fitted to" in note
    assert note.endswith("--where 'ptpp > 31' scores the others")


def test_predict_gives_the_loss_its_interval_and_what_is_extrapolated(folder, capsys):
    point = ["--n-params", "8.1e9", "--ptpp", "279", "--replay", "0.1", "--atpp", "5"]
    code, out, _ = run(capsys, "predict", folder / "all.json", *point)
    assert code == 0
    fitted = FittedLaw.load(folder / "all.json")
    row = {"n_params": 8.1e9, "ptpp": 279, "replay": 0.1, "atpp": 5, "adapt_tokens": 5 * 8.1e9}
    frame = {name: np.array([value]) for name, value in row.items()}
    (loss,), (law,) = fitted.forecast(frame)[0], fitted.loss(frame)
    assert f"loss: {loss:.6g} nats/token (the law alone: {law:.6g})" in out
    low, high = map(float, re.search(r"interval .*: (\S+) to (\S+) nats", out).groups())
    assert low < loss < high
    far = r"extrapolated: n_params \((\S+) times the largest fitted\), adapt_tokens \(.*\) outside"
    assert float(re.search(far, out)[1]) > 1


def test_a_forecast_that_two_stages_cannot_make_is_printed_as_a_band(folder, capsys):
    point = ["--n-params", "5e4", "--ptpp", "279", "--replay", "0.1", "--atpp", "5"]
    code, out, _ = run(capsys, "predict", folder / "alone.json", *point)
    assert code == 0
    first = out.splitlines()[0]
    low, high = map(float, re.match(r"loss: (\S+) to (\S+) nats/token, a band", first).groups())
    assert low < high
    assert "over kappa from 0.05 to 1.5" in first
    assert "anchors at the stage to be forecast, or four stages" in first
    # A kriged forecast has the prior of that parameter in its interval.
    code, out, _ = run(capsys, "predict", folder / "early.json", *point)
    assert code == 0 and "a band" not in out
    least, most = map(float, re.search(r"interval .*: (\S+) to (\S+) nats", out).groups())
    assert least < low < high < most


def test_a_declared_law_fits_a_foreign_table_of_n_d_and_loss(tmp_path, capsys):
    rows = target_rows(TABLE, "fr").query("replay == 0 and ptpp == 15")
    foreign = rows.rename(columns={"n_params": "N", "adapt_tokens": "D"})[["N", "D", "loss"]]
    foreign.to_csv(tmp_path / "foreign.csv", index=False)
    (tmp_path / "law.yaml").write_text(CHINCHILLA)
    names = ["--rename", "N=n_params", "--rename", "D=adapt_tokens"]
    arguments = ["fit", tmp_path / "foreign.csv", "--law", tmp_path / "law.yaml"]
    out = tmp_path / "fit.json"
    code, text, err = run(capsys, *arguments, "--out", out, *names, "--bootstrap", "5")
    assert code == 0, err
    assert "chinchilla_log on 15 rows" in text
    # The fit carries its law: neither predicting nor scoring needs the file again.
    (tmp_path / "law.yaml").unlink()
    code, text, _ = run(capsys, "predict", out, "--n-params", "5e4", "--adapt-tokens", "2e5")
    assert code == 0
    assert 0.5 < float(text.split()[1]) < 10
    code, text, _ = run(capsys, "score", out, tmp_path / "foreign.csv", *names)
    assert code == 0
    assert "mae_rel" in text


POINT = ("--n-params", "1e5", "--ptpp", "15", "--replay", "0.1", "--atpp", "5")
WRONG = [
    (["fit", "{table}", "--law", "gatd", "--out", "{out}"], "'gatd' is not known"),
    (["fit", "{table}", "--law", "gated", "--out", "{out}"], "3 domains (ar, en, fr); choose the"),
    (["fit", "{table}", "--law", "gated", "--out", "{out}", "--target", "de"], "'de'"),
    (["fit", "none.csv", "--law", "gated", "--out", "{out}"], "none.csv: no such file"),
    (["fit", "{table}", "--law", "no.yaml", "--out", "{out}"], "no.yaml"),
    (["fit", "{table}", "--out", "{out}"], "Missing option '--law'"),
    (["fit"], "missing: 'TABLE', '--law', '--out'; see ptpp fit --help"),
    (["fit", "{table}", "--law", "gated", "--out", "{out}", "--target", "fr", "--where", "ptpp <"],
     "where"),
    (["fit", "{table}", "--law", "gated", "--out", "{out}", "--rename", "N"], "THEIRS=OURS"),
    (["fit", "{table}", "--law", "gated", "--out", "{out}", "--target", "fr", "--held-out", "99"],
     "no rows to score with held-out stage 99"),
    (["fit", "{table}", "--law", "gated", "--out", "{out}", "--target", "fr", "--where",
      "ptpp == 15"], "all rows are of PTPP 15"),
    (["fit", "{table}", "--law", "gated", "--out", "{out}", "--bootstrap", "0"], "the range"),
    (["predict", "{fit}", *POINT[:4], "--replay", "10", "--atpp", "5"], "0 to 1, not percent"),
    (["predict", "{fit}", *POINT[:4], "--atpp", "5"], "predict: law gated needs replay"),
    (["predict", "{fit}", *POINT[:4], "--replay", "1", "--atpp", "5"], "share is 0"),
    (["predict", "{fit}", *POINT, "--adapt-tokens", "5"], "not allowed with"),
    (["predict", "{fit}", "--n-params", "nan", *POINT[2:]], "accepted is a finite number"),
    (["predict", "{table}", *POINT], "not valid JSON"),
    (["score", "{fit}", "none.csv"], "none.csv: no such file"),
    ([], "Missing command"),
    (["guess"], "No such command 'guess'"),
]  # fmt: skip


@pytest.mark.parametrize("arguments,message", WRONG)
def test_bad_input_is_one_line_exit_code_2_and_nothing_written(
    folder, tmp_path, capsys, arguments, message
):
    places = {"table": folder / "table.csv", "fit": folder / "all.json", "out": tmp_path / "x.json"}
    code, out, err = run(capsys, *[a.format(**places) for a in arguments])
    assert code == 2
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert message in err
    assert not list(tmp_path.iterdir())


def test_without_draws_beside_it_a_fit_predicts_a_number_alone(folder, tmp_path, capsys):
    (tmp_path / "fit.json").write_bytes((folder / "all.json").read_bytes())
    code, out, _ = run(capsys, "predict", tmp_path / "fit.json", *POINT)
    assert code == 0
    assert "interval" not in out
