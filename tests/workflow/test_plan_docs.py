"""Every command of docs/plan.md runs, and what the page says of its outputs is so."""

import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from laws_grid import observations

from ptpp.cli.main import main
from ptpp.table.observations import write_observations

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "plan.md").read_text()
TABLE = "resources/observations/laptop-real.csv"
COMMANDS = re.findall(r"^    (python -m ptpp .+|snakemake .+)$", PAGE, re.MULTILINE)
WORKFLOW = ("Snakefile", "config.yaml", "rules", "scripts", "schemas", "ptpp", "scales", "report")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the workflow, a table of losses and one of runs from scratch."""
    folder = tmp_path_factory.mktemp("docs")
    for name in WORKFLOW:
        (folder / name).symlink_to(ROOT / name)
    (folder / TABLE).parent.mkdir(parents=True)
    write_observations(observations(noise=0.01), folder / TABLE)
    rows = [(n, n * a) for n in (2e4, 5e4, 9e4) for a in (2, 8, 32, 128)]
    table = pd.DataFrame(rows, columns=["n_params", "adapt_tokens"])
    table["loss"] = 2 + (table.n_params / 1e4) ** -0.3 + (table.adapt_tokens / 1e5) ** -0.3
    table.to_csv(folder / "scratch.csv", index=False)
    return folder


def test_the_page_has_commands_of_every_kind():
    text = " ".join(COMMANDS)
    for part in ("snakemake", "--break-even", "--from-scratch", "--next", "least_loss", "pareto"):
        assert part in text


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("python")])
def test_a_command_of_the_page_runs(command, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    arguments = shlex.split(command)[3:]
    assert main([*arguments, "--starts", "4", "--bootstrap", "30"]) == 0
    told = capsys.readouterr().out
    assert " parameters at PTPP 279, fitted to " in told
    if "--from-scratch" in arguments:
        assert "from scratch, by measured runs" in told
    if "--out" in arguments:
        out = Path(arguments[arguments.index("--out") + 1])
        assert np.isfinite(pd.read_csv(out)["target_loss"]).all()


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("snakemake")])
def test_the_workflow_would_make_what_the_page_lists(command, folder, snakemake):
    done = snakemake(folder, "--dry-run", *shlex.split(command)[3:])
    assert done.returncode == 0, done.stderr[-2000:]
    listed = re.findall(r"^\| `((?:plan|tables)/\w+)\.\*` \|", PAGE, re.MULTILINE)
    assert len(listed) == 8
    for name in listed:
        for suffix in ("csv", "md", "tex"):
            assert f"results/mine/{name}.{suffix}" in done.stdout + done.stderr


def test_the_table_of_the_page_speaks_of_the_laws_of_the_default_run():
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (\w+) \|", PAGE, re.MULTILINE)
    assert {law for law, _, _ in rows} == {"dcpt", "floor", "gated", "gated_floor"}
    assert len(rows) == 16
