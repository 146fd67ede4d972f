"""What the two training rules ask Snakemake, and so a cluster, for at each size."""

import re

import pytest
import yaml
from conftest import ROOT
from workflow import SMOKE, link_workflow

SIZE = {"width": 8, "depth": 1, "heads": 1, "batch_tokens": 256, "seeds": [0]}
SIZES = {
    "plain": {},
    "wide": {"devices": 2, "resources": {"mem_mb": 9000, "runtime": {"pretrain": 1000}}},
    "fixed": {
        "resources": {
            "threads": {"pretrain": 3},
            "mem": "64GB",
            "runtime": {"pretrain": "23h", "adapt": 90},
            "gpu": {"pretrain": 4, "adapt": 0},
            "slurm_partition": "large",
        }
    },
    "sharded": {"resources": {"gres": "shard:1"}},
    "nodes": {
        "nodes": 2,
        "devices": 2,
        "resources": {"mem": "48GB", "gpu": {"pretrain": 2}, "gpu_model": {"pretrain": "h100"}},
    },
}


@pytest.fixture(scope="module")
def asked(tmp_path_factory, snakemake):
    """A function: the lines of a dry run under a device that tell what a job asks for."""
    folder = tmp_path_factory.mktemp("asked")
    for name in ("Snakefile", "config.yaml", "rules", "scripts", "ptpp", "scales"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "report").symlink_to(ROOT / "report")
    sizes = [{"name": name} | SIZE | more for name, more in SIZES.items()]
    said = {}
    for device in ("auto", "cuda"):
        change = {"device": device, "models": {"sizes": sizes}, "jobs_per_gpu": 2}
        if device == "cuda":
            change["tokenizer"] = {"bytes_per_language": 200_000_000}
        (folder / "change.yaml").write_text(yaml.safe_dump(change))
        arguments = ["--dry-run", "observations", "--quiet", "host", *SMOKE, "change.yaml"]
        done = snakemake(folder, *arguments, cores=4)
        assert done.returncode == 0, done.stdout[-3000:]
        said[device] = done.stdout + done.stderr

    def of(device, rule, model=None):
        blocks = re.findall(rf"^(?:local)?rule {rule}:\n((?: .*\n?)+)", said[device], re.MULTILINE)
        (block, *_) = [
            block for block in blocks if model is None or f"model={model}, ptpp=2" in block
        ]
        found = dict(re.findall(r"(\w+)=([^,\n]+)", re.search(r"resources: (.*)", block).group(1)))
        threads = re.search(r"threads: (\d+)", block)
        return found | {"threads": threads.group(1) if threads else "1"}

    return of


def test_without_wishes_a_job_asks_for_a_processor_and_no_gpu(asked):
    for rule in ("pretrain", "adapt"):
        found = asked("auto", rule, "plain")
        assert (found["threads"], found["mem_mb"], found["runtime"]) == ("1", "2000", "240")
        assert not {"gpu", "nodes", "gres", "slurm_partition"} & set(found)


def test_the_tokenizer_s_job_asks_for_the_words_of_its_text(asked):
    assert asked("auto", "tokenizer")["mem_mb"] == "2000"
    page = (ROOT / "docs" / "corpora.md").read_text()
    least, share = map(
        int, re.search(r"asks for more: (\d+) MB and (\d+) bytes a byte", page).groups()
    )
    assert asked("cuda", "tokenizer")["mem_mb"] == str(least + share * 3 * 200)


def test_training_on_gpus_asks_for_one_a_device_all_on_one_node(asked):
    for rule in ("pretrain", "adapt"):
        assert asked("cuda", rule, "plain")["gpu"] == "1"
        found = asked("cuda", rule, "wide")
        assert (found["gpu"], found["nodes"], found["devices"]) == ("2", "1", "2")
        assert found["jobs_per_gpu"] == "2"


def test_several_nodes_are_asked_for_with_the_gpus_memory_and_processors_of_each(asked):
    found = asked("cuda", "pretrain", "nodes")
    assert (found["nodes"], found["tasks"], found["mpi"]) == ("2", "2", "srun")
    assert (found["gres"], found["mem_mb"]) == ("gpu:h100:2", "48000")
    assert (found["threads"], found["devices"]) == ("2", "2")
    assert not {"gpu", "gpu_model"} & set(found)
    found = asked("auto", "adapt", "nodes")
    assert (found["nodes"], found["tasks"], found["threads"]) == ("2", "2", "2")
    assert not {"gres", "gpu"} & set(found)
    assert not {"mpi", "tasks"} & set(asked("cuda", "pretrain", "wide"))


def test_a_device_is_a_process_with_a_processor(asked):
    assert asked("auto", "adapt", "wide")["threads"] == "2"
    assert "gpu" not in asked("auto", "adapt", "wide")


def test_a_size_s_values_replace_the_rules_and_may_differ_between_the_two(asked):
    pretrain, adapt = (asked("auto", rule, "wide") for rule in ("pretrain", "adapt"))
    assert (pretrain["mem_mb"], pretrain["runtime"]) == ("9000", "1000")
    assert (adapt["mem_mb"], adapt["runtime"]) == ("9000", "240")
    pretrain, adapt = (asked("cuda", rule, "fixed") for rule in ("pretrain", "adapt"))
    assert (pretrain["threads"], pretrain["runtime"], pretrain["gpu"]) == ("3", "1380", "4")
    assert (adapt["threads"], adapt["runtime"], adapt["gpu"]) == ("1", "90", "0")
    assert pretrain["mem_mb"] == adapt["mem_mb"] == "64000"
    assert pretrain["slurm_partition"] == "large"
    assert "slurm_partition" not in asked("cuda", "pretrain", "wide")


def test_what_a_cluster_calls_otherwise_is_not_asked_for_twice(asked):
    found = asked("cuda", "pretrain", "sharded")
    assert found["gres"] == "shard:1" and "gpu" not in found


def test_several_nodes_without_a_cluster_end_a_run_before_its_first_job(tmp_path, snakemake):
    link_workflow(tmp_path)
    change = {"models": {"sizes": [{"name": "big", "nodes": 2} | SIZE]}, "held_out": {"ptpp": None}}
    (tmp_path / "change.yaml").write_text(yaml.safe_dump(change))
    trunk = "results/smoke/trunks/big.ptpp2.safetensors"
    done = snakemake(tmp_path, *SMOKE, "change.yaml", "--", trunk)
    assert done.returncode == 1
    (line,) = re.findall("^error: .*", done.stderr, re.MULTILINE)
    assert line.startswith(
        "error: config: models.sizes: nodes 2, of pretrain: accepted is 1 without"
    )
    assert not (tmp_path / "results" / "smoke" / "logs").exists()
    assert snakemake(tmp_path, "--dry-run", *SMOKE, "change.yaml", "--", trunk).returncode == 0
