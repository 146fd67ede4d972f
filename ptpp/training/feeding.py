"""Batches on their way to the device."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ptpp.training.data import Mixture


@dataclass(frozen=True)
class Mixtures:
    """Several mixtures read side by side: a batch holds one of each, one after another."""

    members: Sequence[Mixture]

    def batch(self, start: int, stop: int) -> np.ndarray:
        return np.concatenate([each.batch(start, stop) for each in self.members])


class Feed:
    """The batches of a mixture on `device`, each as int64 blocks (sequences, context + 1).

    ahead: whether `ask` prepares one before it is taken; None: on a GPU, which computes meanwhile.
    """

    def __init__(
        self, mixture: Mixture | Mixtures, device: torch.device, ahead: bool | None = None
    ):
        self.mixture, self.device = mixture, device
        self.ahead = device.type != "cpu" if ahead is None else ahead
        self._asked: dict[tuple[int, int], torch.Tensor] = {}

    def ask(self, start: int, stop: int) -> None:
        """Say that sequences start..stop-1 are taken next; an empty range asks for nothing."""
        if self.ahead and start < stop:
            self._asked = {(start, stop): self._send(start, stop)}

    def take(self, start: int, stop: int) -> torch.Tensor:
        """Sequences start..stop-1, whether or not they were asked for."""
        asked = self._asked.pop((start, stop), None)
        return self._send(start, stop) if asked is None else asked

    def _send(self, start: int, stop: int) -> torch.Tensor:
        return send(self.mixture.batch(start, stop), self.device)


def send(blocks: np.ndarray, device: torch.device) -> torch.Tensor:
    """The blocks on `device`; the copy to a GPU, from pinned memory, is not waited for."""
    tensor = torch.from_numpy(blocks)
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
