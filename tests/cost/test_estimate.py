"""The estimated cost of an experiment, against finished runs."""

import copy
import functools
import json
import resource
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from snakemake.utils import update_config

from benchmarks.calibration import calibrate_device, calibrate_gpu
from ptpp.config import Config
from ptpp.config.checks import check_sense
from ptpp.cost.devices import DEVICES, device_of, step_flops_per_token
from ptpp.cost.estimate import cost_estimate, estimate_text
from ptpp.errors import InputError
from ptpp.models.sizes import Shape, shape_of

# Two finished runs: the default scale on an idle machine, real text on a busy one.
MEASURED = {
    "default": ROOT / "benchmarks" / "laptop.costs.csv",
    "laptop-real": ROOT / "resources" / "observations" / "laptop-real.costs.csv",
}
SCALES = sorted(p.stem for p in (ROOT / "scales").glob("*.yaml") if p.stem != "own-table")
KEYS = ["what", "ptpp", "size"]


def experiment(scale="default", **changes):
    """The configuration of a scale, merged as Snakemake does, with sections changed."""
    config = copy.deepcopy(read_scale(scale))
    update_config(config, changes)
    return config


@functools.cache
def read_scale(scale):
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    if scale != "default":
        update_config(config, yaml.safe_load((ROOT / "scales" / f"{scale}.yaml").read_text()))
    return config


def measured(scale):
    """Sums of a finished costs.csv by kind of run, stage and size."""
    costs = pd.read_csv(MEASURED[scale])
    adapted = costs["run"].str.contains(".replay", regex=False)
    costs["what"] = adapted.map({True: "adaptation", False: "pre-training"})
    costs["ptpp"] = costs["run"].str.extract(r"[.]ptpp([0-9]+)")[0]
    sums = {"runs": ("run", "size"), "tokens": ("tokens", "sum"), "flops": ("flops", "sum")}
    return costs.groupby(KEYS).agg(**sums, seconds=("seconds", "sum"))


def estimated(scale):
    table = cost_estimate(experiment(scale))
    return table[table["size"].ne("all") & table["what"].ne("text")].set_index(KEYS).sort_index()


@pytest.mark.parametrize("scale", MEASURED)
def test_runs_tokens_and_flops_are_those_of_the_finished_run(scale):
    table, took = estimated(scale), measured(scale)
    assert table.index.equals(took.index)
    assert table["runs"].tolist() == took["runs"].tolist()
    assert table["tokens"].tolist() == took["tokens"].tolist()
    assert table["flops"].tolist() == pytest.approx(took["flops"].tolist())


def test_hours_of_the_default_run_are_within_a_quarter_of_those_measured():
    table, took = estimated("default"), measured("default")
    by_size = [KEYS[0], KEYS[2]]
    ratio = (
        3600 * table.groupby(by_size)["device_hours"].sum() / took.groupby(by_size)["seconds"].sum()
    )
    assert len(ratio) == 6
    assert ratio.between(0.75, 1.25).all()
    total = 3600 * table["device_hours"].sum() / took["seconds"].sum()
    assert 0.75 < total < 1.25


def test_hours_hold_for_sizes_the_device_was_not_calibrated_on():
    took = measured("laptop-real")["seconds"].sum()  # upper bounds: the machine had other work
    assert 0.75 < 3600 * estimated("laptop-real")["device_hours"].sum() / took < 1.25


def test_the_cpu_in_the_table_is_the_one_measured():
    costs = pd.read_csv(MEASURED["default"])
    known = DEVICES["zen5_core"]
    device = calibrate_device(costs, experiment(), peak=known.peak)
    assert device.utilisation == pytest.approx(known.utilisation, abs=0.001)
    assert device.seconds_per_token == pytest.approx(known.seconds_per_token, rel=0.002)
    with pytest.raises(InputError, match="1 of the configured sizes measured, expected 2"):
        calibrate_device(costs[costs["size"] == "w16"], experiment(), peak=known.peak)


@pytest.mark.parametrize("scale", SCALES)
def test_every_scale_has_an_estimate_whose_lines_add_up(scale):
    table = cost_estimate(experiment(scale))
    total, sums = table.iloc[-1], table[table["size"] == "all"].iloc[:-1]
    for column in ("tokens", "unshared_tokens", "flops", "device_hours"):
        parts = table[table["size"] != "all"][column].sum()
        assert total[column] == pytest.approx(parts) == pytest.approx(sums[column].sum())
    assert total["longest_job_hours"] == table["longest_job_hours"].max() > 0
    assert (table["saved"].dropna() >= 0).all()


@settings(max_examples=30)
@given(
    ptpp=st.lists(st.integers(1, 500), min_size=2, max_size=5, unique=True).map(sorted),
    fraction=st.floats(0.05, 0.95),
)
def test_a_shared_trunk_never_trains_more_than_runs_of_their_own(ptpp, fraction):
    shared = {"ptpp": ptpp, "decay_fraction": fraction}
    together = cost_estimate(experiment(pretraining=shared)).iloc[-1]
    alone = {"schedule": "independent"}
    apart = cost_estimate(experiment(pretraining=shared | alone, adaptation=alone)).iloc[-1]
    assert apart["saved"] == 0
    assert together["tokens"] <= together["unshared_tokens"] == apart["tokens"]


def test_a_job_per_trajectory_is_more_jobs_and_the_same_work():
    one, many = (cost_estimate(experiment(replays_per_job=count)) for count in (None, 1))
    assert many["jobs"].iloc[-1] == one["jobs"].iloc[-1] + 15 * 5
    assert many["device_hours"].tolist() == pytest.approx(one["device_hours"].tolist())
    assert many.iloc[-2]["longest_job_hours"] == pytest.approx(
        one.iloc[-2]["longest_job_hours"] / 6
    )
    three = cost_estimate(experiment(replays_per_job=4)).iloc[-2]
    assert three["jobs"] == 15 * 2
    assert three["longest_job_hours"] == pytest.approx(one.iloc[-2]["longest_job_hours"] * 4 / 6)


def test_several_devices_share_a_job_and_take_as_many_hours_together():
    sizes = experiment()["models"]["sizes"]
    one = cost_estimate(experiment())
    sizes[2] |= {"devices": 4}
    config = experiment(models={"sizes": sizes})
    four = cost_estimate(config)
    assert four["device_hours"].tolist() == one["device_hours"].tolist()
    wide, narrow = four["size"] == "w48", four["size"].isin(["w16", "w32"])
    assert (four["devices"][wide] == 4).all() and (four["devices"][narrow] == 1).all()
    for rows, share in ((wide, 4), (narrow, 1)):
        expected = (one["longest_job_hours"][rows] / share).tolist()
        assert four["longest_job_hours"][rows].tolist() == pytest.approx(expected)
    said = estimate_text(four, config["cost"])
    assert "The longest job, pre-training of w32 to PTPP 279, takes\n0.01519 hours;" in said
    assert "Several devices are taken to be as many times as fast as one." in said
    sizes[2] |= {"devices": 2}
    said = estimate_text(cost_estimate(experiment(models={"sizes": sizes})), config["cost"])
    assert "of w48 to PTPP 279, takes\n0.01914 hours on 2 devices at once;" in said


def test_nodes_multiply_the_devices_of_a_job_and_leave_the_memory_of_each():
    config = experiment("paper")
    four = cost_estimate(config)
    sizes = copy.deepcopy(config["models"]["sizes"])
    assert sizes[-1].pop("nodes") == 4
    one = cost_estimate(experiment("paper", models={"sizes": sizes}))
    large = four["size"] == "w2560"
    assert (four["devices"][large] == 32).all() and (one["devices"][large] == 8).all()
    for name in ("device_hours", "memory_gb", "flops"):
        assert four[name][large].tolist() == one[name][large].tolist()
    assert (4 * four["longest_job_hours"][large]).tolist() == pytest.approx(
        one["longest_job_hours"][large].tolist()
    )


def test_an_adaptation_that_is_the_longest_job_is_told_by_where_it_starts():
    config = experiment("own-model")
    said = estimate_text(cost_estimate(config), config["cost"])
    assert "The longest job, adaptation of pythia-410m from PTPP 180, takes" in said


@pytest.mark.parametrize("scale", ["paper", "lab"])
def test_every_size_of_a_large_scale_fits_what_it_asks_for(scale):
    config = experiment(scale)
    table = cost_estimate(config)
    for size in config["models"]["sizes"]:
        n = shape_of(size, config["models"]["context"], config["tokenizer"]["vocab_size"]).n_params
        devices, resources = size.get("devices", 1), size["resources"]
        assert table.loc[table["size"] == size["name"], "memory_gb"].max() < 80
        assert resources["mem"].endswith("GB") and resources["runtime"] == "23h"
        assert float(resources["mem"][:-2]) > 4 * devices + 28 * n / 1e9
        assert devices <= 8
    tokens = max(each["train_tokens"] for each in config["corpora"]["languages"])
    assert tokens / config["corpora"]["parts"] / 640_000 < 4 * 3600, "a part's time limit"


def test_the_attempts_that_the_paper_scale_speaks_of_follow_from_its_cost():
    text = (ROOT / "scales" / "paper.yaml").read_text()
    table = cost_estimate(experiment("paper")).set_index(["what", "ptpp", "size"])
    hours = table.loc[("pre-training", "279"), "longest_job_hours"]
    attempts = {size: -(-hours[size] // 23) for size in ("w1280", "w1792", "w2560")}
    assert attempts["w1280"] == 4 and "four attempts at w1280" in text
    assert f"{attempts['w1792']:.0f} at w1792" in text
    assert f"{attempts['w2560']:.0f} (two weeks) at w2560 on four nodes" in text
    assert round(hours["w2560"] / 168) == 2 and attempts["w2560"] < 30


def test_a_job_that_outlasts_its_time_limit_needs_several_starts():
    """A limit in minutes grows with every attempt: 1 + 2 + 3 hours hold a job of 5."""
    config = experiment("paper")
    sizes = {size["name"]: size for size in config["models"]["sizes"]}
    table = cost_estimate(config)
    trained = table[table["size"].isin(sizes)]
    assert trained["starts"].tolist() == (-(-trained["longest_job_hours"] // 23)).tolist()
    said = estimate_text(table, config["cost"])
    assert "(resources.runtime): w1280 needs 4 starts, w1792 needs 9 starts, w2560" in said
    assert f"submit with --retries {trained['starts'].max() - 1:.0f} or more.\n" in said

    def starts(runtime):
        size = sizes["w512"] | {"resources": {"runtime": runtime}}
        changed = cost_estimate(experiment("paper", models={"sizes": [size]}))
        return changed.set_index(KEYS)["starts"]

    hours = table.set_index(KEYS)["longest_job_hours"]
    long, short = ("pre-training", "279", "w512"), ("adaptation", "15", "w512")
    minutes = int(60 * hours[long] / 5)
    assert starts(minutes)[long] == 3 and starts(f"{minutes}m")[long] == 6
    by_rule = starts({"pretrain": "1d", "adapt": "0.5 hours"})
    assert by_rule[long] == 1 and by_rule[short] == np.ceil(2 * hours[short])
    assert starts("until Monday").isna().all()
    assert "time limit" not in estimate_text(cost_estimate(experiment()), experiment()["cost"])


def test_memory_of_a_device_is_what_is_counted_beside_each_size():
    config = experiment("paper")
    table = cost_estimate(config).groupby("size")["memory_gb"].first()
    n = shape_of(config["models"]["sizes"][-1], 2048, 65_536).n_params
    loss, activations = 2 * 2**30, 50 * 2560 * 40 * 2048  # a sequence, the least there can be
    assert table["w2560"] == pytest.approx(((28 + 4) * n / 8 + loss + activations) / 1e9)
    said = estimate_text(cost_estimate(config), config["cost"])
    assert "Every size fits the 80 GB of its devices, as counted." in said
    sizes = copy.deepcopy(config["models"]["sizes"])
    sizes[-1] |= {"devices": 1, "nodes": 1}
    few = experiment("paper", models={"sizes": sizes})
    said = estimate_text(cost_estimate(few), few["cost"])
    needed = (28 * n + loss + activations) / 1e9
    assert f"Of the 80 GB of a device w2560 needs {needed:.4g}" in said
    assert "or lower micro_batch_tokens or models.context" in said
    with pytest.raises(InputError) as caught:
        check_sense(Config.model_validate(few))
    assert str(caught.value) == (
        "config: models.sizes: w2560: devices 1: weights, gradient and moments alone take 93 GB of "
        "each, and cost.device h100 has 80; at least 2 would do"
    )
    assert "memory_gb" not in estimate_text(cost_estimate(experiment()), experiment()["cost"])


def test_ratios_that_a_gpu_trains_at_once_take_memory_each_and_hours_as_one_by_one():
    config = experiment("gpu")
    table = cost_estimate(config).set_index(KEYS)
    ratios = len(config["adaptation"]["replay"]) + len(config["adaptation"]["controls"])
    shape = Shape(width=64, depth=4, heads=2, context=256, vocab_size=2_048)
    step = 8_192 * (50 * 64 * 4 + 16 * 2_048)  # activations and logits
    each = 28 * shape.n_params + step
    place = ("adaptation", "15", "w64")
    assert table.memory_gb[place] == pytest.approx(ratios * each / 1e9)
    alone = table.memory_gb["pre-training", "15", "w64"]

    def adaptation(**changes):
        changed = cost_estimate(experiment("gpu", **changes)).set_index(KEYS)
        assert changed.device_hours[place] == pytest.approx(table.device_hours[place])
        return changed.memory_gb[place]

    assert adaptation(replays_per_job=1) == alone
    assert adaptation(replays_per_job=3) == pytest.approx(max(alone, 3 * each / 1e9))
    sizes = config["models"]["sizes"]
    for change in ({"devices": 2}, {"micro_batch_tokens": 4_096}):
        narrow = adaptation(models={"sizes": [sizes[0] | change, *sizes[1:]]})
        assert narrow < table.memory_gb[place]
    # As many as memory holds: a card of 80 GB has 72 for them.
    wide = sizes[0] | {"batch_tokens": 524_288}
    config = experiment("gpu", models={"sizes": [wide, *sizes[1:]]})
    held = cost_estimate(config).set_index(KEYS).memory_gb[place]
    each = (28 * shape.n_params + 64 * step) / 1e9
    assert held == pytest.approx(int(72 / each) * each) and 1 < int(72 / each) < ratios


def test_stores_take_four_bytes_a_token_once_two_cannot_hold_the_vocabulary():
    small, large = (
        cost_estimate(experiment(tokenizer={"vocab_size": size})) for size in (65_536, 65_537)
    )
    assert large["disk_gb"].iloc[0] == 2 * small["disk_gb"].iloc[0]


def test_at_half_its_utilisation_a_device_trains_for_twice_the_time():
    shape = Shape(width=512, depth=8, heads=8, context=2_048, vocab_size=65_536)
    full, half = (
        device_of({"device": "h100", "utilisation": share}).seconds(shape, 10**9)
        for share in (0.4, 0.2)
    )
    assert half == pytest.approx(2 * full)
    tables = (
        cost_estimate(experiment("paper", cost={"device": "h100", "utilisation": share}))
        for share in (0.4, 0.2)
    )
    assert np.less(*(table["device_hours"].iloc[-1] for table in tables))


def test_seconds_follow_from_rate_attention_and_evaluation():
    shape = Shape(width=64, depth=2, heads=2, context=128, vocab_size=512)
    flops = step_flops_per_token(shape)
    assert flops == 6 * shape.n_params + 12 * 2 * 64 * 128
    gpu = device_of({"device": "a100", "utilisation": 0.5})
    assert gpu.seconds(shape, round(312e12 * 0.5 / flops)) == pytest.approx(1, rel=1e-6)
    assert gpu.seconds(shape, 0, round(3 * 14e12 / flops)) == pytest.approx(1, rel=1e-6)
    core = DEVICES["zen5_core"]
    assert core.seconds(shape, 0, 3_000) == pytest.approx(core.seconds(shape, 1_000))


def test_the_gpu_in_the_table_is_the_one_measured():
    lines = (ROOT / "resources" / "results" / "gpu" / "h200.jsonl").read_text().splitlines()
    rates = {each["check"]: each.get("tokens_per_s") for each in map(json.loads, lines)}
    shapes = {
        f"w{64 * depth}": Shape(64 * depth, depth, depth, context=2_048, vocab_size=65_536)
        for depth in (8, 12, 20)
    }
    speeds = [
        (shape, rates[f"speed of paper.yaml {name}, compiled"]) for name, shape in shapes.items()
    ]
    for name in ("h200", "h100"):
        device = DEVICES[name]
        found = calibrate_gpu(speeds, device.peak)
        assert found == pytest.approx((device.utilisation, device.seconds_per_token), rel=0.002)
        for shape, rate in speeds:
            assert device.seconds(shape, rate) == pytest.approx(1, abs=0.01)
        for size in ("w512", "w768"):
            measured = rates[f"measuring a loss of paper.yaml {size}"]
            assert device.seconds(shapes[size], 0, measured) == pytest.approx(1, abs=0.05)


def test_what_cannot_be_estimated_is_told():
    with pytest.raises(InputError, match=r"observations: .* nothing is trained"):
        cost_estimate(experiment(observations="mine.csv"))
    with pytest.raises(
        InputError, match=r"cost\.device: found 'abacus'; accepted: zen5_core, a100"
    ):
        cost_estimate(experiment(cost={"device": "abacus", "utilisation": None}))


def test_the_schema_accepts_exactly_the_devices_there_are():
    schema = Config.model_json_schema()["$defs"]["Cost"]
    assert schema["properties"]["device"]["enum"] == list(DEVICES)


@pytest.mark.parametrize("scale", ["default", "paper"])
def test_the_docs_show_what_is_printed(scale):
    config = experiment(scale)
    printed = estimate_text(cost_estimate(config), config["cost"])
    assert f"```\n{printed}```" in (ROOT / "docs" / "cost.md").read_text()


def test_no_torch_is_loaded_for_it():
    code = "import sys, ptpp.cost.estimate; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_the_workflow_prints_it_each_time_and_resolves_the_paper_scale(tmp_path, snakemake):
    for name in (
        "Snakefile",
        "config.yaml",
        "rules",
        "scripts",
        "ptpp",
        "scales",
        "report",
    ):
        (tmp_path / name).symlink_to(ROOT / name)
    config = experiment("paper")
    printed = estimate_text(cost_estimate(config), config["cost"])
    paper = ["--configfile", "scales/paper.yaml"]
    for _ in range(2):
        done = snakemake(tmp_path, "cost", *paper, cores=1)
        assert done.returncode == 0, done.stderr[-2000:]
        assert done.stdout == printed
    left = {path.name for path in tmp_path.glob("results/paper/*")}
    assert left == {"benchmarks", "logs", "tables"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = snakemake(tmp_path, "--dry-run", *paper, cores=1)
    assert done.returncode == 0, done.stderr[-2000:]
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert (
        after.ru_utime - before.ru_utime < 10
    )  # CPU seconds, so that a busy machine fails nothing
    counts = [line.split() for line in done.stdout.splitlines()]
    jobs = {one[0]: int(one[1]) for one in counts if len(one) == 2 and one[1].isdigit()}
    trained = sum(jobs[rule] for rule in ("tokenizer", "tokens", "pretrain", "adapt"))
    assert trained == cost_estimate(config)["jobs"].iloc[-1]
