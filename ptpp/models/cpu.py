"""GPT-2 on a CPU: parameters in one flat tensor, forward and backward passes written out by hand.

Models this small spend most of a step outside matrix products: in autograd's bookkeeping, in fresh
memory for every intermediate, and in functions that are slow for no need. Here every intermediate
has its place from the start, and what is not needed is not computed (docs/performance.md has the
measurements). Everything runs in the weights' own dtype, float32 in training.
"""

import math
from collections.abc import Iterator
from pathlib import Path

import torch

from ptpp.models.backend import GROUPS, Backend, adamw, clipping, group_of, group_settings
from ptpp.models.checkpoint import check_digests, read_parameters, read_shape
from ptpp.models.sizes import Shape
from ptpp.training.schedule import Settings

aten = torch.ops.aten
EPSILON = 1e-5  # of layer norms, GPT-2's
EMBEDDING_STD = 0.02  # when it is drawn, GPT-2's


def use_fast_float32() -> None:
    """Let oneDNN multiply float32 matrices where that is faster and as exact.

    torch multiplies float32 matrices on a CPU by MKL, which on AMD runs at half the speed of its
    registers. The switch that selects oneDNN instead is named for bfloat16 and does round to it on
    CPUs with AMX, so a product is compared with float64 first.
    """
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(size, generator=generator) for size in ((256, 192), (192, 64)))
    exact = left.double() @ right.double()
    torch.backends.mkldnn.matmul.fp32_precision = "bf16"
    error = ((left @ right).double() - exact).abs().max() / exact.abs().max()
    if error >= 1e-6:
        torch.backends.mkldnn.matmul.fp32_precision = "none"


def parameter_shapes(shape: Shape) -> dict[str, tuple[int, ...]]:
    """Every parameter by its Hugging Face name (without "transformer."), sorted by name."""
    d = shape.width
    block = {"ln_1": (d,), "attn.c_attn": (d, 3 * d), "attn.c_proj": (d, d)}
    block |= {"ln_2": (d,), "mlp.c_fc": (d, 4 * d), "mlp.c_proj": (4 * d, d)}
    layers = {f"h.{k}.{name}": size for k in range(shape.depth) for name, size in block.items()}
    shapes = {"wte.weight": (shape.vocab_size, d), "wpe.weight": (shape.context, d)}
    for name, size in {**layers, "ln_f": (d,)}.items():
        shapes |= {f"{name}.weight": size, f"{name}.bias": size[-1:]}
    return dict(sorted(shapes.items()))


class Weights:
    """Parameters (`flat`), their `gradient` and AdamW's moments, in the same flat layout.

    Flat storage makes clipping and the optimiser's step a handful of calls instead of one per
    parameter. `parameters` and `gradients` map names to views; `groups` maps a group to its slice.
    """

    def __init__(self, shape: Shape, dtype: torch.dtype = torch.float32):
        self.shape = shape
        self.flat = torch.zeros(shape.n_params, dtype=dtype)
        self.gradient, self.first, self.second = (torch.zeros_like(self.flat) for _ in range(3))
        self.sizes = parameter_shapes(shape)
        self.places: dict[str, slice] = {}
        self.groups: dict[str, slice] = {}
        offset = 0
        for group in GROUPS:
            start = offset
            for name, size in self.sizes.items():
                if group_of(name, size) == group:
                    self.places[name] = slice(offset, offset + math.prod(size))
                    offset = self.places[name].stop
            self.groups[group] = slice(start, offset)
        self.parameters, self.gradients = self.views(self.flat), self.views(self.gradient)

    def views(self, flat: torch.Tensor) -> dict[str, torch.Tensor]:
        """The parts of a flat tensor by the names of parameters."""
        return {name: flat[place].view(self.sizes[name]) for name, place in self.places.items()}


def initial_tensors(shape: Shape, seed: int) -> Iterator[tuple[str, torch.Tensor]]:
    """Seeded GPT-2 initialisation with hidden matrices at 1/sqrt(fan-in), as muP asks.

    Residual projections are further divided by sqrt(2 depth) [Radford et al. 2019, GPT-2]. Every
    parameter comes with its name, drawn on the CPU, the same for every device.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, size in parameter_shapes(shape).items():
        group, std = group_of(name, size), EMBEDDING_STD
        if group == "vectors":  # norms start at one and biases at zero
            yield name, torch.ones(size) if name.endswith("weight") else torch.zeros(size)
            continue
        if group == "hidden":
            residual = 1 / math.sqrt(2 * shape.depth) if "c_proj" in name else 1.0
            std = size[0] ** -0.5 * residual
        yield name, torch.empty(size).normal_(0.0, std, generator=generator)


def initialise(weights: Weights, seed: int) -> None:
    for name, tensor in initial_tensors(weights.shape, seed):
        weights.parameters[name].copy_(tensor)


def load_checkpoint(directory: str | Path, expected: Shape | None = None) -> Weights:
    """Read a directory written by `save_checkpoint`, or by transformers for the same architecture.

    Raises InputError when a file is absent, is not what was written, or holds another architecture
    or not the expected shape.
    """
    check_digests(directory)
    weights = Weights(read_shape(directory, expected))
    for name, tensor in read_parameters(directory, weights.sizes).items():
        weights.parameters[name].copy_(tensor)
    return weights


class Layer:
    """Memory for what one block computes forward and needs again backward, and views of it."""

    def __init__(self, empty, batch: int, shape: Shape):
        n, d, length = batch * shape.context, shape.width, shape.context
        rows, size = batch * shape.heads, d // shape.heads  # rows of attention: sequences x heads
        self.qkv = empty(n, 3 * d)
        split = empty(3, rows, length, size)
        self.attention = empty(rows, length, length)
        self.mixed_heads = empty(rows, length, size)
        self.mixed = empty(n, d)
        self.after_attention = empty(n, d)
        self.fc = empty(n, 4 * d)
        self.activated = empty(n, 4 * d)
        self.out = empty(n, d)
        self.norm_1 = self.norm_2 = ()
        # The same memory under other shapes, made once: at small widths new views cost a tenth.
        self.qkv_by_head, self.split = by_head(self.qkv, split, batch, shape)
        self.mixed_by_head, self.mixed_split = by_head(self.mixed, self.mixed_heads, batch, shape)
        self.q, self.k, self.v = split
        self.q_t, self.k_t, self.v_t = split.mT
        self.attention_t = self.attention.mT
        self.mixed_t, self.activated_t = self.mixed.t(), self.activated.t()


def by_head(rows, heads, batch: int, shape: Shape):
    """Views of (n, k d) and (k, sequences x heads, length, d / heads) that can be copied across."""
    sizes = (batch, shape.context, -1, shape.heads, shape.width // shape.heads)
    by_row = rows.view(sizes).permute(2, 0, 3, 1, 4)
    return by_row, heads.view(by_row.shape)


class Arena:
    """Memory handed out in a fixed order, so that batches of every size share one allocation."""

    def __init__(self, dtype: torch.dtype):
        self.dtype = dtype
        self.pieces: list[torch.Tensor] = []
        self.place = 0

    def empty(self, *sizes: int) -> torch.Tensor:
        count = math.prod(sizes)
        if self.place == len(self.pieces):
            self.pieces.append(torch.empty(count, dtype=self.dtype))
        elif len(self.pieces[self.place]) < count:
            self.pieces[self.place] = torch.empty(count, dtype=self.dtype)
        self.place += 1
        return self.pieces[self.place - 1][:count].view(sizes)


class Buffers:
    """Memory for a batch of `batch` sequences."""

    def __init__(self, weights: Weights, batch: int, arena: Arena):
        shape = weights.shape
        n, d = batch * shape.context, shape.width
        heads = (batch * shape.heads, shape.context, d // shape.heads)
        arena.place, empty = 0, arena.empty

        self.embedded = empty(n, d)
        self.layers = [Layer(empty, batch, shape) for _ in range(shape.depth)]
        self.logits = empty(n, shape.vocab_size)
        self.logits_t = self.logits.t()
        self.norm_f = ()
        # Backward: gradients of the residual stream and of what feeds it.
        self.d_stream, self.d_normed, self.d_mixed = empty(n, d), empty(n, d), empty(n, d)
        self.d_activated, self.d_fc = empty(n, 4 * d), empty(n, 4 * d)
        self.d_qkv = empty(n, 3 * d)
        d_split = empty(3, *heads)
        self.d_mixed_heads = empty(*heads)
        self.d_attention = empty(heads[0], heads[1], heads[1])
        self.d_attention_t = self.d_attention.mT
        self.d_q, self.d_k, self.d_v = d_split
        self.d_qk = d_split[:2]
        self.d_qkv_by_head, self.d_split = by_head(self.d_qkv, d_split, batch, shape)
        self.d_mixed_by_head, self.d_mixed_split = by_head(
            self.d_mixed, self.d_mixed_heads, batch, shape
        )


class HandWritten(Backend):
    """Our GPT-2s on a CPU, in one process.

    micro_batch: sequences whose activations are held at once; None: the whole batch.
    """

    def __init__(self, weights: Weights, micro_batch: int | None = None):
        self.weights = weights
        self.micro_batch = micro_batch
        self.device, self.shape = torch.device("cpu"), weights.shape
        self.context, self.vocab_size = weights.shape.context, weights.shape.vocab_size
        self.parameters = weights.parameters
        self.first, self.second = weights.views(weights.first), weights.views(weights.second)
        self.steps = torch.zeros(())
        self.arena = Arena(weights.flat.dtype)
        self.buffers: dict[int, Buffers] = {}
        p, g = weights.parameters, weights.gradients
        self.transposed = {name: view.t() for name, view in p.items() if view.ndim == 2}
        self.blocks = [
            tuple(
                {name.removeprefix(h): view for name, view in views.items() if name.startswith(h)}
                for views in (p, g, self.transposed)
            )
            for h in (f"h.{layer}." for layer in range(weights.shape.depth))
        ]
        length = weights.shape.context
        future = torch.ones(length, length, dtype=torch.bool).triu(1)
        self.mask = torch.zeros(length, length, dtype=weights.flat.dtype)
        self.mask.masked_fill_(future, -math.inf)
        self.scale = (weights.shape.width // weights.shape.heads) ** -0.5

    def loss(self, tokens: torch.Tensor) -> float:
        """Mean next-token cross-entropy, nats."""
        buffers, _, targets = self._forward(tokens)
        logs = aten._log_softmax.out(buffers.logits, -1, False, out=buffers.logits)
        return -logs.gather(1, targets[:, None]).mean().item()

    def gradients(self, tokens: torch.Tensor) -> torch.Tensor:
        """Write the gradients of the mean loss into `weights.gradient`; returns the loss, nats."""
        if self.micro_batch is not None and len(tokens) > self.micro_batch:
            return self._gradients_in_parts(tokens)
        buffers, inputs, targets = self._forward(tokens)
        probabilities = aten._softmax.out(buffers.logits, -1, False, out=buffers.logits)
        chosen = probabilities.gather(1, targets[:, None])
        probabilities.scatter_(1, targets[:, None], chosen - 1)  # now the gradient of the logits
        self._backward(buffers, inputs)
        # A probability that underflows would make the loss infinite; the gradient is right anyway.
        return -chosen.clamp_min(torch.finfo(chosen.dtype).tiny).log().mean()

    def step(self, settings: Settings, multiplier: float) -> None:
        weights = self.weights
        norm = torch.linalg.vector_norm(weights.gradient)
        weights.gradient.mul_(clipping(norm, settings))
        self.steps += 1
        flats = (weights.flat, weights.gradient, weights.first, weights.second)
        for group, (rate, decay) in group_settings(settings, self.shape.width).items():
            tensors = [[flat[weights.groups[group]]] for flat in flats]
            adamw(tensors, self.steps, settings, rate * multiplier, decay)

    def read(self, checkpoint: str | Path) -> dict[str, torch.Tensor]:
        check_digests(checkpoint)
        return read_parameters(checkpoint, self.weights.sizes)

    def _gradients_in_parts(self, tokens: torch.Tensor) -> torch.Tensor:
        total, loss = torch.zeros_like(self.weights.gradient), 0.0
        for part in tokens.split(self.micro_batch):
            share = len(part) / len(tokens)
            loss = loss + share * self.gradients(part)
            total.add_(self.weights.gradient, alpha=share)
        self.weights.gradient.copy_(total)
        return loss

    def _forward(self, tokens: torch.Tensor):
        shape, p = self.weights.shape, self.weights.parameters
        batch, (length, d) = len(tokens), (shape.context, shape.width)
        if batch not in self.buffers:
            self.buffers[batch] = Buffers(self.weights, batch, self.arena)
        b = self.buffers[batch]
        inputs, targets = tokens[:, :-1].reshape(-1), tokens[:, 1:].reshape(-1)
        x = torch.index_select(p["wte.weight"], 0, inputs, out=b.embedded)
        x.view(batch, length, d).add_(p["wpe.weight"])
        for layer, (w, _, _) in zip(b.layers, self.blocks, strict=True):
            layer.norm_1 = _norm(x, w, "ln_1")
            _linear(layer.norm_1[0], w, "attn.c_attn", layer.qkv)
            layer.split.copy_(layer.qkv_by_head)
            scores = torch.bmm(layer.q, layer.k_t, out=layer.attention)
            torch.add(self.mask, scores, alpha=self.scale, out=scores)
            aten._softmax.out(scores, -1, False, out=scores)
            torch.bmm(scores, layer.v, out=layer.mixed_heads)
            layer.mixed_by_head.copy_(layer.mixed_split)
            x = _linear(layer.mixed, w, "attn.c_proj", layer.after_attention).add_(x)
            layer.norm_2 = _norm(x, w, "ln_2")
            _linear(layer.norm_2[0], w, "mlp.c_fc", layer.fc)
            aten.gelu.out(layer.fc, out=layer.activated)
            x = _linear(layer.activated, w, "mlp.c_proj", layer.out).add_(x)
        b.norm_f = _norm(x, p, "ln_f")
        torch.mm(b.norm_f[0], self.transposed["wte.weight"], out=b.logits)
        return b, inputs, targets

    def _backward(self, b: Buffers, inputs: torch.Tensor) -> None:
        shape, p, g = self.weights.shape, self.weights.parameters, self.weights.gradients
        length, d = shape.context, shape.width
        batch = len(inputs) // length
        # Logit gradients lack the 1/n of the mean; it enters with the first products.
        torch.mm(b.logits_t, b.norm_f[0], out=g["wte.weight"]).mul_(1 / len(inputs))
        torch.mm(b.logits, p["wte.weight"], out=b.d_normed).mul_(1 / len(inputs))
        dx = _norm_backward(b.d_normed, b.layers[-1].out, b.norm_f, p, g, "ln_f")
        b.d_stream.copy_(dx)
        dx = b.d_stream
        streams = [b.embedded] + [layer.out for layer in b.layers[:-1]]
        for layer, (w, dw, wt), x in zip(
            reversed(b.layers), reversed(self.blocks), reversed(streams), strict=True
        ):
            _linear_backward(dx, layer.activated_t, wt, dw, "mlp.c_proj", b.d_activated)
            aten.gelu_backward.grad_input(b.d_activated, layer.fc, grad_input=b.d_fc)
            _linear_backward(b.d_fc, layer.norm_2[0].t(), wt, dw, "mlp.c_fc", b.d_normed)
            dx.add_(_norm_backward(b.d_normed, layer.after_attention, layer.norm_2, w, dw, "ln_2"))
            _linear_backward(dx, layer.mixed_t, wt, dw, "attn.c_proj", b.d_mixed)
            b.d_mixed_split.copy_(b.d_mixed_by_head)
            torch.bmm(layer.attention_t, b.d_mixed_heads, out=b.d_v)
            torch.bmm(b.d_mixed_heads, layer.v_t, out=b.d_attention)
            aten._softmax_backward_data.out(
                b.d_attention, layer.attention, -1, b.logits.dtype, grad_input=b.d_attention
            )
            torch.bmm(b.d_attention, layer.k, out=b.d_q)
            torch.bmm(b.d_attention_t, layer.q, out=b.d_k)
            b.d_qk.mul_(self.scale)
            b.d_qkv_by_head.copy_(b.d_split)
            _linear_backward(b.d_qkv, layer.norm_1[0].t(), wt, dw, "attn.c_attn", b.d_normed)
            dx.add_(_norm_backward(b.d_normed, x, layer.norm_1, w, dw, "ln_1"))
        g["wte.weight"].index_add_(0, inputs, dx)
        torch.sum(dx.view(batch, length, d), 0, out=g["wpe.weight"])


def _linear(x, parameters, name: str, out):
    """x (n, d) through a linear layer, into `out`."""
    return torch.addmm(parameters[f"{name}.bias"], x, parameters[f"{name}.weight"], out=out)


def _linear_backward(upstream, x_t, transposed, gradients, name: str, out) -> None:
    """Gradient of a linear layer's input into `out`; its parameters' go to their places."""
    torch.mm(x_t, upstream, out=gradients[f"{name}.weight"])
    torch.sum(upstream, 0, out=gradients[f"{name}.bias"])
    torch.mm(upstream, transposed[f"{name}.weight"], out=out)


def _norm(x, parameters, name: str):
    """Layer norm of x (n, d): its output, mean and reciprocal deviation."""
    weight, bias = parameters[f"{name}.weight"], parameters[f"{name}.bias"]
    return aten.native_layer_norm(x, weight.shape, weight, bias, EPSILON)


def _norm_backward(upstream, x, normed, parameters, gradients, name: str):
    """Gradient of a layer norm's input; its parameters' gradients go to their places."""
    weight, bias = parameters[f"{name}.weight"], parameters[f"{name}.bias"]
    dx, dw, db = aten.native_layer_norm_backward(
        upstream, x, weight.shape, normed[1], normed[2], weight, bias, [True, True, True]
    )
    gradients[f"{name}.weight"].copy_(dw)
    gradients[f"{name}.bias"].copy_(db)
    return dx
