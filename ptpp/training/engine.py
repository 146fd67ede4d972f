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

from ptpp.errors import InputError
from ptpp.progress import Progress
from ptpp.training.data import Mixture
from ptpp.training.model import GPT2, is_hidden_matrix
from ptpp.training.state import StateFolder, pack, unpack

log = logging.getLogger("ptpp")


class Diverged(InputError):
    """Training left the rails; the message names the cell. Such a run never enters a table."""


@dataclass(frozen=True)
class Settings:
    """What the optimiser does, in sequences; learning rates hold at `base_width`."""

    learning_rate: float
    base_width: int
    batch: int  # sequences a step
    warmup: int  # sequences
    decay_fraction: float
    weight_decay: float = 0.1
    betas: tuple[float, float] = (0.9, 0.95)
    clip: float = 1.0


@dataclass(frozen=True)
class Milestone:
    """A budget at which the decayed model is looked at, in tokens per parameter and sequences."""

    budget: float
    branch: int
    end: int

    @classmethod
    def at(cls, budget: float, n_params: int, context: int, settings: Settings) -> "Milestone":
        """The milestone after `budget` tokens per parameter, decay included."""
        end = max(1, round(budget * n_params / context))
        # Whole batches, so that a branch point never changes the trunk that passes through it.
        stable = math.floor((1 - settings.decay_fraction) * end / settings.batch)
        return cls(budget, stable * settings.batch, end)


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


def make_optimiser(model: GPT2, settings: Settings) -> torch.optim.AdamW:
    """AdamW with muP-like groups: hidden matrices learn at rate * base_width / width.

    The transfer rule follows muP for Adam [Yang et al. 2022, arXiv 2203.03466]; only matrices
    decay.
    """
    hidden, embeddings, vectors = [], [], []
    for name, parameter in model.named_parameters():
        if is_hidden_matrix(name, parameter):
            hidden.append(parameter)
        else:
            (embeddings if parameter.ndim == 2 else vectors).append(parameter)
    scale = settings.base_width / model.shape.width
    groups = [
        {"params": hidden, "scale": scale, "weight_decay": settings.weight_decay / scale},
        {"params": embeddings, "scale": 1.0, "weight_decay": settings.weight_decay},
        {"params": vectors, "scale": 1.0, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=settings.betas, fused=True)


def rate_multiplier(position: int, settings: Settings, milestone: Milestone | None) -> float:
    """Learning-rate multiplier of the step that starts at `position`; no milestone: the trunk."""
    warm = min(1.0, (position + settings.batch) / max(settings.warmup, settings.batch))
    if milestone is None:
        return warm
    return warm * (milestone.end - position) / (milestone.end - milestone.branch)


def train(
    model: GPT2,
    optimiser: torch.optim.Optimizer,
    mixture: Mixture,
    settings: Settings,
    milestones: Sequence[Milestone],
    at_milestone: Callable[[Milestone], dict],
    state: StateFolder,
    what: str,
    start: int = 0,
    save_every_s: float = 30.0,
) -> tuple[list[dict], Curve]:
    """Train from `start` (sequences) through every milestone, in ascending order.

    `at_milestone` sees the model at the end of each decay and returns a JSON-able record. On
    return model and optimiser stand on the trunk at the last branch point. Saved state is picked
    up when it belongs to this run; a resumed run equals an uninterrupted one to the bit on a CPU.
    Raises Diverged when a loss is not finite.
    """
    records: list[dict] = []
    curve = Curve()
    position, branching, trunk = start, False, {}
    restored = state.load()
    if restored:
        tensors, meta = restored
        unpack(tensors, model, optimiser, "now")
        trunk = {name: tensor for name, tensor in tensors.items() if name.startswith("trunk.")}
        records, position, branching = meta["records"], meta["position"], meta["branching"]
        curve = Curve([tuple(point) for point in meta["points"]], *meta["window"])
        log.info("%s: goes on from its saved state (%d sequences)", what, position)
    context = model.shape.context
    device = model.wte.weight.device
    done = _sequences_done(milestones, start, len(records), position, branching)
    total = _sequences_done(milestones, start, len(milestones), 0, False)
    progress = Progress(what, total * context, done * context)
    saved = time.monotonic()

    def save() -> None:
        meta = {
            "records": records,
            "position": position,
            "branching": branching,
            "points": curve.points,
            "window": (curve.total, curve.sequences),
        }
        state.save(pack(model, optimiser, "now") | trunk, meta)

    model.train()
    while len(records) < len(milestones):
        milestone = milestones[len(records)]
        stop = milestone.end if branching else milestone.branch
        while position < stop:
            upto = min((position // settings.batch + 1) * settings.batch, stop)
            multiplier = rate_multiplier(position, settings, milestone if branching else None)
            blocks = torch.from_numpy(mixture.batch(position, upto)).to(device)
            loss = _step(model, optimiser, blocks, settings, multiplier)
            if not math.isfinite(loss):
                raise Diverged(
                    f"{what}: loss is {loss} after {upto * context} tokens; "
                    "lower the learning rate or lengthen the warm-up"
                )
            if not branching or milestone.branch == 0:  # without a trunk the decay is the curve
                curve.add(upto, upto - position, loss)
            progress.advance((upto - position) * context, loss)
            position = upto
            if time.monotonic() - saved > save_every_s:
                save()
                saved = time.monotonic()
        if not branching:
            trunk, branching = pack(model, optimiser, "trunk"), True
        else:
            records.append(at_milestone(milestone))
            unpack(trunk, model, optimiser, "trunk")
            trunk, branching, position = {}, False, max(milestone.branch, start)
    return records, curve


def _step(model, optimiser, blocks, settings: Settings, multiplier: float) -> float:
    for group in optimiser.param_groups:
        group["lr"] = settings.learning_rate * group["scale"] * multiplier
    loss = model.loss(blocks)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip, foreach=True)
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    return loss.item()


def _sequences_done(
    milestones: Sequence[Milestone], start: int, finished: int, position: int, branching: bool
) -> int:
    """Sequences trained so far, trunk and branches, for the progress line."""
    trunk = max([start] + [m.branch for m in milestones[:finished]])
    decays = sum(m.end - m.branch for m in milestones[:finished])
    if finished < len(milestones):
        if branching:
            branch = max(trunk, milestones[finished].branch)
            return branch - start + decays + position - branch
        trunk = max(trunk, position)
    return trunk - start + decays
