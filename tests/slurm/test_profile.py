"""The SLURM profile as it stands, and with every option it offers; neither needs a cluster."""

import re
import subprocess
import sys

import pytest
import yaml
from conftest import ROOT

PROFILE = (ROOT / "profiles" / "slurm" / "config.yaml").read_text()
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


@pytest.mark.parametrize("profile", [PROFILE, OPTION.sub("  ", PROFILE)], ids=["plain", "all on"])
def test_snakemake_knows_every_line(profile, tmp_path):
    for name in ("Snakefile", "config.yaml", "rules", "scripts", "schemas", "ptpp", "scales"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "report").symlink_to(ROOT / "report")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.yaml").write_text(profile)
    command = [sys.executable, "-m", "snakemake", "--workflow-profile", "mine", "--dry-run"]
    command += ["--quiet", "host", "--configfile", "scales/smoke.yaml", "--", "observations"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-3000:]
    pretrain = re.search(r"rule pretrain:(?:\n .*)+", said).group()
    assert bool(re.search(r"\bgpu=1\b", pretrain)) == (profile != PROFILE)
    assert ("runtime=720" in pretrain) == (profile != PROFILE)


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
