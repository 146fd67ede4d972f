"""A GPT-2's parameters, gradients and AdamW moments, each as one flat tensor with named views.

Flat storage makes clipping, the optimiser's step, saving and branching a handful of calls instead
of one per parameter. Names and layouts are those of `transformers.GPT2LMHeadModel`.
"""

import math
from collections.abc import Iterator, Mapping, Sequence

import torch

from ptpp.models.sizes import Shape


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


def group_of(name: str, size: Sequence[int]) -> str:
    """Which of GROUPS a parameter learns with: muP scales the rate of hidden matrices alone."""
    if len(size) == 1:
        return "vectors"
    return "embeddings" if name in ("wte.weight", "wpe.weight") else "hidden"


class Weights:
    """Parameters (`flat`), their `gradient` and AdamW's moments, in the same flat layout.

    `parameters` and `gradients` map names to views; `places` and `groups` map a name or a group to
    its slice of the flat tensors; `steps` counts the optimiser's steps.
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
        self.places: dict[str, slice] = {}
        self.parameters: dict[str, torch.Tensor] = {}
        self.gradients: dict[str, torch.Tensor] = {}
        self.groups: dict[str, slice] = {}
        offset = 0
        for group, names in grouped.items():
            start = offset
            for name in names:
                self.places[name] = slice(offset, offset + math.prod(sizes[name]))
                self.parameters[name] = self.flat[self.places[name]].view(sizes[name])
                self.gradients[name] = self.gradient[self.places[name]].view(sizes[name])
                offset = self.places[name].stop
            self.groups[group] = slice(start, offset)

    @property
    def device(self) -> torch.device:
        return self.flat.device

    def state(self, label: str) -> dict[str, torch.Tensor]:
        """Parameters, moments and step count as tensors named under `label`, copied.

        Names are those of parameters, with "first." or "second." before them for moments, and
        "steps", so that every way to train the model can go on from it.
        """
        kept = {}
        for part, flat in (("", self.flat), ("first.", self.first), ("second.", self.second)):
            copied = flat.clone()
            for name, place in self.places.items():
                kept[f"{label}.{part}{name}"] = copied[place].view_as(self.parameters[name])
        return kept | {f"{label}.steps": torch.tensor(float(self.steps))}

    def restore(self, tensors: Mapping[str, torch.Tensor], label: str) -> None:
        """Put back what `state` took, bit for bit."""
        for part, flat in (("", self.flat), ("first.", self.first), ("second.", self.second)):
            for name, place in self.places.items():
                tensor = tensors[f"{label}.{part}{name}"]
                flat[place].view_as(self.parameters[name]).copy_(tensor)
        self.steps = int(tensors[f"{label}.steps"])


def initial_tensors(
    shape: Shape, seed: int, embedding_std: float = 0.02
) -> Iterator[tuple[str, torch.Tensor]]:
    """Seeded GPT-2 initialisation with hidden matrices at 1/sqrt(fan-in), as muP asks.

    Residual projections are further divided by sqrt(2 depth) [Radford et al. 2019, GPT-2]. Every
    parameter comes with its name, drawn on the CPU, the same for every device.
    """
    generator = torch.Generator().manual_seed(seed)
    residual = 1 / math.sqrt(2 * shape.depth)
    for name, size in parameter_shapes(shape).items():
        kind = group_of(name, size)
        if kind == "vectors":  # norms start at one and biases at zero
            yield name, torch.ones(size) if name.endswith("weight") else torch.zeros(size)
            continue
        std = embedding_std
        if kind == "hidden":
            std = size[0] ** -0.5 * (residual if "c_proj" in name else 1.0)
        yield name, torch.empty(size).normal_(0.0, std, generator=generator)


def initialise(weights: Weights, seed: int) -> None:
    """Fill the parameters with `initial_tensors`."""
    for name, tensor in initial_tensors(weights.shape, seed):
        weights.parameters[name].copy_(tensor)
