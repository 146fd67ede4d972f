"""One model on several devices: two CPU processes stand for them, joined by gloo."""

import csv
import json
import os
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import torch
from ptpp.models.group import ALONE, Group
from ptpp.training.launch import train_job
from training_driver import ALPHABETS, BASE, OPTIMISER, SPEC, Jobs
from transformers import AutoModelForCausalLM, LlamaConfig

from ptpp.errors import InputError, Interrupted
from ptpp.jobs.heartbeat import Mark
from ptpp.jobs.job import Job
from ptpp.models.backend import started
from ptpp.models.checkpoint import load_checkpoint
from ptpp.models.huggingface import Module, started_module
from ptpp.models.sizes import Shape
from ptpp.training.schedule import Settings

SHAPE = Shape(width=16, depth=2, heads=2, context=12, vocab_size=40)
SETTINGS = Settings(learning_rate=0.01, base_width=8, batch=5, warmup=0, decay_fraction=0.2)
ROUNDING = {"abs": 2e-5}  # nats; float32 sums in another order, over a whole training


def blocks(sequences, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, SHAPE.vocab_size, (sequences, SHAPE.context + 1), generator=generator)


def order(jobs, job, **others):
    """What the workflow's scripts ask for, for the jobs of the training driver."""
    stores = jobs.stores
    return {
        "job": job,
        "model": "w8",
        "spec": {**SPEC, "device": "cpu"},
        "code": "",
        "optimiser": OPTIMISER,
        "text": {"target": "fr", "base": BASE, "evaluation_tokens": 512},
        "train": [str(stores / f"{name}.train.bin") for name in ALPHABETS],
        "valid": [str(stores / f"{name}.valid.bin") for name in ALPHABETS],
        "finished": str(jobs.finished),
        "save_every_s": jobs.save_every_s,
        **{key: str(value) if isinstance(value, Path) else value for key, value in others.items()},
    }


def pretraining(jobs, ptpp, **others):
    first = ptpp == jobs.stages[0]
    return order(
        jobs,
        "pretrain",
        ptpp=ptpp,
        previous_trunk=None if first else jobs.trunk(jobs.stages[0]),
        tokenizer=jobs.stores / "tokenizer",
        checkpoint=jobs.checkpoint(ptpp),
        trunk=jobs.trunk(ptpp),
        zero_shot=jobs.zero_shot(ptpp),
        curve=jobs.folder / f"curve{ptpp:g}.csv",
        cost=jobs.folder / f"cost{ptpp:g}.csv",
        state=jobs.pretrain_state(ptpp),
    ) | {"finished": str(jobs.finished / f"pretrain{ptpp:g}"), **others}


def adaptation(jobs, ptpp):
    return order(
        jobs,
        "adapt",
        ptpp=ptpp,
        replays=[0.0, 0.5],
        atpp=list(jobs.atpp),
        checkpoint=jobs.checkpoint(ptpp),
        zero_shot=jobs.zero_shot(ptpp),
        observations=jobs.observations,
        costs=jobs.folder / "costs.csv",
        state=jobs.adapt_state,
    )


def losses(path):
    with open(path, newline="") as stream:
        return [float(row["loss"]) for row in csv.DictReader(stream)]


@pytest.fixture
def work(tmp_path, training_stores):
    return Jobs(tmp_path, training_stores, save_every_s=1e9)


# --- the module, in one process


@pytest.mark.parametrize("micro_batch", [None, 1, 2])
def test_the_module_trains_as_the_hand_written_passes_do(micro_batch):
    ours = started(SHAPE, 3, "cpu", micro_batch=micro_batch)
    module = started_module(SHAPE, 3, "cpu", ALONE, micro_batch)
    assert module.loss(blocks(4)) == pytest.approx(ours.loss(blocks(4)), abs=1e-6)
    for step in range(4):
        batch = blocks(SETTINGS.batch, seed=step)
        expected = ours.gradients(batch).item()
        assert module.gradients(batch).item() == pytest.approx(expected, abs=1e-5)
        for backend in (ours, module):
            backend.step(SETTINGS, 1.0)
    assert module.loss(blocks(4)) == pytest.approx(ours.loss(blocks(4)), abs=1e-4)


def test_micro_batches_give_the_gradients_of_the_whole_batch():
    whole, parts = (started(SHAPE, 3, "cpu", micro_batch=size) for size in (None, 2))
    assert parts.gradients(blocks(5)).item() == pytest.approx(whole.gradients(blocks(5)).item())
    torch.testing.assert_close(parts.weights.gradient, whole.weights.gradient)


def test_either_goes_on_from_the_others_state():
    ours, module = started(SHAPE, 3, "cpu"), started_module(SHAPE, 4, "cpu", ALONE, None)
    for seed in range(3):
        ours.gradients(blocks(5, seed))
        ours.step(SETTINGS, 1.0)
    module.restore(ours.state("x"), "x")
    assert module.loss(blocks(4)) == pytest.approx(ours.loss(blocks(4)), abs=1e-6)
    back = started(SHAPE, 5, "cpu")
    back.restore(module.whole(module.state("y")), "y")
    for name in ("flat", "first", "second"):
        assert torch.equal(getattr(back.weights, name), getattr(ours.weights, name))
    assert back.weights.steps == 3


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
        backend = Module(AutoModelForCausalLM.from_config(config), SHAPE.context)
        backend.group, backend.micro_batch = Group(rank, 3), 1
        parts = list(backend._mine(rows))
        assert len(parts) == 2
        for part, shares in parts:
            place = (rows == part).all(1).nonzero().item()
            seen[place] += shares.item()
    assert seen.tolist() == pytest.approx([0.2] * 5)


# --- two processes


def test_two_processes_measure_what_one_does_and_leave_the_same_checkpoint(work, tmp_path):
    both = replace(work, folder=tmp_path / "both")
    told = []
    for jobs, processes in ((work, 1), (both, 2)):
        events = {"events": str(jobs.folder / "tensorboard")}
        for asked in (pretraining(jobs, 1.0), adaptation(jobs, 1.0)):
            job = Job(jobs.folder, Mark(jobs.folder, "job"))
            train_job(asked | events, processes, threads=1, job=job)
            told.append((job.tokens, job.flops))
    assert told[:2] == told[2:], "the job's own process learns what was trained, and on what"
    assert losses(both.zero_shot(1.0)) == pytest.approx(losses(work.zero_shot(1.0)), **ROUNDING)
    assert len(losses(work.observations)) == 12
    assert losses(both.observations) == pytest.approx(losses(work.observations), **ROUNDING)
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
            for path in jobs.folder.glob("tensorboard/**/events.*")
        )
        for jobs in (work, both)
    )
    assert one == two and len(one) > 3, "each event file is written once"
    assert not both.adapt_state.exists()
    with open(both.folder / "costs.csv", newline="") as stream:
        assert [row["devices"] for row in csv.DictReader(stream)] == ["2", "2"]


@pytest.mark.parametrize("before,after", [(2, 1), (1, 2)])
def test_a_stopped_run_goes_on_with_another_number_of_processes(
    work, tmp_path, before, after, caplog
):
    whole = replace(work, folder=tmp_path / "whole", stages=(10.0,))
    stopped = replace(whole, folder=tmp_path / "stopped")
    calm = OPTIMISER | {"learning_rate": 1e-3}  # at ten times the rate rounding grows to 0.02 nats
    train_job(pretraining(whole, 10.0, optimiser=calm), 1, threads=1)
    asked = pretraining(stopped, 10.0, optimiser=calm, save_every_s=0.05)
    state = stopped.pretrain_state(10.0) / "state.safetensors"
    with pytest.raises(Interrupted, match="asked to stop; saved after") as stop:
        train_job(asked, before, threads=1, stopping=state.exists)
    assert not stopped.trunk(10.0).exists()
    caplog.set_level("INFO", "ptpp")
    train_job(asked, after, threads=1)
    (position,) = re.findall(r"saved after (\d+) sequences", str(stop.value))
    assert f"goes on from its saved state ({position} sequences)" in caplog.text
    assert losses(stopped.zero_shot(10.0)) == pytest.approx(
        losses(whole.zero_shot(10.0)), **ROUNDING
    )
    assert not state.exists()


def test_an_error_in_a_process_is_told_in_its_one_line(work):
    asked = pretraining(work, 1.0)
    asked["optimiser"] = OPTIMISER | {"learning_rate": 1e30}
    with pytest.raises(InputError, match=r"^w8 pre-training to PTPP 1: loss is \S+ after \d+ tok"):
        train_job(asked, 2, threads=1)
    assert not work.checkpoint(1.0).exists()


SCRIPT = """
import json, logging, sys
from ptpp.training.launch import train_job
logging.basicConfig(level=logging.INFO)
train_job(json.load(open(sys.argv[1])), 2, 1)
"""


def test_processes_whose_job_was_killed_end(work, tmp_path):
    long = replace(work, stages=(300.0,), save_every_s=0.2)
    (tmp_path / "order.json").write_text(json.dumps(pretraining(long, 300.0)))
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "order.json")],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stderr=subprocess.DEVNULL,
    )
    state = long.pretrain_state(300.0) / "state.safetensors"
    deadline = time.monotonic() + 60
    while not state.exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    workers = psutil.Process(process.pid).children(recursive=True)
    assert sum("ptpp.training.worker" in each.cmdline() for each in workers) >= 2
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs(workers, timeout=deadline - time.monotonic())
    assert not alive, "orphans train on"
    assert not long.trunk(300.0).exists()
