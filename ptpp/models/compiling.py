"""Decoder layers through torch.compile, and without it where that fails."""

import contextlib
import logging
from collections.abc import Callable

import torch
from torch import nn

from ptpp.models.group import ALONE, Group

log = logging.getLogger("ptpp")


def decoder_layers(module: nn.Module) -> list[nn.Module]:
    """The blocks of a model: the longest of its lists of modules."""
    lists = [list(each) for each in module.modules() if isinstance(each, nn.ModuleList)]
    return max(lists, key=len, default=[])


class CompiledLayers:
    """The decoder layers of `module`, compiled in place: one graph serves all that are alike.

    Call it before the layers are sharded. Only shapes and modes that recur in training are worth
    compiling: all else runs within `eagerly`.

    A process of a group must not begin a pass anew, since the others are in the midst of it: a
    layer that cannot be compiled is computed without, and after the first pass all of them agree.
    """

    def __init__(self, module: nn.Module, group: Group = ALONE, backend: str = "inductor"):
        self.group = group
        self.fails, self.is_proven = False, False
        self.error: Exception | None = None  # of this process, in a group
        for layer in decoder_layers(module):
            if group.shards:  # within the layer's own hooks, which exchange its parameters
                compiled = torch.compile(layer.forward, dynamic=False, backend=backend)
                layer.forward = self._or_without(compiled, layer.forward)
            else:
                layer.compile(dynamic=False, backend=backend)

    def eagerly(self, is_eager: bool = True) -> contextlib.AbstractContextManager:
        """Within it layers are not compiled; always so once compiling has failed."""
        if is_eager or self.fails:
            return torch.compiler.set_stance("force_eager")
        return contextlib.nullcontext()

    def settle(self) -> None:
        """After a pass: it was compiled, or in a group this process knows where it was not.

        A collective call of the first pass alone; where one process failed, all go on without.
        """
        if self.is_proven:
            return
        self.is_proven = True
        (fails,) = self.group.any(self.error is not None)
        if fails:
            reasons = self.group.texts("" if self.error is None else _reason(self.error))
            self._go_on_without(next(filter(None, reasons)))

    def give_up(self, error: Exception) -> bool:
        """Whether to try once more without: what a first compiled step raises may come of it."""
        if self.fails or self.is_proven or self.group.shards:
            return False
        self._go_on_without(_reason(error))
        return True

    def _or_without(self, compiled: Callable, forward: Callable) -> Callable:
        def compute(*arguments: object, **named: object) -> object:
            if self.error is None:
                try:
                    return compiled(*arguments, **named)
                except torch.OutOfMemoryError:
                    raise
                except Exception as error:
                    self.error = error
                    if self.is_proven:  # of a shape that only this process has met
                        self._go_on_without(_reason(error))
            return forward(*arguments, **named)

        return compute

    def _go_on_without(self, reason: str) -> None:
        self.fails = True
        log.warning(
            "torch.compile failed (%s): goes on without; compile: false leaves it out", reason
        )


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
