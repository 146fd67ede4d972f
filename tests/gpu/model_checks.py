"""Checks of models on one device: numbers, waits, memory, speed, and models from elsewhere."""

import gc
import math
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from checking import SETTINGS, Setup, check, measure_speed, predictable_blocks, skip
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from ptpp.errors import InputError
from ptpp.models.backend import Backend, Placement, start_model
from ptpp.models.huggingface import Module, start_module
from ptpp.models.memory import activation_bytes, training_bytes
from ptpp.models.sizes import ExternalSize, Shape
from ptpp.models.stack import Stack
from ptpp.training.data import BlockOrder, Mixture
from ptpp.training.engine import Task, Trajectory, train
from ptpp.training.feeding import send
from ptpp.training.schedule import Milestone
from ptpp.training.state import StateFolder

TINY = Shape(width=16, depth=2, heads=2, context=16, vocab_size=64)
# Width, depth, heads, context, vocabulary; tokens of a step, and at once.
SIZES = {
    "gpu.yaml w64": (Shape(64, 4, 2, 256, 2_048), 8_192, 8_192),
    "gpu.yaml w192": (Shape(192, 4, 6, 256, 2_048), 16_384, 16_384),
    "paper.yaml w512": (Shape(512, 8, 8, 2_048, 65_536), 131_072, 32_768),
    "paper.yaml w768": (Shape(768, 12, 12, 2_048, 65_536), 131_072, 32_768),
    "paper.yaml w1280": (Shape(1_280, 20, 20, 2_048, 65_536), 65_536, 16_384),
}
TINY_SIZES = {"tiny": (TINY, 128, 64)}
FAMILIES = ("gpt_neox", "llama", "qwen2", "qwen3", "gemma2", "gemma3_text", "olmo2", "mistral")


def numerics(setup: Setup) -> Iterator[dict]:
    """The same model on a CPU, by hand, and on the device, by transformers."""
    shape = TINY if setup.small else Shape(128, 4, 4, 256, 2_048)
    host, device = start_model(shape, 0), start_module(shape, 0, Placement(setup.device))
    batches = [predictable_blocks(shape, SETTINGS.batch, seed) for seed in range(4)]
    there = [batch.to(setup.device) for batch in batches]
    ours, theirs = host.loss(batches[0]), device.loss(there[0])
    yield check("evaluation is float32 on both", abs(ours - theirs) < 2e-5, cpu=ours, device=theirs)

    host.gradients(batches[0])
    device.gradients(there[0])
    expected, found = _flat_gradients(host), _flat_gradients(device)
    error = ((found - expected).norm() / expected.norm()).item()
    yield check("gradients in bfloat16 are those in float32", error < 3e-2, relative_error=error)

    for name, gradient in host.weights.gradients.items():  # the same ones, for the optimiser
        device.parameters[name].grad = gradient.to(setup.device)
    for backend in (host, device):
        backend.step(SETTINGS, 0.5)
    moved = max(
        (each - device.parameters[name].cpu()).abs().max().item()
        for name, each in host.parameters.items()
    )
    yield check("a step of AdamW is the same on both", moved < 1e-6, difference=moved)

    steps = 4 if setup.small else 200
    backends = {"cpu": start_model(shape, 0)}
    for name, choice in (
        ("device", {}),
        ("device, not compiled", {"compiles": False}),
        ("device, not recorded", {"records": False}),
    ):
        backends[name] = start_module(shape, 0, Placement(setup.device, **choice))
    curves = {
        name: train_steps(backend, batches if name == "cpu" else there, steps)
        for name, backend in backends.items()
    }
    apart = max(abs(curve[-1] - curves["cpu"][-1]) for curve in curves.values())
    last = {name: curve[-1] for name, curve in curves.items()}
    yield check("a short training ends alike", apart < 0.05, steps=steps, **last)
    yield compiled_check("a GPT-2 of ours is compiled", setup, backends["device"])
    recorded = backends["device"].recorded
    ok = recorded is None if not setup.on_gpu else recorded.is_recorded and not recorded.fails
    yield check("steps of a small GPT-2 of ours are recorded", ok)
    again = train_steps(start_module(shape, 0, device_of(setup)), there, steps)
    yield check("trained twice", True, same_bits=again == curves["device"])


def compiled_check(name: str, setup: Setup, backend: Module) -> dict:
    """Whether layers were compiled by default, as they are on a GPU only, and without an error."""
    if not setup.on_gpu:
        return check(name, backend.compiled is None, skipped="only a GPU shows this")
    return check(name, not backend.compiled.fails and backend.compiled.is_proven)


def device_of(setup: Setup) -> Placement:
    """Where the workflow would hold a model."""
    return Placement(setup.device)


def train_steps(backend: Backend, batches: Sequence[torch.Tensor], steps: int) -> list[float]:
    """Losses of so many steps over `batches`, in turn."""
    losses = []
    for k in range(steps):
        losses.append(backend.gradients(batches[k % len(batches)]))
        backend.step(SETTINGS, 1.0)
    return torch.stack(losses).tolist()


def _flat_gradients(backend: Backend) -> torch.Tensor:
    if isinstance(backend, Module):
        named = {name: each.grad for name, each in backend.parameters.items()}
    else:
        named = backend.weights.gradients
    return torch.cat([named[name].cpu().flatten() for name in sorted(named)])


def sync(setup: Setup) -> Iterator[dict]:
    """Calls of a training step that wait for the device, and where they are."""
    shape = TINY if setup.small else Shape(64, 4, 2, 256, 2_048)
    backend = start_module(shape, 0, device_of(setup))
    blocks = predictable_blocks(shape, SETTINGS.batch).to(setup.device)

    def step() -> None:
        backend.gradients(blocks)
        backend.step(SETTINGS, 1.0)

    step()
    places = find_waits(setup, step)
    yield check("no step waits for the device", not places, places=places)

    steps, look_every = (8, 4) if setup.small else (128, 32)
    places = find_waits(setup, lambda: train_for(steps, look_every, backend))
    # Each look at losses is one wait; a CPU's values are read without.
    most = steps / look_every + 1 if setup.on_gpu else 0
    yield check("training waits for the device at looks only", len(places) <= most, places=places)

    for kind in ("llama", "gemma2"):  # one mask for all layers, and two
        module = build_family(kind, setup)
        other = Module(module, blocks.shape[1] - 1, Placement(setup.device, compiles=False))
        other.gradients(blocks % other.vocab_size)
        places = find_waits(setup, lambda at=other: at.gradients(blocks % at.vocab_size))
        ok = all(place.startswith("masking_utils.py:") for place in places)  # of transformers
        yield check(
            f"own model, {kind}: a pass waits in transformers' masks only", ok, places=places
        )
        del module, other
        gc.collect()


def train_for(steps: int, look_every: int, backend: Module) -> None:
    """So many steps by the workflow's loop, from text that is read and sent to the device."""
    shape, sequences = backend.shape, steps * SETTINGS.batch
    tokens = torch.randint(0, shape.vocab_size, (sequences * shape.context + 1,)).numpy()
    mixture = Mixture({"x": BlockOrder(tokens, shape.context, (0,))}, {"x": 1.0})
    task = Task("acceptance", mixture, SETTINGS, [Milestone(1.0, 0, sequences)])
    task = replace(task, save_every_s=1e9, look_every=look_every)
    with tempfile.TemporaryDirectory() as folder:
        next(train(task, backend, Trajectory(), StateFolder(Path(folder), "acceptance")))


def find_waits(setup: Setup, step: Callable[[], None]) -> list[str]:
    """Where `step` waits for the device, or would if it were a GPU."""
    return waits_on_gpu(step) if setup.on_gpu else reads_of_values(step)


def waits_on_gpu(step: Callable[[], None]) -> list[str]:
    """File and line of each call of `step` that waits for the GPU, as CUDA reports it."""
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return [
        f"{each.filename.rpartition('/')[2]}:{each.lineno}"
        for each in caught
        if "synchroniz" in str(each.message)
    ]


def reads_of_values(step: Callable[[], None]) -> list[str]:
    """File and line of each operation of `step` that would wait on a GPU, as it reads a value."""
    with _Reads() as reads:
        step()
    return reads.seen


_TORCH = f"{Path(torch.__file__).parent}/"  # whose own lines say little


class _Reads(TorchDispatchMode):
    NAMES = ("_local_scalar_dense", "is_nonzero", "nonzero", "equal")

    def __init__(self):
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        if name in self.NAMES:
            callers = [
                each for each in traceback.extract_stack()[:-1] if _TORCH not in each.filename
            ]
            self.seen.append(f"{Path(callers[-1].filename).name}:{callers[-1].lineno}")
        return function(*args, **(kwargs or {}))


def memory(setup: Setup) -> Iterator[dict]:
    """Peak memory of a step against what `cost` counts, and what happens where it ends."""
    for name, (shape, _, at_once) in (TINY_SIZES if setup.small else SIZES).items():
        token = activation_bytes(shape.n_params, shape.width, shape.depth)
        counted = training_bytes(shape.n_params, at_once, token) / 1e9
        if not setup.on_gpu:
            yield skip(f"memory of {name}") | {"counted_gb": counted}
            continue
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        backend = start_module(shape, 0, device_of(setup))
        trunk = backend.state("trunk")  # as during a decay
        backend.gradients(_random_blocks(shape, at_once).to(setup.device))
        backend.step(SETTINGS, 1.0)
        peak = torch.cuda.max_memory_allocated() / 1e9
        yield check(f"memory of {name}", peak <= counted, peak_gb=peak, counted_gb=counted)
        del backend, trunk
        gc.collect()
    yield from _chosen_tokens(setup)


def _chosen_tokens(setup: Setup) -> Iterator[dict]:
    """Tokens at once that a GPU's free memory chooses must be enough to train on."""
    if not setup.on_gpu:
        yield skip("tokens at once, chosen")
        return
    shape, _, _ = SIZES["paper.yaml w768"]
    backend = start_module(shape, 0, device_of(setup))
    chosen = backend.micro_batch
    backend.gradients(_random_blocks(shape, chosen * shape.context).to(setup.device))
    backend.step(SETTINGS, 1.0)
    peak = torch.cuda.max_memory_allocated() / 1e9
    ok = backend.split == 1
    yield check("tokens at once, chosen", ok, tokens=chosen * shape.context, peak_gb=peak)


def _random_blocks(shape: Shape, tokens: int) -> torch.Tensor:
    return torch.randint(0, shape.vocab_size, (tokens // shape.context, shape.context + 1))


def speed(setup: Setup) -> Iterator[dict]:
    """Tokens a second of our sizes, batches on their way to the device included."""
    for name, (shape, tokens, at_once) in (TINY_SIZES if setup.small else SIZES).items():
        ways = {"plain": {"compiles": False, "records": False}}
        if setup.on_gpu:
            ways["compiled"] = {"compiles": True, "records": False}
        if setup.on_gpu and at_once == tokens:
            ways["recorded"] = {"compiles": False, "records": True}
            ways["compiled and recorded"] = {"compiles": True, "records": True}
        for how, choice in ways.items():
            place = Placement(setup.device, micro_batch=at_once // shape.context, **choice)
            backend = start_module(shape, 0, place)
            blocks = _random_blocks(shape, tokens)
            step = training_step(backend, blocks)
            found = measure_speed(setup, step, tokens)
            fails = [each.fails for each in (backend.compiled, backend.recorded) if each]
            yield check(f"speed of {name}, {how}", not any(fails), **found.facts(shape))
            if how == "plain":
                there = blocks.to(setup.device)
                found = measure_speed(setup, lambda at=backend, of=there: at.loss(of), tokens)
                rate = round(found.tokens_per_s)
                yield check(f"measuring a loss of {name}", rate > 0, tokens_per_s=rate)
                del there
            del backend, step
            gc.collect()


def training_step(backend: Backend, blocks: torch.Tensor) -> Callable[[], None]:
    def step() -> None:
        backend.gradients(send(blocks.numpy(), backend.device))
        backend.step(SETTINGS, 1.0)

    return step


def stacks(setup: Setup) -> Iterator[dict]:
    """Runs of a small model trained at once: the numbers of one by one, and tokens a second."""
    shape = TINY if setup.small else Shape(64, 4, 2, 256, 2_048)
    batches = [
        predictable_blocks(shape, SETTINGS.batch, seed).to(setup.device) for seed in range(8)
    ]
    alone = train_steps(start_module(shape, 0, device_of(setup)), batches, 8)
    stack = Stack(start_module(shape, 0, device_of(setup)), 3)
    found = train_steps(stack, [batch.repeat(3, 1) for batch in batches], 8)
    pairs = zip(found, alone, strict=True)
    apart = max(abs(each - one) for members, one in pairs for each in members)
    yield check("a stack trains as one by one", apart < 2e-2, apart=apart)
    fails = stack.recorded is not None and stack.recorded.fails
    yield check("a step of a stack is recorded", not fails, is_recorded=not fails)
    tokens = TINY_SIZES["tiny"][1] if setup.small else SIZES["gpu.yaml w64"][1]
    for members in (2,) if setup.small else (2, 6, 18):
        stack = Stack(start_module(shape, 0, device_of(setup)), members)
        step = training_step(stack, _random_blocks(shape, members * tokens))
        facts = measure_speed(setup, step, members * tokens).facts(shape)
        yield check(f"speed of {members} at once", facts["tokens_per_s"] > 0, **facts)
        del stack, step
        gc.collect()


def own(setup: Setup) -> Iterator[dict]:
    """Other people's architectures, at a size that means something."""
    for kind in FAMILIES[:2] if setup.small else FAMILIES:
        context, sequences = (16, 2) if setup.small else (2_048, 16)
        module = build_family(kind, setup)
        size = ExternalSize(sum(each.numel() for each in module.parameters()), 0, context, 0)
        backend = Module(module, context, Placement(setup.device, micro_batch=sequences // 2))
        blocks = torch.randint(3, backend.vocab_size, (sequences, context + 1))
        few = blocks[:2].to(setup.device)
        before = backend.loss(few)
        step = training_step(backend, blocks)
        found = measure_speed(setup, step, sequences * context)
        after = backend.loss(few)
        ok = math.isfinite(after) and after < before
        yield compiled_check(f"own model, {kind}, is compiled", setup, backend)
        losses = {"before": before, "after": after}
        yield check(f"own model, {kind}", ok, n=size.n_params, **losses, **found.facts(size))
        del module, backend, step
        gc.collect()


def build_family(kind: str, setup: Setup) -> torch.nn.Module:
    """A model of a type of transformers, of about 160 million parameters unless small."""
    width, depth, heads, ids = (16, 2, 2, 64) if setup.small else (768, 12, 12, 50_304)
    fields = {
        **{"hidden_size": width, "intermediate_size": 4 * width, "num_hidden_layers": depth},
        **{"num_attention_heads": heads, "num_key_value_heads": heads, "head_dim": width // heads},
        **{"vocab_size": ids, "max_position_embeddings": 2_048},
        **{"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2},
    }
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(CONFIG_MAPPING[kind](**fields))


def oom(setup: Setup) -> Iterator[dict]:
    """Where memory ends: half as much at once, or one line that names the key."""
    shape = TINY if setup.small else SIZES["paper.yaml w512"][0]
    sequences = 8 if setup.small else 32
    blocks = predictable_blocks(shape, sequences).to(setup.device)
    enough = start_module(shape, 0, Placement(setup.device, micro_batch=sequences // 4))
    expected = enough.gradients(blocks).item()
    backend = start_module(shape, 0, Placement(setup.device, micro_batch=sequences))
    restrict_memory(setup, backend, sequences // 4)
    try:
        backend.gradients(blocks)
        said = "nothing"
    except InputError as error:
        said = str(error)
    yield check("out of memory names the key", "micro_batch_tokens" in said, said=said)
    backend.is_chosen = True  # as if the free memory had chosen it
    loss = backend.gradients(blocks).item()
    ok = backend.split > 1 and abs(loss - expected) < 1e-3
    if setup.on_gpu:
        torch.cuda.set_per_process_memory_fraction(1.0)
    yield check("out of memory halves what is chosen", ok, split=backend.split, loss=loss)


def restrict_memory(setup: Setup, backend: Module, sequences: int) -> None:
    """Leave memory for a micro-batch of `sequences`, not for four times as many."""
    if setup.on_gpu:
        shape = backend.shape
        token = activation_bytes(shape.n_params, shape.width, shape.depth)
        room = training_bytes(0, 2 * sequences * shape.context, token)
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.empty_cache()
        fraction = (torch.cuda.memory_reserved() + 4 * shape.n_params + room) / total
        torch.cuda.set_per_process_memory_fraction(min(1.0, fraction))
        return

    def refuse(module: torch.nn.Module, arguments: tuple) -> None:
        if len(arguments[0]) > sequences:
            raise torch.OutOfMemoryError("counterfeit")

    backend.losses.register_forward_pre_hook(refuse)
