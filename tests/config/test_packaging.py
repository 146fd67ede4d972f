"""What is pinned, what is locked, and that the package installs with all it reads."""

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from functools import cache
from importlib.metadata import packages_distributions

import pytest
import yaml
from conftest import ROOT

# Pins that nothing imports by name, and what they are for.
USED_OTHERWISE = {
    "tabulate": "pandas' Markdown tables",
    "pytest-xdist": "pytest -n",
    "pytest-timeout": "pytest --timeout",
    "ruff": "a program",
    "snakefmt": "a program",
}
# A table of losses is fitted, predicted, scored, drawn and planned from with these alone.
CORE_ROOMS = ("table", "laws", "planning", "cli", "report/figures")


def normalise(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(path):
    """Normalised name -> version of a file of pins."""
    lines = [re.sub(r"\s*(#|;).*", "", line) for line in path.read_text().splitlines()]
    return {normalise(n): v for n, v in (line.split("==") for line in lines if line.strip())}


distributions_of = cache(packages_distributions)  # it reads what every one has installed


def imports(folder):
    """Third-party packages imported anywhere in a folder, as distributions."""
    modules = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                modules |= {name.name.split(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                modules.add(node.module.split(".")[0])
    modules -= {"ptpp", "pydantic_core"}  # ours, and a part of pydantic
    return {normalise(d) for m in modules for d in distributions_of().get(m, ())}


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def names(requirements):
    return {normalise(re.split(r"[<>=~! ]", r)[0]) for r in requirements}


def test_the_conda_environment_repeats_the_pins_of_requirements():
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    expected = {line.strip() for line in lines if line.strip() and not line.startswith("#")}
    assert all("==" in pin for pin in expected)
    environments = sorted((ROOT / "envs").glob("*.yaml"))
    assert environments
    for path in environments:
        dependencies = yaml.safe_load(path.read_text())["dependencies"]
        assert set(dependencies[-1]["pip"]) == expected


def test_torch_stands_at_the_pin_the_project_is_tested_with():
    assert pins(ROOT / "requirements.txt")["torch"] == "2.13.0"


def test_the_lock_holds_the_direct_pins_and_names_no_registry():
    lock = ROOT / "requirements.lock"
    locked = pins(lock)
    assert pins(ROOT / "requirements.txt").items() <= locked.items()
    assert len(locked) > 100
    assert "://" not in lock.read_text()


def test_nothing_is_pinned_that_nothing_uses():
    used = set().union(*(imports(ROOT / f) for f in ("ptpp", "scripts", "benchmarks", "tests")))
    rules = "\n".join(p.read_text() for p in [ROOT / "Snakefile", *ROOT.glob("rules/**/*.smk")])
    used |= {"snakemake"} if "from snakemake" in rules else set()
    assert set(pins(ROOT / "requirements.txt")) - used - set(USED_OTHERWISE) == set()


def test_requirements_pin_everything_that_the_package_asks_for(project):
    extras = project["optional-dependencies"].values()
    asked = set().union(names(project["dependencies"]), *(names(extra) for extra in extras))
    assert asked <= set(pins(ROOT / "requirements.txt"))


def test_everything_imported_is_a_dependency(project):
    extras = project["optional-dependencies"].values()
    asked = set().union(names(project["dependencies"]), *(names(extra) for extra in extras))
    assert imports(ROOT / "ptpp") <= asked


@pytest.mark.parametrize("room", CORE_ROOMS)
def test_a_small_install_is_enough_for_a_table_of_losses(project, room):
    assert imports(ROOT / "ptpp" / room) <= names(project["dependencies"])


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The package as a wheel, built from a copy, so that nothing is left in the tree."""
    folder = tmp_path_factory.mktemp("wheel")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    for name in filter(None, listed.stdout.split("\0")):
        if name.startswith("ptpp/") or name in ("pyproject.toml", "README.md", "LICENSE"):
            if not (ROOT / name).exists():
                continue
            (folder / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "tree" / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation",
         "--disable-pip-version-check", "--wheel-dir", str(folder), str(folder / "tree")],
        check=True, timeout=300,
    )  # fmt: skip
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder / "installed")
    return folder


def test_the_wheel_holds_every_file_of_the_package(wheel):
    def files(folder):
        found = (folder / "ptpp").rglob("*")
        return {str(p.relative_to(folder)) for p in found if p.is_file() and p.suffix != ".pyc"}

    assert files(wheel / "installed") == files(wheel / "tree")
    (entry,) = (wheel / "installed").glob("*.dist-info/entry_points.txt")
    assert "ptpp = ptpp.cli.main:main" in entry.read_text()


def test_the_installed_package_works_away_from_the_repository(wheel, tmp_path):
    table = ROOT / "resources" / "observations" / "laptop-real.csv"
    program = (
        f"import sys; sys.path.insert(0, {str(wheel / 'installed')!r}); import ptpp;"
        f"fit = ptpp.fit(ptpp.read({str(table)!r}), law='floor', target='fr', starts=2, draws=2);"
        "assert 'installed' in ptpp.__file__;"
        "assert not {'torch', 'transformers', 'snakemake'} & set(sys.modules);"
        "from ptpp.cli.main import main; sys.exit(main(['--version']))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", program], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("ptpp ")
