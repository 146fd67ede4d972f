"""Decoder layers through torch.compile, and without it where that fails."""

import contextlib
import logging

import torch
from torch import nn

log = logging.getLogger("ptpp")


def decoder_layers(module: nn.Module) -> list[nn.Module]:
    """The blocks of a model: the longest of its lists of modules."""
    lists = [list(each) for each in module.modules() if isinstance(each, nn.ModuleList)]
    return max(lists, key=len, default=[])


class CompiledLayers:
    """The decoder layers of `module`, compiled in place: one graph serves all that are alike.

    Call it before the layers are sharded. Only shapes and modes that recur in training are worth
    compiling: all else runs within `eagerly`.
    """

    def __init__(self, module: nn.Module, backend: str = "inductor"):
        self.fails, self.is_proven = False, False
        for layer in decoder_layers(module):
            layer.compile(dynamic=False, backend=backend)

    def eagerly(self, is_eager: bool = True) -> contextlib.AbstractContextManager:
        """Within it layers are not compiled; always so once compiling has failed."""
        if is_eager or self.fails:
            return torch.compiler.set_stance("force_eager")
        return contextlib.nullcontext()

    def give_up(self, error: Exception) -> bool:
        """Whether to try once more without: what a first compiled step raises may come of it."""
        if self.fails or self.is_proven:
            return False
        self.fails = True
        reason = " ".join(str(error).split())[:200]
        log.warning(
            "torch.compile failed (%s: %s): goes on without; compile: false leaves it out",
            *(type(error).__name__, reason),
        )
        return True
