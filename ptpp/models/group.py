"""The processes that train one model together. One of them leads: it alone writes and tells."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.distributed as dist


@dataclass(frozen=True)
class Group:
    """`rank` is this process's place among `size`."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """Which of `flags` at least one process says are true; all processes must ask alike."""
        if self.size == 1:
            return flags
        said = torch.tensor(flags, dtype=torch.uint8)
        dist.all_reduce(said, dist.ReduceOp.MAX)
        return tuple(bool(flag) for flag in said)

    def sum(self, value: torch.Tensor) -> torch.Tensor:
        """`value` added up over the processes, in place."""
        if self.size > 1:
            dist.all_reduce(value)
        return value


ALONE = Group()


@contextlib.contextmanager
def joined(device: str) -> Iterator[Group]:
    """The group that torchrun started this process in: gloo on CPUs, NCCL besides on GPUs."""
    if device == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("cpu:gloo,cuda:nccl" if device == "cuda" else "gloo")
    try:
        yield Group(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()
