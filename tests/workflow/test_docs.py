"""Every command of the README and the docs runs; docs/plan.md describes what its commands make."""

import re
import shlex
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import ROOT
from laws_grid import observations
from workflow import link_workflow

from ptpp.cli.main import main
from ptpp.laws.from_table import fit_law
from ptpp.table.observations import write_observations

PAGES = sorted({*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")})
PLAN = ROOT / "docs" / "plan.md"
SHIPPED = "resources/observations/laptop-real.csv"
OF_PTPP = re.compile(r"^(?:python -m )?ptpp (.*)")
STARTS = ("pip ", "snakemake ", "python ", "ptpp ", "pytest", "ruff ", "head ")
# Commands that are run elsewhere, and where.
ELSEWHERE = {
    "pip install -r requirements.txt": ".ci/run",
    "pip install .": "tests/config/test_packaging.py",
    "pytest": ".ci/run",
    "ruff format .": ".ci/run (as a check)",
    "ruff check .": ".ci/run",
    "snakefmt Snakefile rules": ".ci/run (as a check)",
    "pytest -n 0 tests/laws/test_forms.py": ".ci/run runs the same tests",
    "pytest -m long": "tests/training/test_kill.py, by hand before a release",
    "head -3 resources/observations/laptop-real.csv": "shows a file",
    "python benchmarks/training.py results/laptop --sweep": (
        "tests/training/test_benchmark_training.py"
    ),
    "python benchmarks/stages.py resources/observations/six-stages.csv "
    "--out resources/results/six-stages/stages.csv": "tests/laws/test_stages_benchmark.py",
    "python benchmarks/docs_tables.py": "tests/laws/test_docs_tables.py",
    "python benchmarks/loss_memory.py": "tests/models/test_memory.py",
    "python benchmarks/text_statistics.py english french arabic my_text.jsonl.xz": (
        "tests/text/test_text_statistics.py"
    ),
    "python benchmarks/tokenisation.py corpora/en.train.jsonl.xz corpora/ar.train.jsonl.xz "
    "corpora/fr.train.jsonl.xz --megabytes 6 --train-megabytes 48 --repeats 1": (
        "tests/text/test_tokenisation_benchmark.py"
    ),
    "snakemake --cores 2 --configfile scales/smoke.yaml": "tests/workflow/test_outputs.py",
    "python examples/plan_from_a_table.py": "tests/cli/test_api.py",
    "python tests/gpu/accept.py": "needs a GPU",
    "python tests/gpu/accept.py env numerics sync jobs": "needs a GPU",
    "python tests/gpu/accept.py --device cpu --small": "tests/gpu/test_accept.py",
    "snakemake --unlock": "tests/workflow/test_interrupted.py",
    "snakemake --cores 1 cost --configfile scales/paper.yaml": "tests/cost/test_estimate.py",
    "ptpp apply plan.csv my_losses.csv --target fr --checkpoint models/large-279 --text corpora "
    "--base en=1 --learning-rate 1e-4 --batch-tokens 262144 --context 2048 --out adapted": (
        "tests/cli/test_apply.py"
    ),
    "snakemake --cores 2 --configfile scales/mine.yaml": "stands for the reader's own file",
}


def commands(page):
    """Commands in fenced or indented blocks, comments and optional parts left out."""
    lines = []
    for line in page.read_text().splitlines():
        line = re.sub(r"\s+#.*| \[.*?\]", "", line.strip())
        parts = line.split(" && ")
        if all(part.startswith(STARTS) or part == "snakefmt Snakefile rules" for part in parts):
            lines += parts
    return lines


COMMANDS = sorted({command for page in PAGES for command in commands(page)} - set(ELSEWHERE))
OF_PLAN = [
    match[1]
    for command in commands(PLAN)
    if command not in ELSEWHERE and (match := OF_PTPP.match(command))
]
OF_OTHERS = [match[1] for command in COMMANDS if (match := OF_PTPP.match(command))]
OF_OTHERS = [command for command in dict.fromkeys(OF_OTHERS) if command not in OF_PLAN]


@pytest.fixture(scope="module", autouse=True)
def fit_once():
    """Several commands plan by the same fits to the same table: each is made once."""
    made = {}

    def fit(table, *how, **named):
        key = pd.util.hash_pandas_object(table).sum(), repr((how, sorted(named.items())))
        if key not in made:
            made[key] = fit_law(table, *how, **named)
        return made[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ptpp.laws.from_table.fit_law", fit)
        patch.setattr("ptpp.planning.from_table.fit_law", fit)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The workflow, tables of the reader's own and the fit that the pages make from one."""
    folder = link_workflow(tmp_path_factory.mktemp("docs"), "resources")
    (folder / "corpora").mkdir()
    for language in ("en", "ar", "fr"):  # a dry run looks whether text is there, not into it
        for split in ("train", "valid"):
            (folder / "corpora" / f"{language}.{split}.jsonl.xz").touch()
    table = observations(noise=0.01)
    (folder / SHIPPED).parent.mkdir(parents=True)
    for name in ("published", "laws"):
        (folder / "resources" / name).symlink_to(ROOT / "resources" / name)
    for name in ("my_losses.csv", SHIPPED):
        write_observations(table, folder / name)
    write_observations(table[table.domain == "fr"], folder / "TABLE.csv")
    rows = [(n, n * a) for n in (2e4, 5e4, 9e4) for a in (2, 8, 32, 128)]
    scratch = pd.DataFrame(rows, columns=["n_params", "adapt_tokens"])
    scratch["loss"] = 2 + (scratch.n_params / 1e4) ** -0.3 + (scratch.adapt_tokens / 1e5) ** -0.3
    scratch.to_csv(folder / "scratch.csv", index=False)
    fit = ["fit", str(folder / "TABLE.csv"), "--law", "gated_floor", "--starts", "4"]
    assert main([*fit, "--bootstrap", "20", "--out", str(folder / "fit.json")]) == 0
    (folder / "mine.yaml").write_text("adaptation: {replay: [0, 0.05, 0.1, 0.25, 0.5, 0.75]}\n")
    return folder


def test_the_pages_hold_commands_of_every_kind():
    text = "\n".join(COMMANDS)
    for part in ("snakemake --cores 2", "--configfile", "ptpp fit", "ptpp plan", "ptpp predict"):
        assert part in text
    for part in ("--break-even", "--from-scratch", "--next", "least_loss", "pareto"):
        assert part in " ".join(OF_PLAN)


def run_ptpp(command):
    arguments = shlex.split(command)
    quick = ("fit", "plan")
    return main([*arguments, *(("--starts", "4", "--bootstrap", "20") * (arguments[0] in quick))])


@pytest.mark.usefixtures("forked_python")
@pytest.mark.parametrize("command", OF_OTHERS)
def test_a_command_without_the_workflow_runs(command, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    assert run_ptpp(command) == 0
    assert capsys.readouterr().out.strip()


@pytest.mark.parametrize("command", OF_PLAN)
def test_a_command_of_the_plan_page_runs(command, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    assert run_ptpp(command) == 0
    text = capsys.readouterr().out
    assert " parameters at PTPP 279, fitted to " in text
    if "--from-scratch" in command:
        assert "from scratch, by measured runs" in text
    if "--out" in command:
        out = Path(shlex.split(command)[-1])
        assert np.isfinite(pd.read_csv(out)["target_loss"]).all()


def options_of(command):
    """A command's values by option; under "--" its targets."""
    options, option = {}, "--"
    for word in re.sub(r" --cores \d+| -n\b| --dry-run", "", command).split()[1:]:
        if word.startswith("--"):
            option = word
            continue
        options.setdefault(option, []).append(word)
        if option not in ("--config", "--resources"):  # which take several
            option = "--"
    return {"--": ["all"]} | options


def configurations(lines):
    """Arguments of one dry run for each profile, file and table that the commands name.

    Commands that differ only in targets, resources and other settings share a dry run.
    """
    runs = {}
    for options in map(options_of, lines):
        key = [value for option in PLACES for value in options.get(option, [])]
        key += [value for value in options.get("--config", []) if value.startswith("observ")]
        run = runs.setdefault(" ".join(key) or "default", {})
        for option, values in options.items():
            # By what they set, so that nothing is set twice.
            run.setdefault(option, {}).update((value.split("=")[0], value) for value in values)
    return {
        key: [
            word
            for option in sorted(run, reverse=True)  # the targets last
            for word in (option, *run[option].values())
        ]
        for key, run in runs.items()
    }


PLACES = ("--workflow-profile", "--configfile")
RUNS = configurations([command for command in COMMANDS if command.startswith("snakemake ")])


@pytest.mark.parametrize("name", RUNS)
def test_the_workflow_knows_what_the_commands_ask_for(name, folder, snakemake):
    done = snakemake(folder, "--dry-run", "--quiet", "host", *RUNS[name], cores=None)
    assert done.returncode == 0, done.stderr[-2000:]
    if SHIPPED in name:  # and makes what docs/plan.md lists
        outputs = re.findall(r"^\| `((?:plan|tables)/\w+)\.\*` \|", PLAN.read_text(), re.MULTILINE)
        assert len(outputs) == 8
        for output in outputs:
            for suffix in ("csv", "md", "tex"):
                assert f"/{output}.{suffix}" in done.stdout + done.stderr


def test_the_tables_of_the_plan_page_speak_of_the_laws_of_the_default_run():
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    laws, kinds = config["laws"]["target"], ("point", "robust")
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (\w+) \|", PLAN.read_text(), re.MULTILINE)
    every = list(product(laws, config["laws"]["protocols"], kinds))
    assert sorted(rows) == sorted(2 * every)  # two runs


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("python -c ")])
def test_a_line_of_python_runs(command):
    done = subprocess.run(
        [sys.executable, *shlex.split(command)[1:]], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0 and done.stdout.strip(), done.stderr[-2000:]


def test_no_command_is_left_out():
    kinds = ("python -c ", "python -m ptpp ", "ptpp ", "snakemake ")
    kinds += ("python benchmarks/learning_rate.py ",)
    assert not [command for command in COMMANDS if not command.startswith(kinds)]
