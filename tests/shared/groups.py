"""Groups of processes that this process joins alone."""

import contextlib
from collections.abc import Iterator

import torch.distributed as dist

from ptpp.models.backend import Group


class Lone(Group):
    """A single process that holds its model as one of several does."""

    shards = True


@contextlib.contextmanager
def lone_group(device: str = "cpu") -> Iterator[Lone]:
    """A group of this process alone: NCCL on a GPU, gloo on a CPU."""
    backend = "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo"
    dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
    try:
        yield Lone()
    finally:
        dist.destroy_process_group()


@contextlib.contextmanager
def imagined_group(size: int) -> Iterator[Group]:
    """The first of `size` processes whose partners do not exist: nothing is exchanged."""
    from torch.testing._internal.distributed.fake_pg import FakeStore

    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=size)
    try:
        yield Group(0, size)
    finally:
        dist.destroy_process_group()
