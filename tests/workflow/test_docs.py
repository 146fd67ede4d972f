"""Every command of the README and the docs runs; docs/plan.md has a test file of its own."""

import re
import shlex
import subprocess
import sys

import pytest
from conftest import ROOT
from laws_grid import observations

from ptpp.cli.main import main
from ptpp.table.observations import write_observations

PAGES = sorted({*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")} - {ROOT / "docs" / "plan.md"})
STARTS = ("pip ", "snakemake ", "python ", "pytest", "ruff ", "head ")
WORKFLOW = (
    *("Snakefile", "config.yaml", "rules", "scripts", "schemas", "ptpp", "scales", "report"),
    *("resources", "profiles"),
)
# Commands that are run elsewhere, and where.
ELSEWHERE = {
    "pip install -r requirements.txt": ".ci/run",
    "pytest": ".ci/run",
    "ruff format .": ".ci/run (as a check)",
    "ruff check .": ".ci/run",
    "snakefmt Snakefile rules": ".ci/run (as a check)",
    "pytest -n 2": ".ci/run runs the same tests",
    "pytest tests/laws/test_forms.py": ".ci/run runs the same tests",
    "pytest -m long": "tests/training/test_kill.py, by hand before a release",
    "head -3 resources/observations/laptop-real.csv": "shows a file",
    "python benchmarks/training.py results/laptop --sweep": (
        "tests/training/test_benchmark_training.py"
    ),
    "python -m ptpp.text.synthetic.statistics english french arabic my_text.jsonl.xz": (
        "tests/text/test_statistics.py"
    ),
}


def commands(page):
    """Commands in fenced or indented blocks, comments and optional parts left out."""
    found = []
    for line in page.read_text().splitlines():
        line = re.sub(r"\s+#.*| \[.*?\]", "", line.strip())
        parts = line.split(" && ")
        if all(part.startswith(STARTS) or part == "snakefmt Snakefile rules" for part in parts):
            found += parts
    return found


COMMANDS = sorted({command for page in PAGES for command in commands(page)} - set(ELSEWHERE))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The workflow with a table of the user's own and the fit that the pages make from it."""
    folder = tmp_path_factory.mktemp("docs")
    for name in WORKFLOW:
        (folder / name).symlink_to(ROOT / name)
    (folder / "corpora").mkdir()
    for language in ("en", "ar", "fr"):  # a dry run looks whether text is there, not into it
        for split in ("train", "valid"):
            (folder / "corpora" / f"{language}.{split}.jsonl.xz").touch()
    table = observations(noise=0.01)
    write_observations(table, folder / "my_losses.csv")
    write_observations(table[table.domain == "fr"], folder / "TABLE.csv")
    fit = ["fit", str(folder / "TABLE.csv"), "--law", "gated_floor", "--starts", "4"]
    assert main([*fit, "--bootstrap", "20", "--out", str(folder / "fit.json")]) == 0
    (folder / "mine.yaml").write_text("adaptation: {replay: [0, 0.05, 0.1, 0.25, 0.5, 0.75]}\n")
    return folder


def test_the_pages_hold_commands_of_every_kind():
    text = "\n".join(COMMANDS)
    for part in ("snakemake --cores 2", "--configfile", "ptpp fit", "ptpp plan", "ptpp predict"):
        assert part in text


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("python -m ptpp ")])
def test_a_command_without_the_workflow_runs(command, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    arguments = shlex.split(command)[3:]
    if arguments[0] in ("fit", "plan"):
        arguments += ["--starts", "4", "--bootstrap", "20"]
    assert main(arguments) == 0
    assert capsys.readouterr().out.strip()


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("snakemake ")])
def test_the_workflow_knows_what_a_command_asks_for(command, folder, snakemake):
    if "scales/mine.yaml" in command:
        pytest.skip("stands for a file of the user's own")
    arguments = shlex.split(re.sub(r" --cores \d+", "", command))[1:]
    done = snakemake(folder, *arguments, "--dry-run")
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("python -c ")])
def test_a_line_of_python_runs(command):
    done = subprocess.run(
        [sys.executable, *shlex.split(command)[1:]], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0 and done.stdout.strip(), done.stderr[-2000:]


def test_no_command_is_left_out():
    kinds = ("python -c ", "python -m ptpp ", "snakemake ", "python benchmarks/learning_rate.py ")
    assert not [command for command in COMMANDS if not command.startswith(kinds)]
