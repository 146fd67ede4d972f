"""Next-token losses of a transformers model, without all logits of a batch in memory at once.

Logits take 4 bytes for every token and entry of the vocabulary, and a loss holds three copies of
them. So the output layer and the loss run over a few tokens at a time, and again in the backward
pass (`torch.nn.functional.linear_cross_entropy`). That holds where logits are the output layer's
product with the last hidden states and nothing else; models that cap, scale or mask them compute
all of them, as transformers does.
"""

import logging

import torch
import torch.nn.functional as F
from torch import nn

log = logging.getLogger("ptpp")

LOGITS = {"cpu": 2**25, "cuda": 2**28}  # held at a time: 128 MB of float32, and 1 GB
_PROBED = 8  # tokens


class SequenceLosses(nn.Module):
    """A forward pass from blocks to losses.

    A module of its own, so that FSDP gathers the weight of the output layer, which is used outside
    that layer's forward pass.
    """

    def __init__(self, model: nn.Module, in_chunks: bool):
        super().__init__()
        self.model, self.in_chunks = model, in_chunks

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Mean loss (sequences,), nats, of blocks of ids (sequences, context + 1)."""
        given, targets = tokens[:, :-1], tokens[:, 1:].flatten()
        if self.in_chunks:
            losses = _chunked(self.model, given, targets)
        else:
            logits = _logits(self.model, given).float()
            losses = F.cross_entropy(logits.flatten(0, 1), targets, reduction="none")
        return losses.float().view(len(tokens), -1).mean(1)


@torch.no_grad()
def has_plain_head(model: nn.Module) -> bool:
    """Whether a model's logits are its output layer's product with its last hidden states.

    Tried on a few tokens, since there are many conventions, and more to come.
    """
    tokens = _random_tokens(model)
    logits = _logits(model, tokens)
    try:
        head = model.get_output_embeddings()
        product = F.linear(_hidden(model, tokens), head.weight, head.bias)
        plain = torch.allclose(product, logits, rtol=0.0, atol=1e-5 * logits.abs().max().item())
    except (AttributeError, RuntimeError, TypeError, ValueError):  # built in another way
        plain = False
    if not plain:
        log.info(
            "%s: its logits are not its output layer's alone, so all of them are held in memory",
            type(model).__name__,
        )
    return plain


@torch.no_grad()
def is_causal(model: nn.Module) -> bool:
    """Whether logits depend on earlier tokens alone: a new last token moves the last ones only."""
    tokens = _random_tokens(model)
    other = tokens.clone()
    other[:, -1] = (tokens[:, -1] + 1) % _vocabulary(model)
    moved = (_logits(model, tokens) - _logits(model, other)).abs().amax(-1)[0]
    # Rounding: experts may compute the same tokens in another order. NaN is for others to find.
    return not bool((moved[:-1] > 1e-3 * moved[-1]).any())


def _chunked(model: nn.Module, given: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    hidden, head = _hidden(model, given).flatten(0, 1), model.get_output_embeddings()
    device, dtype = hidden.device.type, head.weight.dtype
    if torch.is_autocast_enabled(device):  # which does not know this function
        dtype = torch.get_autocast_dtype(device)
    parts = [None if part is None else part.to(dtype) for part in (hidden, head.weight, head.bias)]
    return F.linear_cross_entropy(
        *parts[:2],
        targets,
        linear_bias=parts[2],
        reduction="none",
        options=nn.LinearCrossEntropyOptions(
            batch_chunk_size=max(1, LOGITS[device] // len(head.weight)), chunking_method=None
        ),
    )


def _hidden(model: nn.Module, given: torch.Tensor) -> torch.Tensor:
    return model.base_model(input_ids=given, use_cache=False)[0]


def _logits(model: nn.Module, given: torch.Tensor) -> torch.Tensor:
    return model(input_ids=given, use_cache=False).logits


def _random_tokens(model: nn.Module) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(_vocabulary(model), (1, _PROBED), generator=generator)


def _vocabulary(model: nn.Module) -> int:
    return model.config.get_text_config().vocab_size
