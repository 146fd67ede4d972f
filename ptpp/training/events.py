"""TensorBoard event files of a training run, on request; nothing here moves a number.

A run's folder holds its trunk, against the tokens the model has seen, and its held-out losses; each
decay has a folder inside it, since several may pass the same number of tokens.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING

from ptpp.jobs.progress import Watch
from ptpp.training.schedule import Milestone

if TYPE_CHECKING:
    from ptpp.training.engine import Trajectory

POINTS = 200  # of the training loss, over a whole run


@dataclass
class _Window:
    """Steps on the trunk (`milestone` None) or in a decay that one point will stand for."""

    milestone: Milestone | None = None
    count: int = 0  # sequences
    loss: float = 0.0  # summed over them
    after: int = 0
    rate: float = 0.0
    since: float = field(default_factory=monotonic)

    def add(self, after: int, count: int, loss: float, rate: float) -> None:
        self.count += count
        self.loss += loss * count
        self.after, self.rate = after, rate


class Events:
    """What the training loop shows of one run; positions are sequences of `context` tokens.

    A resumed run drops what was shown after its saved state and goes on from there.
    """

    def __init__(self, watch: Watch, context: int, total: int):
        """`total`: sequences that the whole run trains, which decide how often it shows a loss."""
        self.folder = None if watch.events is None else watch.events / watch.name
        self.context = context
        self.every = max(1, total // POINTS)
        self.writers = {}
        self.window = _Window()

    def begin(
        self, milestones: Sequence[Milestone], trajectory: "Trajectory", resumed: bool
    ) -> None:
        """Take up the run where `trajectory` stands, after the milestones that it has recorded."""
        if self.folder is None:
            return
        if not resumed:
            shutil.rmtree(self.folder, ignore_errors=True)
        records, position, branching = (
            trajectory.records,
            trajectory.position,
            trajectory.branching,
        )
        milestone = milestones[len(records)] if len(records) < len(milestones) else None
        trunk = milestone.branch if branching else position
        self._writer(None, trunk)
        if branching:
            self._writer(milestone, position)
        for one, losses in zip(milestones, records, strict=False):
            if one.end > trunk:  # what is dropped with the trunk
                self.milestone(one, losses)

    def step(
        self, milestone: Milestone | None, before: int, after: int, loss: float, rate: float
    ) -> None:
        """A step from `before` to `after`; `milestone` is that of a decay, None on the trunk."""
        if self.folder is None:
            return
        if milestone != self.window.milestone:  # from trunk to decay, or back
            self._show()
            self.window = _Window(milestone)
        self.window.add(after, after - before, loss, rate)
        if self.window.count >= self.every:
            self._show()

    def milestone(self, milestone: Milestone, losses: Mapping[str, float]) -> None:
        """Held-out losses, nats, by domain, at the end of a decay."""
        if self.folder is None:
            return
        self._show()
        writer = self._writer(None, 0)
        for domain, loss in losses.items():
            writer.add_scalar(f"loss/{domain}", loss, milestone.end * self.context)
        writer.flush()
        if milestone.budget in self.writers:
            self.writers.pop(milestone.budget).close()

    def close(self) -> None:
        self._show()
        for writer in self.writers.values():
            writer.close()

    def _show(self) -> None:
        """A point of the window so far. It is on disk at once, whatever becomes of the job."""
        window, self.window = self.window, _Window(self.window.milestone)
        if window.count:
            writer = self._writer(window.milestone, window.after - window.count)
            tokens, seconds = window.after * self.context, max(monotonic() - window.since, 1e-9)
            writer.add_scalar("loss/training", window.loss / window.count, tokens)
            writer.add_scalar("tokens_per_second", window.count * self.context / seconds, tokens)
            writer.add_scalar("learning_rate_multiplier", window.rate, tokens)
            writer.flush()

    def _writer(self, milestone: Milestone | None, position: int):
        """The writer of the trunk or of a decay; opened anew, it drops what is after `position`."""
        key = None if milestone is None else milestone.budget
        if key not in self.writers:
            from torch.utils.tensorboard import SummaryWriter  # a second, when asked for

            folder = self.folder if key is None else self.folder / f"decay{key:g}"
            purge = position * self.context + 1
            self.writers[key] = SummaryWriter(str(folder), purge_step=purge)
        return self.writers[key]
