"""The SLURM profile as it stands, and with every option it offers; neither needs a cluster."""

import re
from types import SimpleNamespace

import pytest
import yaml
from conftest import ROOT
from snakemake_executor_plugin_slurm.submit_string import get_submit_command
from snakemake_executor_plugin_slurm.utils import set_gres_string
from workflow import SMOKE, link_workflow

PROFILE = (ROOT / "profiles" / "slurm" / "config.yaml").read_text()
NODES = {"nodes": 2, "mpi": "srun", "tasks": 2, "tasks_per_gpu": 0, "mem_mb": 48_000}
OPTION = re.compile(r"^#  (?=\w+: )", re.MULTILINE)


def test_every_profile_runs_cut_off_jobs_again():
    for path in ROOT.glob("profiles/*/config.yaml"):
        assert yaml.safe_load(path.read_text())["rerun-incomplete"] is True


def test_a_member_s_runtime_counts_seven_times_in_the_group_of_text_jobs():
    """The sum must fit common partition limits: the rules' own four hours would make a day."""
    settings = yaml.safe_load(PROFILE)
    assert set(settings["groups"]) == {"tokenizer", "tokens"}
    minutes = [settings["set-resources"][rule]["runtime"] for rule in settings["groups"]]
    assert minutes == ["20 * attempt"] * 2


def test_snakemake_knows_every_option(tmp_path, snakemake):
    """As it stands the profile is run by tests/workflow/test_docs.py."""
    link_workflow(tmp_path, "profiles")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.yaml").write_text(OPTION.sub("  ", PROFILE))
    arguments = ["--workflow-profile", "mine", "--dry-run", "--quiet", "host", *SMOKE]
    done = snakemake(tmp_path, *arguments, "--", "observations", cores=None)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-3000:]
    pretrain = re.search(r"rule pretrain:(?:\n .*)+", said).group()
    assert re.search(r"\bgpu=1\b", pretrain) and "runtime=720" in pretrain


def test_the_options_are_those_the_page_speaks_of():
    page = (ROOT / "docs" / "slurm.md").read_text()
    offered = [
        line.split(":")[0] for line in OPTION.sub("+", PROFILE).splitlines() if line[:1] == "+"
    ]
    assert [name.lstrip("+") for name in offered] == [
        *("slurm_partition", "slurm_account", "pretrain", "adapt")
    ]
    for name in offered:
        assert f"`{name.lstrip('+')}`" in page


@pytest.mark.parametrize(
    "resources,flags",
    [
        ({}, "--ntasks=1 --cpus-per-task=2"),
        ({"gpu": 0}, "--ntasks=1 --cpus-per-task=2"),
        (
            {"gpu": 4, "nodes": 1, "mem_mb": 48_000},
            "--mem 48000 --nodes=1 --cpus-per-task=2 --gpus=4",
        ),
        ({"gpu": 4, "nodes": 1, "gpu_model": "h100"}, "--nodes=1 --cpus-per-task=2 --gpus=h100:4"),
        ({"gpu": 4, "nodes": 1, "cpus_per_gpu": 8}, "--nodes=1 --cpus-per-gpu=8 --gpus=4"),
        ({"gpu": 4, "nodes": 1, "cpus_per_task": -1}, "--nodes=1 --gpus=4"),
        ({"gres": "shard:1"}, "--ntasks=1 --cpus-per-task=2 --gres=shard:1"),
        (NODES, "--mem 48000 --nodes=2 --ntasks=2 --cpus-per-task=2"),
        (
            NODES | {"gres": "gpu:h100:8"},
            "--mem 48000 --nodes=2 --ntasks=2 --cpus-per-task=2 --gres=gpu:h100:8",
        ),
    ],
)
def test_the_executor_makes_of_a_job_s_resources_what_the_docs_say(resources, flags):
    class Resources(dict):
        __getattr__ = dict.__getitem__

    job = SimpleNamespace(resources=Resources(resources), threads=2)
    names = ("run_uuid", "slurm_logfile", "comment_str", "account", "partition", "workdir")
    call = get_submit_command(job, dict.fromkeys(names, "")) + set_gres_string(job)
    assert call.split("--comment ''")[1].split() == flags.split()
