"""What trains a model: loss, gradients, steps and state, whichever way the passes are computed.

There are two: passes written by hand for our GPT-2s on a CPU (`cpu.py`), and transformers' own
implementation for everything else (`huggingface.py`).
"""

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
import torch.distributed as dist

from ptpp.models.sizes import Shape
from ptpp.training.schedule import Settings

LONGEST_WRITTEN_OUT = 1024  # tokens; beyond, attention scores would fill the memory


@dataclass(frozen=True)
class Group:
    """The processes that train one model together; `rank` is this one's place among `size`."""

    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and reports; the others only compute."""
        return self.rank == 0

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """Which of `flags` are true in at least one process; a collective call."""
        if self.size == 1:
            return flags
        seen = torch.tensor(flags, dtype=torch.uint8)
        dist.all_reduce(seen, dist.ReduceOp.MAX)
        return tuple(bool(flag) for flag in seen)

    def sum(self, value: torch.Tensor) -> torch.Tensor:
        """`value` summed over the processes, in place; a collective call."""
        if self.size > 1:
            dist.all_reduce(value)
        return value


ALONE = Group()


@contextlib.contextmanager
def join_group(device: str) -> Iterator[Group]:
    """The group of processes that torchrun started: gloo on CPUs, and NCCL on GPUs."""
    if device == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("cpu:gloo,cuda:nccl" if device == "cuda" else "gloo")
    try:
        yield Group(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()


@dataclass(frozen=True)
class Placement:
    """Where a model is held: the device, the group, and the sequences of one micro-batch.

    A process holds the activations of `micro_batch` sequences at once and adds up their gradients;
    None: of its part of the whole batch.
    """

    device: str = "cpu"
    group: Group = ALONE
    micro_batch: int | None = None


ON_CPU = Placement()


class Backend(Protocol):
    """A model in training, by one process or by a `group` of them, which all make the same calls.

    Tokens are blocks of ids, shape (batch, context + 1), on `device`. Every process of a group gets
    the whole batch and takes its part.
    """

    device: torch.device
    context: int
    vocab_size: int
    group: Group

    def loss(self, tokens: torch.Tensor) -> float:
        """Mean next-token cross-entropy, nats."""

    def gradients(self, tokens: torch.Tensor) -> torch.Tensor:
        """The same loss; its gradients are kept for `step`."""

    def step(self, settings: Settings, multiplier: float) -> None:
        """One clipped AdamW step at `multiplier` times the peak rate."""

    def state(self, label: str) -> dict[str, torch.Tensor]:
        """Copies of parameters, moments and step count under `label`; in parts in a group."""

    def restore(self, tensors: Mapping[str, torch.Tensor], label: str) -> None:
        """Put back what `state` or `whole` returned, bit for bit."""

    def whole(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The parts of a `state` put together for a file; empty but on the main process."""

    def reload(self, checkpoint: str | Path) -> None:
        """Start again from the checkpoint the model was opened from: its weights, no moments."""

    def save(self, directory: str | Path, tokenizer: str | Path, text: Mapping) -> None:
        """Write a checkpoint, as `save_checkpoint` does."""


def start_model(shape: Shape, seed: int, place: Placement = ON_CPU) -> Backend:
    """A freshly initialised GPT-2, the same numbers however many processes hold it."""
    if not _by_hand(shape, place):
        from ptpp.models.huggingface import start_module

        return start_module(shape, seed, place)
    from ptpp.models.cpu import HandWritten
    from ptpp.models.weights import Weights, initialise

    weights = Weights(shape)
    initialise(weights, seed)
    return HandWritten(weights, place.micro_batch)


def open_model(
    checkpoint: str | Path, shape: Shape | None, context: int, place: Placement = ON_CPU
) -> Backend:
    """The model of a checkpoint directory, to be trained on in blocks of `context` tokens.

    shape: the GPT-2 of ours that it must be; None: any model that transformers knows. Raises
    InputError when the directory holds no such model.
    """
    if shape is None or not _by_hand(shape, place):
        from ptpp.models.huggingface import open_module

        return open_module(checkpoint, shape, context, place)
    from ptpp.models.checkpoint import check_shape, load_checkpoint
    from ptpp.models.cpu import HandWritten

    weights = load_checkpoint(checkpoint)
    check_shape(checkpoint, shape)
    return HandWritten(weights, place.micro_batch)


def _by_hand(shape: Shape, place: Placement) -> bool:
    alone_on_cpu = place.device == "cpu" and place.group.size == 1
    return alone_on_cpu and shape.context <= LONGEST_WRITTEN_OUT
