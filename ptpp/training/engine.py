"""The one training loop: a constant-rate trunk off which every milestone branches in a decay.

With `decay_fraction` 1 each milestone is a run of its own that decays linearly from the start to
zero [Bergsma et al. 2025, "Straight to zero", arXiv 2502.15938]; below 1 the milestones share the
trunk's compute (warm-up, stable, decay) [Hu et al. 2024, MiniCPM, arXiv 2404.06395].
"""

import logging
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch

from ptpp.errors import Diverged, Interrupted
from ptpp.jobs.progress import Progress
from ptpp.models.backend import Backend
from ptpp.training.data import Mixture
from ptpp.training.feeding import Feed, Mixtures
from ptpp.training.job import SINGLE, Process
from ptpp.training.schedule import Milestone, Settings, sequences_trained
from ptpp.training.state import StateFolder

log = logging.getLogger("ptpp")


@dataclass(frozen=True)
class Task:
    """A training run: its name in messages, its text, and its milestones in ascending order.

    start: sequences that the model has been trained on before. look_every: steps after which
    losses are fetched; by default 1 on a CPU, 32 on a GPU, which would wait for each.
    """

    what: str
    mixture: Mixture | Mixtures
    settings: Settings
    milestones: Sequence[Milestone]
    start: int = 0
    save_every_s: float = 30.0
    look_every: int | None = None

    @property
    def total(self) -> int:
        """Sequences trained in all, decays included."""
        return sequences_trained(self.milestones, self.start)


def rate_multiplier(position: int, settings: Settings, milestone: Milestone | None) -> float:
    """Learning-rate multiplier of the step that starts at `position`; no milestone: the trunk."""
    warm = min(1.0, (position + settings.batch) / max(settings.warmup, settings.batch))
    if milestone is None:
        return warm
    return warm * (milestone.end - position) / (milestone.end - milestone.branch)


@dataclass
class Trajectory:
    """How far a run is: what a save holds besides tensors.

    position: sequences on the present branch; trained: in all. records: one per finished milestone,
    JSON-able, appended by the caller of `train`. points: pairs of sequences seen and training loss
    (nats), the mean over a window that grows with the run, on the trunk alone; window: the sum and
    the sequences of the next one. seconds: spent up to the last restart, over all starts.
    """

    position: int = 0
    trained: int = 0
    branching: bool = False
    records: list[dict] = field(default_factory=list)
    points: list[list] = field(default_factory=list)
    window: list = field(default_factory=lambda: [0.0, 0])
    seconds: float = 0.0
    began: float = field(default_factory=lambda: time.monotonic())

    @property
    def total_seconds(self) -> float:
        """Seconds spent on the run, over all starts."""
        return self.seconds + time.monotonic() - self.began

    def add_loss(self, position: int, batch: int, loss: float) -> None:
        """Count a step of the trunk that ends at `position` in the curve."""
        self.window = [self.window[0] + loss * batch, self.window[1] + batch]
        if self.window[1] >= 0.05 * position:
            self.points.append([position, self.window[0] / self.window[1]])
            self.window = [0.0, 0]

    def to_meta(self) -> dict:
        return {name: getattr(self, name) for name in SAVED} | {"seconds": self.total_seconds}

    def restore(self, meta: dict) -> None:
        for name in (*SAVED, "seconds"):
            setattr(self, name, meta[name])


SAVED = ("position", "trained", "branching", "records", "points", "window")


def train(
    task: Task,
    backend: Backend,
    trajectory: Trajectory,
    state: StateFolder,
    process: Process = SINGLE,
) -> Iterator[Milestone]:
    """Train through every milestone; yields each one with the model at the end of its decay.

    Before it asks for the next one the caller appends what it measured to `trajectory.records`. At
    the end the model stands on the trunk at the last branch point. Saved state that belongs to this
    run is picked up; a resumed run equals an uninterrupted one to the bit on a CPU. A group of
    processes takes the same steps together; its main process saves.

    Raises Diverged when a loss is not finite; Interrupted, with the state saved at the end of the
    step, when `process.stopping` turns true.
    """
    context, device, settings = backend.context, backend.device, task.settings
    trajectory.position = task.start
    restored = _restore(task, backend, trajectory, state)
    trunk = restored or {}
    each = context * backend.members  # tokens of a sequence of every run
    total, done = (sequences * each for sequences in (task.total, trajectory.trained))
    progress = Progress(task.what, total, done, watch=process.watch)
    events = None
    if process.watch.events is not None:
        from ptpp.training.events import Events

        events = Events(process.watch, context, task, trajectory, restored is not None)
    saved, took = time.monotonic(), 0.0
    waiting: list[tuple[int, int, torch.Tensor, float]] = []  # losses not looked at yet
    patience = task.look_every or (1 if device.type == "cpu" else 32)
    feed = Feed(task.mixture, device)

    def look() -> None:
        tensors = [tensor for _, _, tensor, _ in waiting]
        losses = []
        if tensors:  # one wait for all of them; of several runs the mean stands for each
            losses = torch.stack(tensors).view(len(tensors), -1).mean(1).tolist()
        for (before, after, _, rate), loss in zip(waiting, losses, strict=True):
            if not math.isfinite(loss):
                raise Diverged(
                    f"{task.what}: loss is {loss} after {after * context} tokens; "
                    "lower the learning rate or lengthen the warm-up"
                )
            # Without a trunk the decay is the curve.
            if not trajectory.branching or milestone.branch == 0:
                trajectory.add_loss(after, after - before, loss)
            progress.advance((after - before) * each, loss)
            if events:
                decay = milestone if trajectory.branching else None
                events.step(decay, before, after, loss, rate)
        waiting.clear()

    def save() -> None:
        look()
        tensors, rows = backend.divide(backend.state("now") | trunk)
        state.save(tensors, trajectory.to_meta(), rows)

    while len(trajectory.records) < len(task.milestones):
        milestone = task.milestones[len(trajectory.records)]
        stop = milestone.end if trajectory.branching else milestone.branch
        while trajectory.position < stop:
            before = trajectory.position
            after = _end_of_step(before, settings.batch, stop)
            multiplier = rate_multiplier(
                before, settings, milestone if trajectory.branching else None
            )
            loss = backend.gradients(feed.take(before, after))
            backend.step(settings, multiplier)
            feed.ask(after, _end_of_step(after, settings.batch, stop))
            waiting.append((before, after, loss, multiplier))
            trajectory.position = after
            trajectory.trained += after - before
            if len(waiting) >= patience:
                look()
            # However long a save takes, training gets twenty times as long.
            interval = task.save_every_s and max(task.save_every_s, 20 * took)
            due = time.monotonic() - saved > interval
            asked, due = backend.group.any(process.stopping(), due)
            if asked:
                save()
                raise Interrupted(f"{task.what}: asked to stop; saved after {after} sequences")
            if due:
                began = time.monotonic()
                save()
                saved = time.monotonic()
                took = saved - began
        look()
        if not trajectory.branching:
            trunk, trajectory.branching = backend.state("trunk"), True
        else:
            yield milestone
            if events:
                events.milestone(milestone, trajectory.records[-1])
            backend.restore(trunk, "trunk")
            trunk, trajectory.branching = {}, False
            trajectory.position = max(milestone.branch, task.start)
    if events:
        events.close()


def _restore(
    task: Task, backend: Backend, trajectory: Trajectory, state: StateFolder
) -> dict[str, torch.Tensor] | None:
    """Pick up saved state: the model, how far it is, and, returned, the trunk it left ({}: none).

    None where there is no such state.
    """
    saved = state.load()
    if saved is None:
        return None
    tensors, meta = saved
    backend.restore(tensors, "now")
    trajectory.restore(meta)
    log.info("%s: goes on from its saved state (%d sequences)", task.what, meta["position"])
    return backend.hold(tensors, "trunk")


def _end_of_step(position: int, batch: int, stop: int) -> int:
    """Where the step ends that starts at `position`: steps end at multiples of the batch."""
    return min((position // batch + 1) * batch, stop)
