"""Keys about training: pre-training, adaptation, and the price of both."""

from typing import Annotated, Literal

from pydantic import Field

from ptpp.config.fields import (
    DISTINCT,
    BelowOne,
    Betas,
    Count,
    Grid,
    NonNegative,
    Positive,
    Schedule,
    Section,
    Share,
)


class Pretraining(Section):
    """How models are pre-trained."""

    ptpp: Grid
    """Checkpoints, in pre-training tokens per parameter, ascending."""
    schedule: Schedule
    """wsd: one trunk, a decay per checkpoint; independent: a run per checkpoint."""
    decay_fraction: Share
    """wsd: share of each checkpoint's budget spent decaying to zero."""
    warmup: NonNegative
    """Tokens per parameter."""
    learning_rate: Positive
    """Of AdamW at base_width; hidden matrices scale with base_width / width."""
    base_width: Count
    weight_decay: NonNegative
    betas: Betas
    clip: Positive


class Adaptation(Section):
    """How checkpoints are adapted, and at which replay ratios and ATPP."""

    replay: Annotated[list[BelowOne], Field(min_length=1), DISTINCT]
    """Shares of CPT tokens drawn from the base mix."""
    controls: Annotated[list[Literal[1]], DISTINCT]
    """Measured beside the sweep: replay 1 shows what re-warming alone does."""
    atpp: Grid
    """Adaptation tokens per parameter, replay included, ascending."""
    schedule: Schedule
    decay_fraction: Share
    warmup: NonNegative
    """Tokens per parameter."""
    rewarm: Share
    """Peak rate, as a share of the pre-training rate."""
    weight_decay: NonNegative
    betas: Betas
    clip: Positive


class Cost(Section):
    """The device that `snakemake cost` estimates for (docs/cost.md)."""

    device: Literal["zen5_core", "a100", "h100", "h100_pcie", "h200"]
    utilisation: Share | None = None
    """Share of the device's peak that is reached; null: as in ptpp/cost/devices.py."""
