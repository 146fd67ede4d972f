"""The ladders of public models: what they say of steps, tokens and stages fits together."""

import math
import re

import pytest
import yaml
from conftest import ROOT
from workflow import link_workflow

from ptpp.table.kinds import stage_numbers

# Tokens of a step: sequences times their length.
BATCH = {
    "olmo2-1b": 512 * 4096,
    "olmo2-7b": 1024 * 4096,
    "olmo2-13b": 2048 * 4096,
    "pythia-410m": 1024 * 2048,
    "pythia-1b": 1024 * 2048,
}
LADDERS = ("ladder-olmo2", "ladder-pythia")


def sizes(scale):
    return yaml.safe_load((ROOT / "scales" / f"{scale}.yaml").read_text())["models"]["sizes"]


@pytest.mark.parametrize("scale", LADDERS)
def test_tokens_are_those_of_the_step_in_a_revision_s_name(scale):
    for size in sizes(scale):
        for one in size["checkpoints"]:
            step, billions = re.fullmatch(
                r"(?:stage1-)?step(\d+)(?:-tokens(\d+)B)?", one["revision"]
            ).groups()
            assert one["tokens"] == int(step) * BATCH[size["name"]]
            assert billions is None or int(billions) == math.ceil(one["tokens"] / 1e9)


@pytest.mark.parametrize("scale", LADDERS)
def test_tokens_per_parameter_of_a_stage_are_one_group(scale):
    pairs = [
        (one["ptpp"], one["tokens"] / size["n_params"])
        for size in sizes(scale)
        for one in size["checkpoints"]
    ]
    labels, read = zip(*pairs, strict=True)
    assert set(labels) == {15, 31, 279}
    groups = dict(zip(labels, stage_numbers(read), strict=True))
    assert [groups[label] for label in labels] == stage_numbers(read).tolist()
    assert len(set(groups.values())) == 3


@pytest.mark.parametrize("scale", LADDERS)
def test_a_ladder_is_planned_without_a_network(scale, tmp_path_factory, snakemake):
    folder = link_workflow(tmp_path_factory.mktemp(scale))
    done = snakemake(folder, "--dry-run", "all", "--configfile", f"scales/{scale}.yaml")
    assert done.returncode == 0, done.stderr[-3000:]
    jobs = dict(re.findall(r"^(adopt|adapt|pretrain) +(\d+)$", done.stdout + done.stderr, re.M))
    checkpoints = 3 * len(sizes(scale))
    assert int(jobs["adopt"]) == checkpoints and int(jobs["adapt"]) % checkpoints == 0
    assert "pretrain" not in jobs
