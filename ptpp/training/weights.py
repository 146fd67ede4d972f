"""A GPT-2's parameters, gradients and AdamW moments, each as one flat tensor with named views.

Flat storage makes clipping, the optimiser's step, saving and branching a handful of calls instead
of one per parameter. Names and layouts are those of `transformers.GPT2LMHeadModel`.
"""

import math
from collections.abc import Mapping

import torch

from ptpp.training.sizes import Shape


def parameter_shapes(shape: Shape) -> dict[str, tuple[int, ...]]:
    """Every parameter by its Hugging Face name (without "transformer."), sorted by name."""
    d = shape.width
    shapes = {
        "wte.weight": (shape.vocab_size, d),
        "wpe.weight": (shape.context, d),
        "ln_f.weight": (d,),
        "ln_f.bias": (d,),
    }
    for layer in range(shape.depth):
        block = {
            "ln_1.weight": (d,),
            "ln_1.bias": (d,),
            "attn.c_attn.weight": (d, 3 * d),
            "attn.c_attn.bias": (3 * d,),
            "attn.c_proj.weight": (d, d),
            "attn.c_proj.bias": (d,),
            "ln_2.weight": (d,),
            "ln_2.bias": (d,),
            "mlp.c_fc.weight": (d, 4 * d),
            "mlp.c_fc.bias": (4 * d,),
            "mlp.c_proj.weight": (4 * d, d),
            "mlp.c_proj.bias": (d,),
        }
        shapes |= {f"h.{layer}.{name}": size for name, size in block.items()}
    return dict(sorted(shapes.items()))


GROUPS = ("hidden", "embeddings", "vectors")


def group_of(name: str, size: tuple[int, ...]) -> str:
    """Which of GROUPS a parameter learns with: muP scales the rate of hidden matrices alone."""
    if len(size) == 1:
        return "vectors"
    return "embeddings" if name in ("wte.weight", "wpe.weight") else "hidden"


class Weights:
    """Parameters (`flat`), their `gradient` and AdamW's moments, in the same flat layout.

    `parameters` and `gradients` map names to views; `groups` maps a group to its slice of the flat
    tensors; `steps` counts the optimiser's steps.
    """

    def __init__(self, shape: Shape, device: str = "cpu", dtype: torch.dtype = torch.float32):
        self.shape = shape
        sizes = parameter_shapes(shape)
        grouped = {
            group: [name for name, size in sizes.items() if group_of(name, size) == group]
            for group in GROUPS
        }
        self.flat = torch.zeros(shape.n_params, device=device, dtype=dtype)
        self.gradient, self.first, self.second = (torch.zeros_like(self.flat) for _ in range(3))
        self.steps = 0
        self.parameters: dict[str, torch.Tensor] = {}
        self.gradients: dict[str, torch.Tensor] = {}
        self.groups: dict[str, slice] = {}
        offset = 0
        for group, names in grouped.items():
            start = offset
            for name in names:
                count = math.prod(sizes[name])
                for views, flat in (
                    (self.parameters, self.flat),
                    (self.gradients, self.gradient),
                ):
                    views[name] = flat[offset : offset + count].view(sizes[name])
                offset += count
            self.groups[group] = slice(start, offset)

    @property
    def device(self) -> torch.device:
        return self.flat.device

    def state(self, label: str) -> dict[str, torch.Tensor]:
        """Parameters, moments and step count as tensors named under `label`, copied."""
        steps = torch.tensor([self.steps])
        parts = {"flat": self.flat, "first": self.first, "second": self.second, "steps": steps}
        return {f"{label}.{name}": tensor.clone() for name, tensor in parts.items()}

    def restore(self, tensors: Mapping[str, torch.Tensor], label: str) -> None:
        """Put back what `state` took, bit for bit."""
        self.flat.copy_(tensors[f"{label}.flat"])
        self.first.copy_(tensors[f"{label}.first"])
        self.second.copy_(tensors[f"{label}.second"])
        self.steps = int(tensors[f"{label}.steps"])


def initialise(weights: Weights, seed: int, embedding_std: float = 0.02) -> None:
    """Seeded GPT-2 initialisation with hidden matrices at 1/sqrt(fan-in), as muP asks.

    Residual projections are further divided by sqrt(2 depth) [Radford et al. 2019, GPT-2]. The
    numbers are drawn on the CPU, the same for every device.
    """
    generator = torch.Generator().manual_seed(seed)
    residual = 1 / math.sqrt(2 * weights.shape.depth)
    weights.flat.zero_()
    for name, parameter in sorted(weights.parameters.items()):
        kind = group_of(name, tuple(parameter.shape))
        if kind == "vectors":
            if name.endswith("weight"):
                parameter.fill_(1.0)  # norms start at one and biases at zero
            continue
        std = embedding_std
        if kind == "hidden":
            std = parameter.shape[0] ** -0.5 * (residual if "c_proj" in name else 1.0)
        drawn = torch.empty(parameter.shape).normal_(0.0, std, generator=generator)
        parameter.copy_(drawn)
