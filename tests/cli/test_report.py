"""`ptpp report`: what it finds in a table, and that the workflow takes it."""

import shutil

import pytest
import yaml
from conftest import ROOT
from laws_grid import observations

from ptpp.cli.main import main
from ptpp.cli.overlay import make_overlay, name_scale, write_overlay
from ptpp.errors import InputError
from ptpp.table.observations import write_observations

TABLE = observations(noise=0.01)
DEFAULTS = yaml.safe_load((ROOT / "config.yaml").read_text())
WORKFLOW = ("Snakefile", "config.yaml", "rules", "scripts", "ptpp", "report", "profiles", "envs")


def test_stages_domains_and_ranges_are_found_in_the_table():
    overlay = make_overlay(TABLE, "fr", "lab", DEFAULTS)
    assert overlay["corpora"] == {"target": "fr", "base": {"ar": 0.5, "en": 0.5}}
    assert overlay["held_out"]["ptpp"] == 279
    assert overlay["held_out"]["anchors"]["count"] == 10  # of 2 sizes, 4 ratios and 5 ATPP
    plan = overlay["plan"]
    # The largest model that was measured at that stage, and none beyond.
    assert "n_params" not in plan and DEFAULTS["plan"]["n_params"] is None
    assert (plan["beyond"], plan["ptpp"]) == ([], 279)
    assert (plan["min_atpp"], plan["max_atpp"], plan["max_replay"]) == (1, 16, 0.5)
    assert set(plan["forgetting"]) == {"ar", "en"} and min(plan["forgetting"].values()) > 0
    assert overlay["laws"]["protocols"] == ["early_to_late", "with_anchors"]


def test_the_defaults_domains_are_taken_out_where_the_table_has_others():
    table = TABLE.replace({"domain": {"fr": "code", "en": "web", "ar": "papers"}})
    overlay = make_overlay(table, "code", "lab", DEFAULTS)
    base = {"en": None, "ar": None, "papers": 0.5, "web": 0.5}
    assert overlay["corpora"] == {"target": "code", "base": base}
    assert overlay["plan"]["forgetting"]["en"] is None


def test_target_losses_alone_have_no_forgetting():
    table = TABLE[TABLE["domain"] == "fr"]
    overlay = make_overlay(table, "fr", "lab", DEFAULTS)
    assert overlay["corpora"]["base"] == {"en": None, "ar": None, "base": 1.0}
    assert overlay["plan"]["forgetting"] == {"en": None, "ar": None}


def test_two_stages_need_anchors_and_one_is_not_enough():
    two = TABLE[TABLE["ptpp"] != 31]
    assert make_overlay(two, "fr", "lab", DEFAULTS)["laws"]["protocols"] == ["with_anchors"]
    with pytest.raises(InputError, match=r"the table: two PTPP stages of 'fr' and one model size"):
        make_overlay(two[two["size"] == "s"], "fr", "lab", DEFAULTS)
    with pytest.raises(
        InputError, match=r"the table: 1 PTPP stages of 'fr' .*\(15\); needed are two"
    ):
        make_overlay(TABLE[TABLE["ptpp"] == 15], "fr", "lab", DEFAULTS)
    one_size = TABLE[TABLE["size"] == "m"]
    overlay = make_overlay(one_size, "fr", "lab", DEFAULTS)
    assert overlay["laws"]["protocols"] == ["early_to_late"] and "protocol" not in overlay["plan"]


def test_an_overlay_that_stands_there_is_never_overwritten(tmp_path):
    path = tmp_path / "lab" / "lab.yaml"
    write_overlay({"scale": "lab"}, path, "ptpp report t.csv")
    write_overlay({"scale": "lab"}, path, "ptpp report t.csv")
    text = path.read_text()
    with pytest.raises(InputError, match=r"another\s+--name"):
        write_overlay({"scale": "lab", "where": "ptpp < 9"}, path, "ptpp report t.csv")
    assert path.read_text() == text


@pytest.mark.parametrize(
    ("path", "name"), [("a/my lab (2).csv", "my-lab-2"), ("lab.csv", "lab"), ("é.csv", "report")]
)
def test_a_scale_goes_by_the_name_of_the_file(path, name):
    assert name_scale(path) == name


@pytest.fixture
def checkout(tmp_path):
    """A folder with the workflow, and a foreign table outside of it."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    for name in WORKFLOW:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    table = TABLE.replace({"domain": {"fr": "code", "en": "web", "ar": "papers"}})
    foreign = table.rename(columns={"n_params": "N", "domain": "set"}).drop(columns="run")
    foreign.to_csv(tmp_path / "lab.csv", index=False)
    return folder


@pytest.mark.usefixtures("forked_python")
def test_it_makes_what_the_workflow_makes(checkout, capfd):
    command = ["report", str(checkout.parent / "lab.csv"), "--target", "code", "--workflow"]
    command += [str(checkout), "--rename", "set=domain", "--where", "ptpp > 1"]
    assert main([*command, "-n"]) == 0
    out, err = capfd.readouterr()
    assert "target code, base papers, web, held out PTPP 279, 10 anchors" in out + err
    for rule in ("fit", "planner_page", "plan_regret", "anchor_sweep"):
        assert rule in out + err
    overlay = yaml.safe_load((checkout / "results" / "lab" / "lab.yaml").read_text())
    assert overlay["observations"] == str(checkout.parent / "lab.csv")
    assert overlay["columns"] == {"set": "domain"} and overlay["where"] == "ptpp > 1"
    # For real, as far as the anchors: the rules read the table as the command does.
    results = checkout / "results" / "lab"
    assert main([*command, "--", "results/lab/anchors.csv"]) == 0, capfd.readouterr().err
    assert (results / "observations.csv").exists()
    assert len((results / "anchors.csv").read_text().splitlines()) > 10


def test_without_a_checkout_it_says_what_is_needed(tmp_path, capsys):
    write_observations(TABLE, tmp_path / "lab.csv")
    code = main(
        ["report", str(tmp_path / "lab.csv"), "--target", "fr", "--workflow", str(tmp_path)]
    )
    assert code == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {tmp_path}: no workflow here") and error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["lab.csv"]


def test_a_table_that_cannot_be_leaves_nothing_behind(checkout, capsys):
    (checkout.parent / "lab.csv").write_text("n_params,ptpp,replay,atpp,loss\n1000,15,0,1,-1\n")
    table = str(checkout.parent / "lab.csv")
    assert main(["report", table, "--workflow", str(checkout)]) == 2
    assert "row 2, column loss: -1" in capsys.readouterr().err
    assert not (checkout / "results").exists()
