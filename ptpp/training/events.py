"""TensorBoard event files of a training run, on request; nothing here moves a number.

A run's folder holds its trunk, against the tokens the model has seen, and its held-out losses; each
decay has a folder inside it, since several may pass the same number of tokens.
"""

import shutil
from collections.abc import Mapping
from time import monotonic
from typing import TYPE_CHECKING

from torch.utils.tensorboard import SummaryWriter  # takes a second

from ptpp.jobs.progress import Watch
from ptpp.training.schedule import Milestone

if TYPE_CHECKING:
    from ptpp.training.engine import Task, Trajectory

POINTS = 200  # of the training loss, over a whole run


class Events:
    """What the training loop shows of one run; positions are sequences of `context` tokens.

    A resumed run drops what was shown after its saved state and goes on from where `trajectory`
    stands, after the milestones that it has recorded. A point stands for a window of steps, on the
    trunk (`decay` None) or in the decay of a milestone.
    """

    def __init__(
        self, watch: Watch, context: int, task: "Task", trajectory: "Trajectory", is_resumed: bool
    ):
        self.folder = watch.events / watch.name
        self.context = context
        self.every = max(1, task.total // POINTS)
        self.writers = {}
        self.decay, self.since = None, monotonic()
        self.count, self.loss, self.after, self.rate = 0, 0.0, 0, 0.0
        if not is_resumed:
            shutil.rmtree(self.folder, ignore_errors=True)
        milestones, records = task.milestones, trajectory.records
        trunk = milestones[len(records)].branch if trajectory.branching else trajectory.position
        self._writer(None, trunk)
        if trajectory.branching:
            self._writer(milestones[len(records)], trajectory.position)
        for milestone, losses in zip(milestones, records, strict=False):
            if milestone.end > trunk:  # what is dropped with the trunk
                self.milestone(milestone, losses)

    def step(
        self, decay: Milestone | None, before: int, after: int, loss: float, rate: float
    ) -> None:
        """A step from `before` to `after`, with its loss in nats and its rate's multiplier."""
        if decay != self.decay:  # from trunk to decay, or back
            self._show()
            self.decay, self.since = decay, monotonic()
        self.count += after - before
        self.loss += loss * (after - before)
        self.after, self.rate = after, rate
        if self.count >= self.every:
            self._show()

    def milestone(self, milestone: Milestone, losses: Mapping[str, float]) -> None:
        """Held-out losses, nats, by domain, at the end of a decay."""
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
        if self.count:
            writer = self._writer(self.decay, self.after - self.count)
            speed = self.count * self.context / max(monotonic() - self.since, 1e-9)
            values = {
                "loss/training": self.loss / self.count,
                "tokens_per_second": speed,
                "learning_rate_multiplier": self.rate,
            }
            for name, value in values.items():
                writer.add_scalar(name, value, self.after * self.context)
            writer.flush()
        self.count, self.loss, self.since = 0, 0.0, monotonic()

    def _writer(self, decay: Milestone | None, position: int) -> SummaryWriter:
        """The writer of the trunk or of a decay; opened anew, it drops what is after `position`."""
        key = None if decay is None else decay.budget
        if key not in self.writers:
            folder = self.folder if key is None else self.folder / f"decay{key:g}"
            purge = position * self.context + 1
            self.writers[key] = SummaryWriter(str(folder), purge_step=purge)
        return self.writers[key]
