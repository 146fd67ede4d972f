"""GPT-2 as a module over `Weights`, for devices where autograd and a compiler do best.

The CPU has its own hand-written passes (`cpu.py`); both are tested against transformers in
float64. transformers itself is left out of training: importing it costs seconds in every job.
"""

import torch
import torch.nn.functional as F
from torch import nn

from ptpp.models.weights import Weights


class GPT2(nn.Module):
    """`forward` takes token ids (batch, context + 1) and gives the mean next-token loss, nats."""

    def __init__(self, weights: Weights):
        super().__init__()
        self.shape = weights.shape
        for name, view in weights.parameters.items():
            parameter = nn.Parameter(view)
            parameter.grad = weights.gradients[name]
            self.register_parameter(name.replace(".", "_"), parameter)

    def part(self, name: str) -> torch.Tensor:
        return getattr(self, name.replace(".", "_"))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        inputs, targets = tokens[:, :-1], tokens[:, 1:]
        x = F.embedding(inputs, self.part("wte.weight")) + self.part("wpe.weight")
        for layer in range(self.shape.depth):
            x = x + self._attention(self._norm(x, f"h.{layer}.ln_1"), f"h.{layer}.attn")
            hidden = F.gelu(self._affine(self._norm(x, f"h.{layer}.ln_2"), f"h.{layer}.mlp.c_fc"))
            x = x + self._affine(hidden, f"h.{layer}.mlp.c_proj")
        logits = F.linear(self._norm(x, "ln_f"), self.part("wte.weight"))
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())

    def _attention(self, x, name: str):
        batch, length, width = x.shape
        packed = self._affine(x, f"{name}.c_attn").view(batch, length, 3, self.shape.heads, -1)
        q, k, v = packed.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self._affine(mixed.transpose(1, 2).reshape(batch, length, width), f"{name}.c_proj")

    def _affine(self, x, name: str):
        return F.linear(x, self.part(f"{name}.weight").t(), self.part(f"{name}.bias"))

    def _norm(self, x, name: str):
        return F.layer_norm(x, x.shape[-1:], self.part(f"{name}.weight"), self.part(f"{name}.bias"))


class Autograd:
    """Loss and gradients of `weights` by autograd, the same two calls as the CPU's passes.

    `compiled` runs the module through torch.compile; on a GPU products are in bfloat16
    (autocast), weights and everything else stay float32.
    """

    def __init__(self, weights: Weights, compiled: bool = False):
        self.weights = weights
        self.module = GPT2(weights)
        self.run = torch.compile(self.module, dynamic=False) if compiled else self.module
        self.full = 0

    @torch.no_grad()
    def loss(self, tokens: torch.Tensor) -> float:
        """Mean next-token cross-entropy, nats; float32 throughout."""
        return self.module(tokens).item()

    def gradients(self, tokens: torch.Tensor) -> torch.Tensor:
        """Write the gradients of the mean loss into `weights.gradient`; returns the loss, nats."""
        self.weights.gradient.zero_()
        # Only whole batches are compiled; the few partial ones would each compile anew.
        self.full = max(self.full, len(tokens))
        run = self.run if len(tokens) == self.full else self.module
        on_gpu = self.weights.device.type == "cuda"
        with torch.autocast("cuda", torch.bfloat16, enabled=on_gpu):
            loss = run(tokens)
        loss.backward()
        return loss.detach()
