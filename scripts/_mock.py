"""Run the script of one rule outside Snakemake, to debug it: in this process, with no other job.

    python scripts/_mock.py fit law=gated --configfile scales/smoke.yaml
    python -m pdb scripts/_mock.py law_tables

Inputs must exist. Outputs and the log are overwritten; Snakemake records nothing, and so runs the
rule again. `mock_snakemake` builds the same object for a notebook. The idea is PyPSA-Eur's.
"""

import argparse
import os
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

from snakemake.api import SnakemakeApi
from snakemake.jobs import Job
from snakemake.script import Snakemake
from snakemake.settings.types import ConfigSettings, ResourceSettings

ROOT = Path(__file__).resolve().parents[1]


def mock_snakemake(rule: str, configfiles=(), config=None, **wildcards: str) -> Snakemake:
    """The object `snakemake` that the script of `rule` would see, in the current folder."""
    return _open_rule(rule, configfiles, config, wildcards)[0]


def run_rule(rule: str, configfiles=(), config=None, **wildcards: str) -> None:
    """Run the script of `rule` with that object."""
    snakemake, script = _open_rule(rule, configfiles, config, wildcards)
    for path in (*snakemake.output, *snakemake.log):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    runpy.run_path(str(script), {"snakemake": snakemake}, run_name="__main__")


def _open_rule(name, configfiles, config, wildcards):
    with SnakemakeApi() as api:
        workflow = api.workflow(
            resource_settings=ResourceSettings(cores=os.cpu_count()),
            config_settings=ConfigSettings(
                configfiles=[Path(path) for path in configfiles], config=config or {}
            ),
            snakefile=ROOT / "Snakefile",
        )._workflow
    rule = workflow.get_rule(name)
    job = Job(rule, SimpleNamespace(workflow=workflow), wildcards)
    snakemake = Snakemake(
        *(job.input, job.output, job.params, job.wildcards, job.threads, job.resources),
        *(job.log, workflow.globals["config"], name, None, str(ROOT / "scripts")),
    )
    return snakemake, ROOT / "scripts" / Path(rule.script).name


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rule")
    parser.add_argument("wildcards", nargs="*", metavar="wildcard=value")
    parser.add_argument("--configfile", nargs="+", default=[])
    arguments = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    run_rule(
        arguments.rule, arguments.configfile, **dict(w.split("=", 1) for w in arguments.wildcards)
    )
