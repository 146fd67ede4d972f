"""Model sizes: how a width, a depth and a head count become parameters. No torch here."""

import typing
from collections.abc import Mapping
from dataclasses import dataclass

from ptpp.errors import InputError

COUNT_RULES = ("total", "non_embedding")


class Size:
    """What both kinds of size share."""

    def count(self, rule: str) -> int:
        """Parameters by the configured rule; this N defines PTPP and ATPP."""
        return self.n_params if rule == "total" else self.n_params_non_embedding


@dataclass(frozen=True)
class Shape(Size):
    """A GPT-2 decoder: tied embeddings, learned positions, MLP four times the width."""

    width: int
    depth: int
    heads: int
    context: int
    vocab_size: int

    def __post_init__(self):
        if self.width % self.heads:
            raise InputError(
                f"models.sizes: width {self.width} is not a multiple of heads {self.heads}"
            )

    @property
    def n_params(self) -> int:
        """All parameters, the tied token embedding counted once."""
        return self.n_params_non_embedding + (self.vocab_size + self.context) * self.width

    @property
    def n_params_non_embedding(self) -> int:
        """Parameters outside the token and position embeddings."""
        return self.depth * (12 * self.width**2 + 13 * self.width) + 2 * self.width

    @property
    def attention_flops_per_token(self) -> float:
        """12 depth x width x context, forward and backward, causal or not (PaLM, appendix B)."""
        return 12.0 * self.depth * self.width * self.context


@dataclass(frozen=True)
class ExternalSize(Size):
    """The counts of a model from elsewhere, whose shape is not known."""

    n_params: int  # all parameters, tied ones once
    n_params_non_embedding: int  # outside embeddings and the output layer
    context: int  # tokens, of the experiment: at most the model's own longest
    vocab_size: int
    attention_flops_per_token: typing.ClassVar[float] = 0.0  # not known, and left out


def shape_of(size: Mapping, context: int, vocab_size: int) -> Shape:
    """The shape of one entry of `models.sizes`."""
    return Shape(size["width"], size["depth"], size["heads"], context, vocab_size)


def training_flops(n_params: int, tokens: int) -> float:
    """6 N D, forward and backward, attention not counted (Kaplan et al. 2020, arXiv 2001.08361)."""
    return 6.0 * n_params * tokens
