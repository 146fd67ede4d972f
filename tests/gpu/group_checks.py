"""Checks of a model that several processes share, made in one: alone, or with imagined partners."""

import time
from collections.abc import Iterator

import torch
from checking import SETTINGS, Setup, check, predictable_blocks
from groups import imagined_group, lone_group
from model_checks import TINY, compiled_check, train_steps

from ptpp.cost.devices import step_flops_per_token
from ptpp.models.backend import Placement
from ptpp.models.huggingface import start_module
from ptpp.models.memory import activation_bytes, training_bytes
from ptpp.models.sizes import Shape


def fsdp(setup: Setup) -> Iterator[dict]:
    """Sharded over a group of one, against not sharded: losses, evaluation, state."""
    shape = TINY if setup.small else Shape(512, 8, 8, 1_024, 8_192)
    blocks = [predictable_blocks(shape, 8).to(setup.device)]
    plain = start_module(shape, 0, Placement(setup.device, micro_batch=4))
    before = plain.loss(blocks[0])
    expected = train_steps(plain, blocks, 5)
    with lone_group(setup.device) as lone:
        sharded = start_module(shape, 0, Placement(setup.device, lone, 4, bfloat16=True))
        found = sharded.loss(blocks[0])
        yield check("sharded, evaluated in float32", abs(found - before) < 2e-5, loss=found)
        losses = train_steps(sharded, blocks, 5)
        apart = max(abs(a - b) for a, b in zip(expected, losses, strict=True))
        yield check("sharded, trained alike", apart < 0.02, plain=expected, sharded=losses)
        yield compiled_check("sharded, compiled within the hooks that gather", setup, sharded)
        at, whole = sharded.loss(blocks[0]), sharded.whole(sharded.state("now"))
        train_steps(sharded, blocks, 1)
        sharded.restore(whole, "now")
        apart = abs(sharded.loss(blocks[0]) - at)
        yield check("sharded, gathered and restored", apart < 1e-6, difference=apart)


def fake(setup: Setup) -> Iterator[dict]:
    """The first of eight processes, its partners imagined: memory and speed without exchange."""
    shape = TINY if setup.small else Shape(1_280, 20, 20, 2_048, 65_536)
    tokens, at_once = (64, 32) if setup.small else (65_536, 16_384)
    with imagined_group(8) as group:
        place = Placement(setup.device, group, at_once // shape.context)
        backend = start_module(shape, 0, place)
        trunk = backend.state("trunk")  # as during a decay
        blocks = torch.randint(
            0, shape.vocab_size, (8 * tokens // shape.context, shape.context + 1)
        )
        if setup.on_gpu:
            torch.cuda.reset_peak_memory_stats()
        for _ in range(2):  # the second is measured
            began = time.monotonic()
            backend.gradients(blocks.to(setup.device))
            backend.step(SETTINGS, 1.0)
            setup.wait()
            seconds = time.monotonic() - began
        peak = torch.cuda.max_memory_allocated() / 1e9 if setup.on_gpu else None
        token = activation_bytes(shape.n_params, shape.width, shape.depth)
        counted = training_bytes(shape.n_params, at_once, token, group.size) / 1e9
        yield check(
            "one of eight processes, nothing exchanged",
            len(trunk) > 0 and (peak is None or peak <= counted),
            n=shape.n_params,
            tokens_per_s=round(tokens / seconds),
            tflops=tokens / seconds * step_flops_per_token(shape) / 1e12,
            peak_gb=peak,
            counted_gb=counted,
        )
