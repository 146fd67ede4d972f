"""The one training loop: a constant-rate trunk off which every milestone branches in a decay.

With `decay_fraction` 1 each milestone is a run of its own that decays linearly from the start to
zero [Bergsma et al. 2025, "Straight to zero", arXiv 2502.15938]; below 1 the milestones share the
trunk's compute (warm-up, stable, decay) [Hu et al. 2024, MiniCPM, arXiv 2404.06395].
"""

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from ptpp.errors import InputError, Interrupted
from ptpp.jobs.progress import NO_WATCH, Progress, Watch
from ptpp.models.backend import Backend
from ptpp.training.data import Mixture
from ptpp.training.events import Events
from ptpp.training.schedule import Milestone, Settings, sequences_done, sequences_trained
from ptpp.training.state import StateFolder

log = logging.getLogger("ptpp")


class Diverged(InputError):
    """Training left the rails; the message names the cell. Such a run never enters a table."""


@dataclass
class Curve:
    """Mean training loss over windows whose length grows with the run, on the trunk alone."""

    points: list[tuple[int, float]] = field(default_factory=list)  # (sequences seen, nats)
    total: float = 0.0
    sequences: int = 0

    def add(self, position: int, batch: int, loss: float) -> None:
        self.total += loss * batch
        self.sequences += batch
        if self.sequences >= 0.05 * position:
            self.points.append((position, self.total / self.sequences))
            self.total, self.sequences = 0.0, 0


def rate_multiplier(position: int, settings: Settings, milestone: Milestone | None) -> float:
    """Learning-rate multiplier of the step that starts at `position`; no milestone: the trunk."""
    warm = min(1.0, (position + settings.batch) / max(settings.warmup, settings.batch))
    if milestone is None:
        return warm
    return warm * (milestone.end - position) / (milestone.end - milestone.branch)


def train(
    backend: Backend,
    mixture: Mixture,
    settings: Settings,
    milestones: Sequence[Milestone],
    at_milestone: Callable[[Milestone], dict],
    state: StateFolder,
    what: str,
    start: int = 0,
    save_every_s: float = 30.0,
    stopping: Callable[[], bool] = lambda: False,
    look_every: int | None = None,
    watch: Watch = NO_WATCH,
) -> tuple[list[dict], Curve]:
    """Train from `start` (sequences) through every milestone, in ascending order.

    `at_milestone` is called at the end of each decay and returns a JSON-able record. On return the
    model stands on the trunk at the last branch point. Saved state is picked up when it belongs to
    this run; a resumed run equals an uninterrupted one to the bit on a CPU. When `stopping` turns
    true the state is saved at the end of the step. Losses are looked at every `look_every` steps:
    1 on a CPU, 32 on a GPU, which would wait for each. A group of processes takes the same steps
    together; its first one saves. `watch` is told how it goes. Raises Diverged when a loss is not
    finite, Interrupted after such a stop.
    """
    context, device = backend.context, backend.device
    records: list[dict] = []
    curve = Curve()
    position, branching, trunk = start, False, {}
    restored = state.load()
    if restored:
        tensors, meta = restored
        backend.restore(tensors, "now")
        trunk = {name: tensor for name, tensor in tensors.items() if name.startswith("trunk.")}
        records, position, branching = meta["records"], meta["position"], meta["branching"]
        curve = Curve([tuple(point) for point in meta["points"]], *meta["window"])
        log.info("%s: goes on from its saved state (%d sequences)", what, position)
    done = sequences_done(milestones, start, len(records), position, branching)
    total = sequences_trained(milestones, start)
    progress = Progress(what, total * context, done * context, watch=watch)
    events = Events(watch, context, total)
    events.begin(milestones, records, position, branching, bool(restored))
    saved = time.monotonic()
    waiting: list[tuple[int, int, torch.Tensor, float]] = []  # losses not looked at yet
    patience = look_every or (1 if device.type == "cpu" else 32)

    def look() -> None:
        for before, after, tensor, rate in waiting:
            loss = tensor.item()
            if not math.isfinite(loss):
                raise Diverged(
                    f"{what}: loss is {loss} after {after * context} tokens; "
                    "lower the learning rate or lengthen the warm-up"
                )
            if not branching or milestone.branch == 0:  # without a trunk the decay is the curve
                curve.add(after, after - before, loss)
            progress.advance((after - before) * context, loss)
            events.step(milestone if branching else None, before, after, loss, rate)
        waiting.clear()

    def save() -> None:
        look()
        meta = {
            "records": records,
            "position": position,
            "branching": branching,
            "points": curve.points,
            "window": (curve.total, curve.sequences),
        }
        state.save(backend.whole(backend.state("now") | trunk), meta)

    while len(records) < len(milestones):
        milestone = milestones[len(records)]
        stop = milestone.end if branching else milestone.branch
        while position < stop:
            upto = min((position // settings.batch + 1) * settings.batch, stop)
            multiplier = rate_multiplier(position, settings, milestone if branching else None)
            blocks = torch.from_numpy(mixture.batch(position, upto)).to(device)
            loss = backend.gradients(blocks)
            backend.step(settings, multiplier)
            waiting.append((position, upto, loss, multiplier))
            position = upto
            if len(waiting) >= patience:
                look()
            due = time.monotonic() - saved > save_every_s
            asked, due = backend.group.any(stopping(), due)
            if asked:
                save()
                raise Interrupted(f"{what}: asked to stop; saved after {position} sequences")
            if due:
                save()
                saved = time.monotonic()
        look()
        if not branching:
            trunk, branching = backend.state("trunk"), True
        else:
            records.append(at_milestone(milestone))
            events.milestone(milestone, records[-1])
            backend.restore(trunk, "trunk")
            trunk, branching, position = {}, False, max(milestone.branch, start)
    events.close()
    return records, curve
