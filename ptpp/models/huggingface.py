"""Any causal language model of transformers in training: in one process, or sharded over several.

Two kinds come here: models from elsewhere, and our GPT-2s on a GPU, on several devices, or with
contexts too long for the passes of `cpu.py`. Several processes share a model by torch's FSDP2
(`fully_shard`): each holds a part of every parameter, gradient and moment and trains on a part of
every batch; each of several nodes holds the whole. State and checkpoints are those of a single
process, so that a run can go on with another number of processes.
"""

import contextlib
import copy
import logging
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor

from ptpp.errors import InputError
from ptpp.jobs.files import atomic_directory
from ptpp.models.backend import (
    ON_CPU,
    Backend,
    Placement,
    adamw,
    clipping,
    group_of,
    group_settings,
)
from ptpp.models.checkpoint import PREFIX, check_digests, complete, gpt2_config, read_shape
from ptpp.models.compiling import CompiledLayers, decoder_layers
from ptpp.models.cpu import initial_tensors
from ptpp.models.group import Group
from ptpp.models.losses import SequenceLosses, has_plain_head, is_causal
from ptpp.models.memory import LOGITS_BYTES, activation_bytes, sequences_that_fit
from ptpp.models.recording import SMALL, RecordedStep
from ptpp.models.sizes import Shape
from ptpp.training.schedule import Settings

log = logging.getLogger("ptpp")

# Of parameters as they are gathered, and of gradients as they are summed over processes.
FLOAT32 = MixedPrecisionPolicy()
BFLOAT16 = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)


class Module(Backend):
    """A module whose forward takes `input_ids` and gives logits.

    shape: the GPT-2 of ours that it is, by which rates scale with width; None for other models,
    whose rate is taken as it is. Dropout is off. On a GPU products of training are in bfloat16,
    all else float32: by autocast in one process; several gather parameters in bfloat16, and hold
    float32 ones once more to evaluate with. There training compiles decoder layers, too.
    """

    def __init__(
        self, module: nn.Module, context: int, place: Placement, shape: Shape | None = None
    ):
        self.device = torch.device(place.device)
        self.context, self.shape = context, shape
        self.group, self.split = place.group, place.split
        self.vocab_size = module.config.get_text_config().vocab_size
        self.module = module.float().eval()
        # Our GPT-2s are such by construction, and get their weights later.
        self.losses = SequenceLosses(self.module, shape is not None or has_plain_head(self.module))
        on_gpu = self.device.type != "cpu"
        half = on_gpu if place.bfloat16 is None else place.bfloat16
        self.autocasts = half and not self.group.shards
        self.evaluated = self.losses
        if half and self.group.shards:
            self.evaluated = _shard_twin(self.losses, place.device, self.group)
        compiles = on_gpu if place.compiles is None else place.compiles
        self.compiled = CompiledLayers(self.module, self.group) if compiles else None
        if self.group.shards:
            _shard(self.losses, place.device, self.group, BFLOAT16 if half else FLOAT32)
        else:
            self.module.to(place.device)
        self.longest = 0  # sequences of the largest micro-batch so far
        named = self.module.named_parameters()
        self.parameters = {name.removeprefix(PREFIX): each for name, each in named}
        self.first = {n: torch.zeros_like(p.detach()) for n, p in self.parameters.items()}
        self.second = {n: torch.zeros_like(p.detach()) for n, p in self.parameters.items()}
        self.steps = torch.zeros((), device=self.device)
        self.is_chosen = place.micro_batch is None
        self.micro_batch = self._fitting() if self.is_chosen else place.micro_batch
        records = place.records
        if records is None:  # other models read values in every pass, which no graph can
            records = on_gpu and not self.group.shards and shape is not None
            records = records and shape.n_params <= SMALL
        parameters = list(self.parameters.values())
        self.recorded = RecordedStep(parameters, self._compute, self._update) if records else None

    @torch.no_grad()
    def loss(self, tokens: torch.Tensor) -> float:
        if self.evaluated is not self.losses:
            models = (self.evaluated, self.losses)
            twins = ([_local(each) for each in model.parameters()] for model in models)
            torch._foreach_copy_(*twins)
        total = torch.zeros((), device=self.device)
        with self._compiling(False):
            for part, shares in self._mine(tokens):
                total += self.evaluated(part) @ shares
        return self.group.sum(total).item()

    def gradients(self, tokens: torch.Tensor) -> torch.Tensor:
        """As `Backend` has it; where memory ends, with fewer sequences at once, if that is ours to
        choose. Raises InputError, which names the key, where it is not, or where no half is left.

        A group cannot go on, since the other processes wait: MemoryError lets it start again.
        """
        while True:
            at_once = self._at_once(tokens)
            try:
                return self._gradients(tokens)
            except torch.OutOfMemoryError as error:
                # CUDA's two sentences, without its account of who holds what.
                first = (str(error).splitlines() or ["out of memory"])[0]
                reason = first.partition(" GPU ")[0].rstrip(".")
            except Exception as error:
                if self.compiled is None or not self.compiled.give_up(error):
                    raise
                continue
            found = (
                f"{at_once * self.context} tokens at once are too many for the device ({reason})"
            )
            if not self.is_chosen or at_once == 1:
                raise InputError(
                    f"models.sizes: micro_batch_tokens: {found}; accepted are fewer, down to "
                    "models.context; otherwise raise devices or lower models.context"
                )
            if self.group.size > 1:
                raise MemoryError(found)
            self.split *= 2
            self.longest = 0
            if self.compiled is not None:
                self.compiled.is_proven = False  # for another length
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            log.warning(
                "out of memory with %d tokens at once (%s): goes on with %d; "
                "micro_batch_tokens of this size sets that",
                *(at_once * self.context, reason, self._at_once(tokens) * self.context),
            )

    def _gradients(self, tokens: torch.Tensor) -> torch.Tensor:
        if self.recorded is None:
            return self._compute(tokens)
        return self.recorded.gradients(tokens, self._at_once(tokens) == len(tokens))

    def _compute(self, tokens: torch.Tensor) -> torch.Tensor:
        for parameter in self.parameters.values():
            parameter.grad = None
        total = torch.zeros((), device=self.device)
        for part, shares in self._mine(tokens):
            # Only whole micro-batches are compiled: the few others would each compile anew.
            self.longest = max(self.longest, len(part))
            compiling = self._compiling(len(part) == self.longest)
            with compiling, torch.autocast(self.device.type, torch.bfloat16, self.autocasts):
                losses = self.losses(part)
            loss = losses @ shares  # in float32: autocast would round it
            # FSDP averages gradients over processes; shares already are of the whole batch.
            (loss * self.group.size).backward()
            total += loss.detach()
        if self.compiled is not None:
            self.compiled.settle()
        return self.group.sum(total)

    def _compiling(self, is_wanted: bool) -> contextlib.AbstractContextManager:
        """Within it layers are compiled where that is wanted and can be."""
        if self.compiled is None:
            return contextlib.nullcontext()
        return self.compiled.eagerly(not is_wanted)

    def step(self, settings: Settings, multiplier: float) -> None:
        if self.recorded is None:
            self._update(settings, multiplier)
        else:
            self.recorded.step(settings, multiplier)

    def _update(self, settings: Settings, multiplier: float | torch.Tensor) -> None:
        self.steps += 1  # on the device, where the kernel reads it
        gradients = {
            name: _local(each.grad)
            for name, each in self.parameters.items()
            if each.grad is not None  # a parameter that the loss does not depend on
        }
        squares = torch.stack([each.square().sum() for each in gradients.values()]).sum()
        # Every node holds the whole gradient.
        factor = clipping((self.group.sum(squares) / self.group.nodes).sqrt(), settings)
        rules = group_settings(settings, self.shape.width if self.shape else None)
        groups = {group: ([], [], [], []) for group in rules}
        for name, gradient in gradients.items():
            parameter = self.parameters[name].detach()
            tensors = (parameter, gradient, self.first[name], self.second[name])
            kinds = groups[group_of(name, parameter.shape)]
            for kind, tensor in zip(kinds, tensors, strict=True):
                kind.append(_local(tensor))
        for group, (rate, decay) in rules.items():
            if groups[group][0]:
                torch._foreach_mul_(groups[group][1], factor)
                adamw(groups[group], self.steps, settings, rate * multiplier, decay)

    def whole(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        gathered = {}
        for name, tensor in tensors.items():
            full = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
            if self.group.is_main:
                gathered[name] = full.cpu()
        return gathered

    def save(self, directory: str | Path, tokenizer: str | Path, text: Mapping) -> None:
        """The same of a model from elsewhere, under the names that transformers gives its tensors,
        all or nothing.
        """
        if self.shape is not None:
            super().save(directory, tokenizer, text)
            return
        kept = self.module.state_dict().keys() & dict(self.module.named_buffers()).keys()
        tensors = {name: each for name, each in self.module.named_buffers() if name in kept}
        tensors |= {name: each.detach() for name, each in self.module.named_parameters()}
        tensors = self.whole(tensors)
        if self.group.is_main:
            with atomic_directory(directory) as temporary:
                self.module.save_pretrained(temporary, state_dict=tensors)
                complete(temporary, tokenizer, text)
        self.group.wait()

    def read(self, checkpoint: str | Path) -> dict[str, torch.Tensor]:
        named = _read_module(checkpoint).named_parameters()
        return {name.removeprefix(PREFIX): each for name, each in named}

    def fill(self, target: torch.Tensor, tensor: torch.Tensor) -> None:
        if isinstance(target, DTensor) and not isinstance(tensor, DTensor):
            processes = self.group.on_a_node  # which hold as many rows each, but for the last
            first = self.group.rank % processes * -(-len(target) // processes)
            target = target.to_local()
            tensor = tensor[first : first + len(target)]
        target.copy_(tensor)

    def divide(self, tensors: Mapping[str, torch.Tensor]) -> tuple[dict, dict]:
        rows = {name: _local(each) for name, each in tensors.items() if isinstance(each, DTensor)}
        return {name: each for name, each in tensors.items() if name not in rows}, rows

    def _mine(self, tokens: torch.Tensor):
        """This process's micro-batches, each with its sequences' shares in the batch's mean.

        Every process has equally many of them, since all must make the same calls; where sequences
        do not divide evenly, one of share 0 fills up.
        """
        most = -(-len(tokens) // self.group.size)
        mine = tokens[self.group.rank :: self.group.size]
        shares = torch.full((most,), 1 / len(tokens), device=tokens.device)
        if len(mine) < most:
            shares[len(mine) :] = 0.0
            mine = torch.cat([mine, tokens[: most - len(mine)]])
        at_once = self._at_once(tokens)
        return zip(mine.split(at_once), shares.split(at_once), strict=True)

    def _at_once(self, tokens: torch.Tensor) -> int:
        """Sequences of a micro-batch; the same in every process."""
        most = -(-len(tokens) // self.group.size)
        return max(1, min(self.micro_batch or most, most) // self.split)

    def _fitting(self) -> int | None:
        """Sequences that the memory of the fullest GPU has room for; None: not known."""
        if self.device.type != "cuda":
            return None
        config = self.module.config.get_text_config()
        total = sum(each.numel() for each in self.parameters.values())
        shape = (getattr(config, name, None) for name in ("hidden_size", "num_hidden_layers"))
        token = activation_bytes(total, *shape)
        if not self.losses.in_chunks:
            token += LOGITS_BYTES * self.vocab_size
        held = sum(_local(each.detach()).numel() for each in self.parameters.values())
        free, _ = torch.cuda.mem_get_info(self.device)
        return self.group.least(sequences_that_fit(free, held, token * self.context))


def start_module(shape: Shape, seed: int, place: Placement = ON_CPU) -> Module:
    """One of our GPT-2s, with the numbers that `initialise` draws."""
    from transformers import GPT2Config, GPT2LMHeadModel
    from transformers.initialization import no_init_weights

    with no_init_weights():  # memory that is filled below, and not touched before
        module = GPT2LMHeadModel(GPT2Config(**gpt2_config(shape)))
    module.tie_weights()
    _leave_out_mask(module)
    backend = Module(module, shape.context, place, shape)
    with torch.no_grad():
        for name, tensor in initial_tensors(shape, seed):
            backend.fill(backend.parameters[name], tensor)
    return backend


def open_module(
    checkpoint: str | Path, shape: Shape | None, context: int, place: Placement = ON_CPU
) -> Module:
    """A model that transformers reads from a directory: safetensors only, no code of its own.

    shape: the GPT-2 of ours that it must be; None accepts any, checked when it was adopted. Raises
    InputError when the directory holds no such model, or one that sees later tokens.
    """
    if shape is not None:
        read_shape(checkpoint, shape)
    module = _read_module(checkpoint)
    if shape is None:
        _check_causal(module, checkpoint)
    else:
        _leave_out_mask(module)
    return Module(module, context, place, shape)


def _read_module(checkpoint: str | Path) -> nn.Module:
    from transformers import AutoModelForCausalLM

    check_digests(checkpoint)
    try:
        module, report = AutoModelForCausalLM.from_pretrained(
            checkpoint,
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, ImportError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{checkpoint}: cannot be read as a causal language model ({reason})"
        ) from None
    for what in ("missing_keys", "mismatched_keys"):  # transformers would draw them at random
        if report[what]:
            name = sorted(map(str, report[what]))[0]
            raise InputError(
                f"{checkpoint}: its weights are not those of its config.json "
                f"({what.replace('_', ' ')}: {name})"
            )
    return module


def _leave_out_mask(module: nn.Module) -> None:
    """Let a GPT-2 of ours attend causally without a mask.

    transformers finds in every pass that it needs none, for which it reads values, and so waits for
    the device. It makes no mask for an implementation of attention that it does not know.
    """
    from transformers import AttentionInterface
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    AttentionInterface.register("ptpp_causal", sdpa_attention_forward)
    module.set_attn_implementation("ptpp_causal")


def _check_causal(module: nn.Module, checkpoint: str | Path) -> None:
    try:
        causal = is_causal(module)
    except Exception as error:  # whatever a type of model raises that cannot be run this way
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(f"{checkpoint}: cannot be run on tokens alone ({reason})") from None
    if not causal:
        raise InputError(
            f"{checkpoint}: {type(module).__name__} sees later tokens (its logits change with "
            "them), so it predicts no next token; accepted are causal language models"
        )


def _shard_twin(module: nn.Module, device: str, group: Group) -> nn.Module:
    """The same module in float32, each process's part of its parameters still to be filled."""
    empty = {
        id(each): nn.Parameter(torch.empty_like(each, device="meta"))
        for each in module.parameters()
    }
    twin = copy.deepcopy(module, empty)  # what `empty` names is not copied but taken from it
    _shard(twin, device, group)
    buffers = dict(twin.named_buffers(remove_duplicate=False))
    twin.to_empty(device=device)
    with torch.no_grad():
        for name, buffer in twin.named_buffers(remove_duplicate=False):
            buffer.copy_(buffers[name])
    return twin


def _shard(
    module: nn.Module, device: str, group: Group, precision: MixedPrecisionPolicy = FLOAT32
) -> None:
    """Split every parameter over the processes: block by block, then what lies outside blocks.

    Several nodes each hold the whole model, split over their processes: only gradients travel
    between nodes (HSDP).
    """
    if group.nodes == 1:
        mesh = init_device_mesh(device, (group.size,))
    else:
        names = ("nodes", "on_a_node")
        mesh = init_device_mesh(device, (group.nodes, group.on_a_node), mesh_dim_names=names)
    for block in decoder_layers(module):
        fully_shard(block, mesh=mesh, mp_policy=precision)
    # After every forward pass, or a measurement would leave a copy that outlives `restore`.
    fully_shard(module, mesh=mesh, mp_policy=precision, reshard_after_forward=True)


def _local(tensor: torch.Tensor) -> torch.Tensor:
    """What this process holds of it."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor
