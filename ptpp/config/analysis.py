"""Keys about laws and plans: what is held out, what is fitted, what is planned."""

from typing import Annotated, Literal

from pydantic import Field

from ptpp.config.fields import (
    DISTINCT,
    BelowOne,
    Count,
    Name,
    Number,
    Positive,
    Section,
    Seed,
    Share,
)
from ptpp.errors import InputError

Protocol = Literal["early_to_late", "with_anchors"]
TargetLaw = Literal[
    "dcpt",
    "floor",
    "gated",
    "gated_floor",
    "exponent_gate",
    "transfer_offset",
    "saturating_gate",
    "checkpoint_informed",
]
DeclaredLaw = Annotated[str, Field(pattern="^(.*/)?[A-Za-z0-9][A-Za-z0-9_-]{0,40}[.]ya?ml$")]


class Anchors(Section):
    """Measured cells of the held-out stage which the protocol with_anchors may see."""

    count: Count
    sizes: Annotated[list[Name], Field(min_length=1), DISTINCT] | None = None
    """null: every size but the largest."""
    seed: Seed = 0


class HeldOut(Section):
    """The stage that laws must predict."""

    ptpp: Positive | None
    """null: measure only, no laws."""
    anchors: Anchors


class AnchorSweep(Section):
    """How many anchors are worth it, and which."""

    counts: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1), DISTINCT]
    choices: Annotated[
        list[Literal["spread", "random", "v_optimal"]], Field(min_length=1), DISTINCT
    ]
    repeats: Count
    """Of the random choice."""


class Laws(Section):
    """What is fitted, and how."""

    target: Annotated[list[TargetLaw], Field(min_length=1), DISTINCT]
    """Laws of the target loss."""
    declared: Annotated[list[DeclaredLaw], DISTINCT] = Field(default_factory=list)
    """Paths of laws in YAML (docs/laws.md), named like their files."""
    base: Annotated[list[Literal["forgetting"]], DISTINCT]
    """Laws of the base domains' forgetting: one fit per base domain."""
    protocols: Annotated[list[Protocol], Field(min_length=1), DISTINCT]
    cross_validation: Annotated[
        list[Literal["leave_one_stage_out", "leave_largest_size_out"]], DISTINCT
    ]
    huber_delta: Positive
    """On log residuals."""
    starts: Count
    """Starting points of every fit."""
    seed: Seed
    bootstrap: Count
    """Refits to resampled runs, behind every interval."""
    anchor_sweep: AnchorSweep


class Plan(Section):
    """The adaptation to be planned, and its limits."""

    law: Name
    """plan.csv holds every law's plan; this one's is drawn."""
    protocol: Name
    n_params: Positive
    ptpp: Positive
    base_loss: Positive | None = None
    """The checkpoint's mean base-domain loss before adaptation [nats per token], for laws that read
    it; null: measured, where the table has that checkpoint, or forecast."""
    target_loss: Positive | None = None
    """Nats per token; null: within target_within of the best reachable."""
    target_within: Positive
    """Nats per token."""
    forgetting: dict[Name, Number]
    """Most base-domain loss that may be given up, nats per token."""
    min_atpp: Positive
    """Below the sweep's least ATPP nothing was measured."""
    max_atpp: Positive
    max_replay: BelowOne
    """Largest replay ratio considered, below 1."""
    max_flops: Positive | None = None
    """FLOPs; null: no limit."""
    from_scratch: str | None = None
    """Path of a table of runs from scratch (n_params, adapt_tokens, loss), if any."""
    confidence: Share
    """Share of bootstrap draws in which a robust plan meets all limits."""


def check_plan(plan: Plan, laws: list[str], protocols: list[str], base: list[str]) -> None:
    """The plan's law and protocol are fitted, and its limits are possible."""
    for domain in plan.forgetting:
        if domain not in base:
            raise InputError(
                f"config: plan.forgetting: {domain!r} is no base language; "
                f"accepted: {', '.join(base)}"
            )
    if plan.min_atpp >= plan.max_atpp:
        raise InputError(
            f"config: plan.min_atpp: {plan.min_atpp:g} must be below max_atpp {plan.max_atpp:g}"
        )
    for key, value, accepted in (
        ("law", plan.law, laws),
        ("protocol", plan.protocol, protocols),
    ):
        if value not in accepted:
            raise InputError(
                f"config: plan.{key}: found {value!r}; accepted: {', '.join(accepted)}"
            )
