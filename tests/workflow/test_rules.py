"""What holds for all rules of the workflow."""

import re

import pytest
from conftest import ROOT

RULES = {
    name: body
    for path in [ROOT / "Snakefile", *sorted((ROOT / "rules").glob("*.smk"))]
    for name, body in re.findall(
        r"^rule (\w+):\n((?:(?: .*)?\n)+)", path.read_text() + "\n", re.MULTILINE
    )
}
JOBS = [name for name, body in RULES.items() if re.search("^    (script|shell):", body, re.M)]
PRINTING = {"status", "cost", "apply"}  # print and leave nothing
LEAVING_NOTHING = PRINTING | {"keep_applied"}  # whose file is no output, or it were a cycle


def directive(name, key):
    """What a rule says in one directive; "" when it has none."""
    found = re.search(rf"^    {key}:\n((?: {{8}}.*\n)+)", RULES[name], re.M)
    return found[1].strip().rstrip(",") if found else ""


def test_all_rules_are_seen():
    assert {"all", "laws"} == set(RULES) - set(JOBS)
    assert len(JOBS) > 20


@pytest.mark.parametrize("name", JOBS)
def test_a_rule_that_runs_a_job_has_log_benchmark_and_environment(name):
    log = re.fullmatch(r'f"\{LOGS\}/(.+)\.log"', directive(name, "log"))
    assert log
    assert directive(name, "conda") == '"../envs/ptpp.yaml"'
    if name not in LEAVING_NOTHING:
        assert directive(name, "benchmark") == f'f"{{RESULTS}}/benchmarks/{log[1]}.tsv"'


@pytest.mark.parametrize("name", sorted(RULES))
def test_a_rule_says_what_it_does(name):
    """`snakemake --list` prints it."""
    assert re.match(r'    """[A-Z][^"]{20,}[.]"""\n', RULES[name])


@pytest.mark.parametrize("name", sorted(set(JOBS) - PRINTING))
def test_its_script_leaves_a_line_about_it(name):
    script = (
        ROOT / "scripts" / directive(name, "script").strip('"').removeprefix("../scripts/")
    ).read_text()
    assert "with run_job(snakemake.log[0])" in script
