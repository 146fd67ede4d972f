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
        same = ("learning_rate", "base_width", "weight_decay", "clip")
        return cls(
            **{name: optimiser[name] for name in same},
            batch=batch_tokens // context,
            warmup=round(optimiser["warmup"] * n_params / context),
            decay_fraction=optimiser["decay_fraction"] if optimiser["schedule"] == "wsd" else 1.0,
            betas=tuple(optimiser["betas"]),
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
    trunk = max(start, *(milestone.branch for milestone in milestones))
    return trunk - start + sum(milestone.end - milestone.branch for milestone in milestones)
