"""One model on several devices: two CPU processes stand for them, joined by gloo."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import psutil
import pytest
import torch
from training_driver import Jobs
from transformers import AutoModelForCausalLM, LlamaConfig

from ptpp.errors import Diverged, InputError, Interrupted, Unwritable
from ptpp.jobs.heartbeat import Job
from ptpp.models.backend import ON_CPU, Group, Placement, start_model
from ptpp.models.cpu import load_checkpoint
from ptpp.models.huggingface import Module, start_module
from ptpp.models.sizes import Shape
from ptpp.training.job import Runtime, fingerprint
from ptpp.training.processes import raise_first_error, read_job, srun, write_job
from ptpp.training.run import launch_job
from ptpp.training.schedule import Settings

SHAPE = Shape(width=16, depth=2, heads=2, context=12, vocab_size=40)
SETTINGS = Settings(learning_rate=0.01, base_width=8, batch=5, warmup=0, decay_fraction=0.2)
ROUNDING = {"abs": 2e-5}  # nats; float32 sums in another order, over a whole training


def blocks(sequences, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, SHAPE.vocab_size, (sequences, SHAPE.context + 1), generator=generator)


def losses(path):
    with open(path, newline="") as stream:
        return [float(row["loss"]) for row in csv.DictReader(stream)]


@pytest.fixture
def work(tmp_path, training_stores):
    return Jobs(tmp_path, training_stores, save_every_s=1e9)


# --- the record of a job


def test_a_job_is_the_same_after_it_was_written_and_read(work, tmp_path):
    for job in (work.pretraining(1.0), work.adaptation(), work.application(0.5, 1.0)):
        write_job(tmp_path / "job.json", job)
        again = read_job(tmp_path / "job.json")
        assert type(again) is type(job) and again.model == job.model
        write_job(tmp_path / "again.json", again)
        assert (tmp_path / "again.json").read_text() == (tmp_path / "job.json").read_text()
        assert fingerprint(again.identity()) == fingerprint(job.identity())


def test_only_what_decides_numbers_is_part_of_the_identity(work):
    job = work.adaptation()

    def same(**changes):
        return fingerprint(replace(job, **changes).identity()) == fingerprint(job.identity())

    assert same(runtime=replace(job.runtime, threads=8, devices=2), state="x", code="y")
    assert not same(model=replace(job.model, micro_batch_tokens=32)), "another order of sums"
    assert not same(optimiser=job.optimiser | {"clip": 2.0})


# --- the module, in one process


@pytest.mark.parametrize("micro_batch", [None, 1, 2])
def test_the_module_trains_as_the_hand_written_passes_do(micro_batch):
    place = Placement(micro_batch=micro_batch)
    ours, module = start_model(SHAPE, 3, place), start_module(SHAPE, 3, place)
    assert module.loss(blocks(4)) == pytest.approx(ours.loss(blocks(4)), abs=1e-6)
    for step in range(4):
        batch = blocks(SETTINGS.batch, seed=step)
        expected = ours.gradients(batch).item()
        assert module.gradients(batch).item() == pytest.approx(expected, abs=1e-5)
        for backend in (ours, module):
            backend.step(SETTINGS, 1.0)
    assert module.loss(blocks(4)) == pytest.approx(ours.loss(blocks(4)), abs=1e-4)


def test_micro_batches_give_the_gradients_of_the_whole_batch():
    whole, parts = (start_model(SHAPE, 3, Placement(micro_batch=size)) for size in (None, 2))
    assert parts.gradients(blocks(5)).item() == pytest.approx(whole.gradients(blocks(5)).item())
    torch.testing.assert_close(parts.weights.gradient, whole.weights.gradient)


def test_either_goes_on_from_the_others_state():
    ours, module = start_model(SHAPE, 3), start_module(SHAPE, 4)
    for seed in range(3):
        ours.gradients(blocks(5, seed))
        ours.step(SETTINGS, 1.0)
    module.restore(ours.state("x"), "x")
    assert module.loss(blocks(4)) == pytest.approx(ours.loss(blocks(4)), abs=1e-6)
    back = start_model(SHAPE, 5)
    back.restore(module.whole(module.state("y")), "y")
    for name in ("flat", "first", "second"):
        assert torch.equal(getattr(back.weights, name), getattr(ours.weights, name))
    assert back.steps == 3


def test_shares_of_a_batch_are_those_of_its_sequences_however_it_is_split():
    """Of 5 sequences among 3 processes two get two and one gets one, and all take two rounds."""
    config = LlamaConfig(
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        vocab_size=40,
    )
    seen = torch.zeros(5)
    rows = blocks(5)
    for rank in range(3):
        backend = Module(AutoModelForCausalLM.from_config(config), SHAPE.context, ON_CPU)
        backend.group, backend.micro_batch = Group(rank, 3), 1
        parts = list(backend._mine(rows))
        assert len(parts) == 2
        for part, shares in parts:
            place = (rows == part).all(1).nonzero().item()
            seen[place] += shares.item()
    assert seen.tolist() == pytest.approx([0.2] * 5)


# --- two processes


@pytest.mark.usefixtures("forked_python")
def test_two_processes_measure_what_one_does_and_leave_the_same_checkpoint(work, tmp_path):
    work = replace(work, stages=(1.0,), tensorboard=str(tmp_path / "tensorboard"))
    folder = tmp_path / "both"
    both = replace(work, folder=folder, devices=2, tensorboard=str(folder / "tensorboard"))
    counts = []
    for jobs in (work, both):
        for each in (jobs.pretraining(1.0), jobs.application(0.5, 1.0)):
            job = Job(jobs.folder, "job")
            launch_job(each, watched_by=job)
            counts.append((job.tokens, job.flops))
    assert counts[:2] == counts[2:], "the job's own process learns what was trained, and on what"
    assert losses(both.zero_shot(1.0)) == pytest.approx(losses(work.zero_shot(1.0)), **ROUNDING)
    one, two = (jobs.folder / "applied" for jobs in (work, both))
    for name in ("zero_shot.csv", "observations.csv"):
        assert losses(two / name) == pytest.approx(losses(one / name), **ROUNDING)
    AutoModelForCausalLM.from_pretrained(two / "checkpoint")
    one, two = (load_checkpoint(jobs.checkpoint(1.0)) for jobs in (work, both))
    for weights in (one, two):  # no loss depends on keys' biases, so Adam walks them by rounding
        for name, bias in weights.parameters.items():
            if name.endswith("c_attn.bias"):
                bias[8:16] = 0.0
    torch.testing.assert_close(two.flat, one.flat, rtol=1e-3, atol=1e-4)
    names = {path.name for path in work.checkpoint(1.0).iterdir()}
    assert {path.name for path in both.checkpoint(1.0).iterdir()} == names
    AutoModelForCausalLM.from_pretrained(both.checkpoint(1.0))
    one, two = (
        sorted(
            str(path.parent.relative_to(jobs.folder))
            for path in (jobs.folder / "tensorboard").glob("**/events.*")
        )
        for jobs in (work, both)
    )
    assert one == two and len(one) > 1, "each event file is written once"


SRUN = """\
#!/usr/bin/env python
# Counterfeit: starts the tasks of several nodes on this one, as SLURM would over them.
import os, subprocess, sys
count = {name: int(value) for name, _, value in (each.partition("=") for each in sys.argv)
         if name in ("--nodes", "--ntasks", "--ntasks-per-node")}
command = sys.argv[sys.argv.index('-m') - 1:]
tasks = [
    subprocess.Popen(command, env=os.environ | {
        "SLURM_PROCID": str(task), "SLURM_STEP_NUM_TASKS": str(count["--ntasks"]),
        "SLURM_LOCALID": str(task % count["--ntasks-per-node"]),
        "SLURM_STEP_NUM_NODES": str(count["--nodes"]),
    })
    for task in range(count["--ntasks"])
]
sys.exit(max([task.wait() for task in tasks]))
"""


@pytest.fixture
def slurm_job(tmp_path, monkeypatch):
    """The environment of a job over several nodes."""
    srun = tmp_path / "bin" / "srun"
    srun.parent.mkdir()
    srun.write_text(SRUN.replace("/usr/bin/env python", sys.executable))
    srun.chmod(0o755)
    monkeypatch.setenv("PATH", f"{srun.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "7")


@pytest.mark.usefixtures("forked_python")
def test_a_stopped_run_goes_on_with_another_number_of_processes(work, tmp_path, slurm_job, caplog):
    """One process, then two on a node, then one on each of two nodes, then one; stopped thrice."""
    # At ten times this rate rounding grows to 0.02 nats.
    calm = replace(work, stages=(10.0,), optimiser=(("learning_rate", 1e-3),))
    whole = replace(calm, folder=tmp_path / "whole")
    launch_job(whole.pretraining(10.0))
    stopped = replace(calm, folder=tmp_path / "stopped", save_every_s=0.05)
    state = stopped.pretrain_state(10.0) / "state.safetensors"
    caplog.set_level("INFO", "ptpp")
    positions = []
    for nodes, devices in ((1, 1), (1, 2), (2, 1)):
        before = state.stat().st_mtime_ns if state.exists() else 0

        def saved_again(before=before):
            return state.exists() and state.stat().st_mtime_ns > before

        with pytest.raises(Interrupted, match="asked to stop; saved after") as stop:
            on = replace(stopped, nodes=nodes, devices=devices)
            launch_job(on.pretraining(10.0), saved_again)
        positions += re.findall(r"saved after (\d+) sequences", str(stop.value))
        assert not stopped.trunk(10.0).exists()
    launch_job(stopped.pretraining(10.0))
    resumed = re.findall(r"goes on from its saved state \((\d+) sequences\)", caplog.text)
    assert resumed == positions
    assert sorted(positions, key=int) == positions and len(set(positions)) == 3
    assert not list(stopped.folder.glob(".processes*"))
    assert losses(stopped.zero_shot(10.0)) == pytest.approx(
        losses(whole.zero_shot(10.0)), **ROUNDING
    )
    assert not state.exists()


def test_what_a_killed_launcher_left_is_removed_by_the_next_and_by_no_other(work, slurm_job):
    """It dies once its processes are started. Those of this test are shell scripts."""
    script = work.folder / "bin" / "srun"
    job, other = (
        replace(work, nodes=2).adaptation(),
        replace(work, nodes=2, stages=(1.0,)).pretraining(1.0),
    )

    def left():
        return sorted(path.name for path in work.folder.glob(".processes*/*"))

    script.write_text("#!/bin/sh\nkill -9 $PPID\n")
    launcher = os.fork()
    if not launcher:
        launch_job(job)
    assert os.WTERMSIG(os.waitpid(launcher, 0)[1]) == signal.SIGKILL
    stale = left()
    assert len(stale) == 2, "what its processes read, and the lock that it held"
    script.write_text("#!/bin/sh\nexit 0\n")
    launch_job(other)
    assert left() == stale, "another job's"

    # One that lives: a second start of the same job ends, and takes nothing from it.
    started, go = (work.folder / name for name in ("started", "go"))
    wait = f"touch '{started}'; until [ -e '{go}' ]; do sleep .01; done"
    script.write_text(f"#!/bin/sh\n{wait}\n")
    with ThreadPoolExecutor() as pool:
        living = pool.submit(launch_job, job)
        try:
            while not started.exists():
                assert not living.done()
                time.sleep(0.01)
            mine = left()
            assert len(mine) == 2 and not {*mine} & {*stale} - {"lock"}
            with pytest.raises(InputError, match="another process is training this"):
                launch_job(job)
            assert left() == mine
        finally:
            go.touch()
        living.result()
    assert not list(work.folder.glob(".processes*"))


def test_several_nodes_are_those_of_a_slurm_job(work, slurm_job, monkeypatch):
    command = srun(Runtime(devices=4, nodes=2), work.folder)
    assert command[:4] == ["srun", "--nodes=2", "--ntasks=8", "--ntasks-per-node=4"]
    monkeypatch.delenv("SLURM_JOB_ID")
    with pytest.raises(InputError, match=r"^models\.sizes: w8: nodes 2: this is no job of SLURM"):
        launch_job(replace(work, nodes=2).pretraining(1.0))


@pytest.mark.usefixtures("forked_python")
def test_an_error_in_a_process_is_told_in_its_one_line(work):
    wild = replace(work, devices=2, optimiser=(("learning_rate", 1e30),))
    with pytest.raises(Diverged, match=r"^w8 pre-training to PTPP 1: loss is \S+ after \d+ tok"):
        launch_job(wild.pretraining(1.0))
    assert not work.checkpoint(1.0).exists()


def test_of_several_errors_the_one_that_explains_the_others_is_raised(tmp_path):
    """torch records the error of each process; one whose partner is gone fails a moment later."""
    (tmp_path / "stderr").write_text("line\nSegmentation fault")

    def fail(rank, message, timestamp):
        path = tmp_path / "logs" / "none_x" / "attempt_0" / str(rank) / "error.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        extra = {"py_callstack": f"Traceback of {rank}", "timestamp": timestamp}
        path.write_text(json.dumps({"message": {"message": message, "extraInfo": extra}}))

    with pytest.raises(RuntimeError, match=r"(?s)a training process failed.*Segmentation fault"):
        raise_first_error(tmp_path)
    fail(0, "RuntimeError: connection closed by peer", "12")
    fail(1, "KeyError: 'fr'", "11")
    with pytest.raises(RuntimeError, match="a training process failed\nTraceback of 1"):
        raise_first_error(tmp_path)
    fail(2, "Unwritable: x: cannot be written", "12")
    with pytest.raises(Unwritable, match=r"^x: cannot be written$"):
        raise_first_error(tmp_path)


SCRIPT = """
import sys
from pathlib import Path
from ptpp.training.run import launch_job
from ptpp.training.processes import read_job
launch_job(read_job(Path(sys.argv[1])))
"""


def test_processes_whose_job_was_killed_end(work, tmp_path):
    long = replace(work, stages=(300.0,), save_every_s=0.2, devices=2)
    write_job(tmp_path / "job.json", long.pretraining(300.0))
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "job.json")],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stderr=subprocess.DEVNULL,
    )
    state = long.pretrain_state(300.0) / "state.safetensors"
    while not state.exists():
        assert process.poll() is None
        time.sleep(0.05)
    workers = psutil.Process(process.pid).children(recursive=True)
    assert sum("ptpp.training.processes" in each.cmdline() for each in workers) >= 3
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs(workers, timeout=300)
    assert not alive, "orphans train on"
    assert not long.trunk(300.0).exists()
