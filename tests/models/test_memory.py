"""What training takes of a device's memory, and what happens where that ends."""

import logging
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from conftest import ROOT
from training_driver import Jobs

from ptpp.errors import InputError
from ptpp.models.backend import Group, Placement
from ptpp.models.huggingface import start_module
from ptpp.models.memory import activation_bytes, sequences_that_fit, state_bytes
from ptpp.models.sizes import Shape
from ptpp.training.run import launch_job

SHAPE = Shape(width=16, depth=2, heads=2, context=12, vocab_size=40)
BLOCKS = torch.randint(0, 40, (5, 13), generator=torch.Generator().manual_seed(0))


def small_device(backend, sequences):
    """Its losses take no more than `sequences` at once; returns what they were asked for."""
    asked = []

    def refuse(module, arguments):
        asked.append(len(arguments[0]))
        if len(arguments[0]) > sequences:
            raise torch.OutOfMemoryError(
                "CUDA out of memory. Tried to allocate 2 GiB. GPU 0 has a total capacity of 4\nmore"
            )

    backend.losses.register_forward_pre_hook(refuse)
    return asked


def test_where_memory_ends_fewer_sequences_are_computed_at_once(caplog):
    caplog.set_level(logging.WARNING, "ptpp")
    whole, parts = (start_module(SHAPE, 3) for _ in range(2))
    asked = small_device(parts, 2)
    assert parts.gradients(BLOCKS).item() == pytest.approx(whole.gradients(BLOCKS).item())
    assert asked == [5, 2, 2, 1]
    for name, parameter in parts.parameters.items():
        torch.testing.assert_close(parameter.grad, whole.parameters[name].grad)
    line = "out of memory with 60 tokens at once (CUDA out of memory. Tried to allocate 2 GiB): "
    assert line + "goes on with 24; micro_batch_tokens of this size sets that" in caplog.text
    parts.gradients(BLOCKS)
    assert asked[4:] == [2, 2, 1], "it does not try again what failed"


@pytest.mark.parametrize(
    ("place", "tokens"),
    [
        (Placement(micro_batch=2), 24),  # as configured
        (Placement(split=4), 12),  # nothing smaller
    ],
)
def test_where_it_cannot_be_smaller_the_error_names_the_key(place, tokens):
    backend = start_module(SHAPE, 3, place)
    small_device(backend, 0)
    with pytest.raises(InputError) as caught:
        backend.gradients(BLOCKS)
    assert str(caught.value) == (
        f"models.sizes: micro_batch_tokens: {tokens} tokens at once are too many for the device "
        "(CUDA out of memory. Tried to allocate 2 GiB); accepted are fewer, down to "
        "models.context; otherwise raise devices or lower models.context"
    )


def test_a_process_of_a_group_leaves_it_to_the_group():
    backend = start_module(SHAPE, 3)
    small_device(backend, 2)
    backend.group = Group(0, 2)  # its losses are refused before the other is missed
    with pytest.raises(MemoryError, match=r"^36 tokens at once are too many for the device"):
        backend.gradients(BLOCKS)


def test_a_group_starts_again_with_half_as_many(tmp_path, training_stores, monkeypatch, caplog):
    tried = []

    def run(job, stopping, watched_by):
        tried.append(job.runtime.split)
        if job.runtime.split < 2:
            raise MemoryError("too many")

    monkeypatch.setattr("ptpp.training.processes.run_processes", run)
    caplog.set_level(logging.WARNING, "ptpp")
    job = Jobs(tmp_path, training_stores, save_every_s=1e9, devices=2).pretraining(1.0)
    launch_job(job)
    assert tried == [1, 2]
    assert "too many: starts again with half as many tokens at once; micro_b" in caplog.text
    with pytest.raises(MemoryError):
        launch_job(replace(job, model=replace(job.model, micro_batch_tokens=64)))
    assert tried == [1, 2, 1]
    monkeypatch.setattr(
        "ptpp.training.processes.run_processes",
        lambda job, *_: tried.append(job.runtime.split) or (_ for _ in ()).throw(MemoryError()),
    )
    with pytest.raises(MemoryError):  # 2 sequences a process: 1 is the least
        launch_job(job)
    assert tried[3:] == [1, 2]


def test_all_processes_of_a_group_take_the_least_number(monkeypatch):
    def all_reduce(tensor, operation):
        assert operation == torch.distributed.ReduceOp.MIN
        tensor.copy_(torch.minimum(tensor, torch.tensor(3)))

    monkeypatch.setattr("ptpp.models.group.dist.all_reduce", all_reduce)
    assert [Group(0, 2).least(number) for number in (2, 8)] == [2, 3]
    assert Group().least(8) == 8


def test_a_loss_in_chunks_takes_a_fraction_of_the_memory():
    """All logits take 12 bytes a token and entry of the vocabulary."""
    script, tokens, entries = ROOT / "benchmarks" / "loss_memory.py", 1024, 60_000
    command = [sys.executable, str(script), "--tokens", str(tokens), "--vocabulary", str(entries)]
    done = subprocess.run([*command, "--way", "chunks"], capture_output=True, check=True)
    grown, seconds = map(float, done.stdout.split())
    assert 0 < grown / (tokens * entries) < 4 and seconds > 0


def test_sequences_at_once_follow_from_free_memory():
    sequence = 2048 * activation_bytes(1e9, 2048, 16)  # 3.4 GB
    assert sequences_that_fit(80e9, 1e9, sequence) == 16
    assert sequences_that_fit(10e9, 1e9, sequence) == 1
    alone, twice = state_bytes(1e9), state_bytes(1e9, devices=1, nodes=2)
    assert twice == alone + 4e9  # a copy to evaluate with
    assert (state_bytes(1e9), state_bytes(1e9, devices=4)) == (28e9, 8e9)
    assert activation_bytes(1e9) == pytest.approx(activation_bytes(1e9, 2048, 16), rel=0.3)
