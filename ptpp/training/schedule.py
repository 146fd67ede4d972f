"""What a run is to do, counted in sequences: settings, milestones, tokens in all. No torch here."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


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

    @classmethod
    def of(cls, optimiser: Mapping, batch_tokens: int, n_params: int, context: int) -> "Settings":
        """From a `pretraining` or `adaptation` section: `warmup` is in tokens per parameter."""
        return cls(
            learning_rate=optimiser["learning_rate"],
            base_width=optimiser["base_width"],
            batch=batch_tokens // context,
            warmup=round(optimiser["warmup"] * n_params / context),
            decay_fraction=optimiser["decay_fraction"] if optimiser["schedule"] == "wsd" else 1.0,
            weight_decay=optimiser["weight_decay"],
            betas=tuple(optimiser["betas"]),
            clip=optimiser["clip"],
        )


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


def sequences_trained(milestones: Sequence[Milestone], start: int = 0) -> int:
    """Sequences that training from `start` through all milestones takes, branches included."""
    return sequences_done(milestones, start, len(milestones), 0, False)


def sequences_done(
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
