"""The command `ptpp` as a program: version, JSON, completion, pipes, signals, what it imports."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from commands import call
from conftest import ROOT
from laws_grid import HELD_OUT, observations

import ptpp
from ptpp.cli.main import main
from ptpp.table.noise import noise_floor
from ptpp.table.observations import write_observations

QUICK = ["--starts", "4", "--bootstrap", "5"]
PLAN_QUICK = [*QUICK, "--no-krige"]  # tests/workflow/test_docs.py runs kriged plans
TABLE = observations(noise=0.01)
SHIPPED = ROOT / "resources" / "observations" / "laptop-real.csv"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a table, the same under other names and units, and a fit."""
    folder = tmp_path_factory.mktemp("command")
    write_observations(TABLE, folder / "table.csv")
    foreign = TABLE.rename(columns={"n_params": "N", "loss": "val_loss", "domain": "set"})
    foreign["cpt_k"], foreign["share"] = foreign["adapt_tokens"] / 1e3, 1 - foreign["replay"]
    foreign.drop(columns=["run", "atpp", "adapt_tokens", "replay"]).to_csv(
        folder / "foreign.csv", index=False
    )
    arguments = ["--law", "gated", "--target", "fr", "--held-out", "279", *QUICK]
    assert (
        main(["fit", str(folder / "table.csv"), "--out", str(folder / "f.json"), *arguments]) == 0
    )
    return folder


RENAME = [
    *("--rename", "set=domain", "--rename", "cpt_k=adapt_tokens*1e3"),
    *("--rename", "replay=1 - share"),
]


def run(capsys, *arguments):
    code, out, err = call(capsys, *arguments)
    assert code == 0, err
    return out


def run_json(capsys, *arguments):
    out = run(capsys, *arguments, "--json")
    assert out.count("\n") == 1
    return json.loads(out, parse_constant=lambda text: pytest.fail(f"{text} is no JSON"))


def test_both_ways_to_start_it_say_the_version(capsys):
    assert run(capsys, "--version") == f"ptpp {ptpp.__version__}\n"
    done = subprocess.run(
        [sys.executable, "-m", "ptpp", "--version"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout == f"ptpp {ptpp.__version__}\n"


def test_a_fit_as_json(folder, capsys, tmp_path):
    answer = run_json(
        capsys, "fit", folder / "table.csv", "--law", "gated", "--target", "fr", "--held-out", 279,
        "--out", tmp_path / "x.json", *QUICK,
    )  # fmt: skip
    assert list(answer) == [
        "law", "protocol", "domain", "n_rows", "converged", "objective", "starts_agree",
        "parameters", "scores", "warnings", "files", "notes",
    ]  # fmt: skip
    assert answer["protocol"] == "early_to_late" and answer["notes"] == []
    beta = answer["parameters"]["beta"]
    assert beta["low"] <= beta["value"] <= beta["high"]
    assert 0 < answer["scores"]["mae_rel"]["value"] < 1
    assert answer["scores"]["coverage"]["low"] is None
    assert answer["files"] == [str(tmp_path / "x.json"), str(tmp_path / "x.npz")]


def test_a_prediction_as_json_says_what_the_text_says(folder, capsys):
    point = [folder / "f.json", "--n-params", "87.36k", "--ptpp", 279, "--replay", 0.1, "--atpp", 5]
    answer, text = run_json(capsys, "predict", *point), run(capsys, "predict", *point)
    assert answer["low"] < answer["loss"] < answer["high"]
    assert answer["extrapolated"] == ["ptpp"]
    assert f"interval of a measured loss: {answer['low']:.6g} to {answer['high']:.6g}" in text


def test_scores_as_json(folder, capsys):
    answer = run_json(capsys, "score", folder / "f.json", folder / "table.csv", "--target", "fr")
    assert answer["stages"] == [15, 31, 279]
    assert answer["scores"]["noise_floor"]["value"] > 0


def test_a_plan_as_json(folder, capsys):
    answer = run_json(
        capsys, "plan", folder / "table.csv", "--target", "fr", "--n-params", "87k", "--ptpp", 279,
        "--law", "dcpt", "--limit", "en=0.3", "--target-loss", 2.5, "--break-even", "--next", 2,
        *PLAN_QUICK,
    )  # fmt: skip
    assert [plan["kind"] for plan in answer["plans"]] == ["point", "robust"]
    assert {r["limit"] for r in answer["relaxations"]} >= {"target_loss", "forgetting_en"}
    assert len(answer["next_measurements"]) == 2 and len(answer["break_even"]) == 1


def test_a_plan_reads_a_table_with_other_names_units_and_rows(folder, capsys):
    wanted = ["--target", "fr", "--n-params", "87k", "--ptpp", "279", "--law", "dcpt"]
    wanted += ["--limit", "en=0.5", "--where", "ptpp < 100", *PLAN_QUICK]
    ours = run_json(capsys, "plan", folder / "table.csv", *wanted)
    theirs = run_json(capsys, "plan", folder / "foreign.csv", *RENAME, *wanted)
    (note,) = theirs.pop("notes")
    assert "'N' as n_params" in note and "'val_loss' as loss" in note
    assert ours.pop("notes") == []
    for a, b in zip(ours["plans"], theirs["plans"], strict=True):
        numbers = {key: value for key, value in a.items() if isinstance(value, float)}
        assert {key: b[key] for key in numbers} == pytest.approx(numbers, rel=1e-3)


def test_aliases_are_named_before_the_answer(folder, capsys, tmp_path):
    out = run(
        capsys, "fit", folder / "foreign.csv", *RENAME, "--law", "dcpt", "--target", "fr", "--out",
        tmp_path / "x.json", *QUICK,
    )  # fmt: skip
    assert out.startswith(f"note: {folder / 'foreign.csv'}: reads the column 'N' as n_params")


def test_the_noise_floor_is_the_tables(folder, capsys, tmp_path):
    """Of the held-out stage's sweep rows of the domain, as in tables/scores.csv."""
    floor = noise_floor(TABLE, "fr", HELD_OUT)
    everything = noise_floor(TABLE, "fr")
    assert floor != pytest.approx(everything, rel=1e-3)
    out = tmp_path / "x.json"
    arguments = ["--law", "gated", "--target", "fr", "--held-out", 279, "--out", out, *QUICK]
    text = run(capsys, "fit", folder / "table.csv", *arguments)
    assert f"noise floor = {floor:.4g} " in text
    where = ["--target", "fr", "--where", "ptpp == 279"]
    assert f"noise floor = {floor:.4g} " in run(capsys, "score", out, folder / "table.csv", *where)
    text = run(capsys, "score", out, folder / "table.csv", "--target", "fr")
    assert f"noise floor = {everything:.4g} " in text


def test_a_law_that_reads_the_base_loss_plans_and_says_where_it_is_from(folder, capsys):
    common = ["plan", folder / "table.csv", "--target", "fr", "--ptpp", 279, "--limit", "en=1"]
    common += ["--law", "checkpoint_informed", *PLAN_QUICK]
    assert "nats (measured)" in run(capsys, *common, "--n-params", 87360)
    assert "nats (forecast)" in run(capsys, *common, "--n-params", "1M")
    text = run(capsys, *common, "--n-params", 87360, "--base-loss", 2.5)
    assert "base loss 2.5 nats (given)" in text


def test_completion_knows_commands_and_options():
    def complete(words):
        environment = {**os.environ, "_PTPP_COMPLETE": "bash_complete", "COMP_WORDS": words}
        environment["COMP_CWORD"] = str(len(words.split()) - 1)
        command = [sys.executable, "-m", "ptpp"]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        return done.stdout.split()

    assert complete("ptpp p") == ["plain,predict", "plain,plan"]
    assert "plain,--held-out" in complete("ptpp fit --held")


def test_a_closed_pipe_ends_it_quietly(folder):
    command = f"{sys.executable} -m ptpp predict {folder / 'f.json'} --n-params 87k --ptpp 279"
    command += " --replay 0.1 --atpp 5"
    done = subprocess.run(
        ["bash", "-c", f"{command} | true; exit ${{PIPESTATUS[0]}}"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stderr == ""
    assert done.returncode == 128 + signal.SIGPIPE


def test_ctrl_c_ends_it_quietly(tmp_path):
    command = [sys.executable, "-m", "ptpp", "fit", str(SHIPPED), "--law", "gated_floor"]
    command += ["--target", "fr", "--starts", "500", "--out", str(tmp_path / "x.json")]
    # It says when it fits, and no sooner: an import may swallow a signal. A shell's job in the
    # background ignores this one, and so do all that it starts.
    program = f"""
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from ptpp.laws import fitting
solve = fitting._solve_starts
def say(*arguments):
    fitting._solve_starts = solve
    print("fits", file=sys.stderr, flush=True)
    return solve(*arguments)
fitting._solve_starts = say
sys.argv = {command[2:]!r}
from ptpp.cli.main import main
sys.exit(main())
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr.readline() == "fits\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.strip() == ""
    assert not list(tmp_path.iterdir())


HEAVY = "{'torch', 'transformers', 'tokenizers', 'datasets', 'snakemake', 'tensorboard'}"


@pytest.mark.parametrize(
    "program",
    [
        "import ptpp; assert 'pandas' not in sys.modules and 'numpy' not in sys.modules",
        "import ptpp.cli.main; assert 'pandas' not in sys.modules and 'numpy' not in sys.modules",
        "import ptpp.laws.from_table, ptpp.planning.from_table, ptpp.cli.overlay, ptpp.cli.text",
        "from ptpp.cli.main import main; main(['fit', {table!r}, '--law', 'dcpt', '--target', "
        "'fr', '--out', {out!r}, '--starts', '2', '--bootstrap', '2'])",
    ],
)
def test_a_table_of_losses_needs_no_torch_and_no_snakemake(program, folder, tmp_path):
    program = program.format(table=str(folder / "table.csv"), out=str(tmp_path / "x.json"))
    program = f"import sys; {program}; print(sorted({HEAVY} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_numbers_that_are_not_finite_are_null(folder, capsys):
    assert np.isnan(noise_floor(TABLE.query("seed == 0"), "fr"))
    few = folder / "few.csv"
    write_observations(TABLE.query("seed == 0"), few)
    answer = run_json(capsys, "score", folder / "f.json", few, "--target", "fr")
    assert answer["scores"]["noise_floor"]["value"] is None
    assert pd.notna(answer["scores"]["mae_rel"]["value"])


def test_a_law_that_reads_a_column_of_the_table_s_own_predicts_with_its_value(tmp_path, capsys):
    table, law, out = tmp_path / "t.csv", tmp_path / "wide.yaml", tmp_path / "fit.json"
    cells = [(n, d, width) for n in (1e4, 2e4) for d in (1e5, 2e5, 4e5) for width in (-1, 2)]
    rows = [f"{n},{d},{width},{3 + 1e5 / d - 0.2 * width}" for n, d, width in cells]
    table.write_text("\n".join(["n_params,adapt_tokens,width,loss", *rows]))
    law.write_text(
        "name: wide\nexpression: E + B/d + C*width\nparameters:\n"
        "  E: {low: 0, high: 9}\n  B: {low: 0, high: 9}\n  C: {low: -2, high: 2}\n"
    )
    run(capsys, "fit", table, "--law", law, "--out", out, "--bootstrap", 3)
    point = ["predict", out, "--n-params", "1e4", "--adapt-tokens", "1e5"]
    answer = run_json(capsys, *point, "--input", "width=-0.5")
    assert answer["loss"] == pytest.approx(4.1, rel=1e-6)
    assert main(list(map(str, point))) == 2
    assert "law wide needs width" in capsys.readouterr().err
