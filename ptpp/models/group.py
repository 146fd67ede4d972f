"""The processes that train one model together."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist

# Of processes for the one that saves: a terabyte takes an hour. The death of one is seen at once.
LONGEST_WAIT = timedelta(hours=2)


@dataclass(frozen=True)
class Group:
    """The processes that train one model together; `rank` is this one's place among `size`.

    They stand on `nodes`, as many on each, those of a node next to each other.
    """

    rank: int = 0
    size: int = 1
    nodes: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and reports; the others only compute."""
        return self.rank == 0

    @property
    def on_a_node(self) -> int:
        """Processes of one node."""
        return self.size // self.nodes

    def wait(self) -> None:
        """Until all processes are here; a collective call."""
        self.any()

    @property
    def shards(self) -> bool:
        """Whether each process holds a part of the model."""
        return self.size > 1

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """Which of `flags` are true in at least one process; a collective call."""
        if self.size == 1:
            return flags
        seen = torch.tensor(flags, dtype=torch.uint8)
        dist.all_reduce(seen, dist.ReduceOp.MAX)
        return tuple(bool(flag) for flag in seen)

    def least(self, number: int) -> int:
        """The least `number` of all processes; a collective call."""
        if self.size == 1:
            return number
        seen = torch.tensor(number)
        dist.all_reduce(seen, dist.ReduceOp.MIN)
        return int(seen)

    def texts(self, text: str) -> list[str]:
        """`text` of every process; a collective call."""
        every: list[str] = [text] * self.size
        if self.size > 1:
            dist.all_gather_object(every, text)
        return every

    def sum(self, value: torch.Tensor) -> torch.Tensor:
        """`value` summed over the processes, in place; a collective call."""
        if self.size > 1:
            dist.all_reduce(value)
        return value


ALONE = Group()


@contextlib.contextmanager
def join_group(device: str) -> Iterator[Group]:
    """The group of processes that were started together: gloo on CPUs, and NCCL on GPUs.

    The environment says who this one is, as torchrun sets it.
    """
    if device == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    backend = "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=LONGEST_WAIT)
    size = dist.get_world_size()
    try:
        yield Group(dist.get_rank(), size, size // int(os.environ["LOCAL_WORLD_SIZE"]))
    finally:
        dist.destroy_process_group()
