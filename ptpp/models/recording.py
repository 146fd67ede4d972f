"""Training steps recorded once and played back, for models that leave a GPU idle.

A step of a small model is a few hundred kernels of some microseconds each, and launching one from
Python takes longer than that. A CUDA graph launches all of them at once.
"""

import logging
from collections.abc import Callable

import torch

from ptpp.training.schedule import Settings

log = logging.getLogger("ptpp")

SMALL = 30e6  # parameters; beyond, a GPU computes longer than launching takes
_WARM = 3  # steps before: kernels are chosen, and libraries allocate, at the first ones

Record = Callable[[Callable[[], None]], Callable[[], None]]


def record_graph(work: Callable[[], None]) -> Callable[[], None]:
    """A CUDA graph of what `work` launches, which must not wait for the GPU; plays it back."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph.replay


class RecordedStep:
    """The two halves of a training step, each played back once it has been recorded.

    compute: from tokens to their loss, leaving gradients in `parameters`. update: from settings and
    a multiplier to new parameters. Playing back reads and writes the same memory every time, so
    batches are copied in, and losses out. A batch of another shape than the first is not recorded,
    and where recording fails nothing is.
    """

    def __init__(
        self,
        parameters: list[torch.Tensor],
        compute: Callable[[torch.Tensor], torch.Tensor],
        update: Callable[[Settings, float | torch.Tensor], None],
        record: Record = record_graph,
    ):
        self.parameters, self.record = parameters, record
        self._compute, self._update = compute, update
        self.fails, self._warm = False, 0
        self._shape: torch.Size | None = None
        self._settings: Settings | None = None
        self._play_gradients: Callable[[], None] | None = None
        self._play_step: Callable[[], None] | None = None
        self._is_played = False  # whether the present gradients are the recorded ones

    @property
    def is_recorded(self) -> bool:
        return self._play_step is not None

    def gradients(self, tokens: torch.Tensor, is_recordable: bool = True) -> torch.Tensor:
        self._shape = self._shape or tokens.shape
        usual = is_recordable and not self.fails and tokens.shape == self._shape
        if usual and self._warm == _WARM and self._play_gradients is None:
            self._record_gradients(tokens)
        self._is_played = usual and self._play_gradients is not None
        if not self._is_played:
            self._warm = min(_WARM, self._warm + usual)
            return self._compute(tokens)
        self._tokens.copy_(tokens)
        self._play_gradients()
        for parameter, gradient in zip(self.parameters, self._gradients, strict=True):
            parameter.grad = gradient
        return self._loss.clone()

    def step(self, settings: Settings, multiplier: float) -> None:
        if self._is_played and self._play_step is None:
            self._record_step(settings)
        if not self._is_played or self._play_step is None or settings != self._settings:
            self._update(settings, multiplier)
            return
        self._multiplier.fill_(multiplier)
        self._play_step()

    def _record_gradients(self, tokens: torch.Tensor) -> None:
        self._tokens = tokens.clone()

        def work() -> None:
            self._loss = self._compute(self._tokens)

        self._play_gradients = self._try(work)
        self._gradients = [parameter.grad for parameter in self.parameters]

    def _record_step(self, settings: Settings) -> None:
        self._settings = settings
        self._multiplier = torch.zeros((), device=self._tokens.device)
        self._play_step = self._try(lambda: self._update(settings, self._multiplier))

    def _try(self, work: Callable[[], None]) -> Callable[[], None] | None:
        try:
            return self.record(work)
        except RuntimeError as error:  # whatever CUDA cannot record, or has no memory for
            self.fails = True
            reason = " ".join(str(error).split())[:200]
            log.warning("no CUDA graph of a step (%s): goes on without", reason)
            return None
