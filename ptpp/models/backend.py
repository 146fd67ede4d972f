"""What trains a model: loss, gradients, steps and state, whichever way the passes are computed.

There are two: passes written by hand for our GPT-2s on a CPU (`cpu.py`), and transformers' own
implementation for everything else (`huggingface.py`). Both step by the AdamW below.
"""

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ptpp.models.checkpoint import save_checkpoint
from ptpp.models.compiling import CompiledLayers
from ptpp.models.group import ALONE, Group
from ptpp.models.recording import RecordedStep
from ptpp.models.sizes import Shape
from ptpp.training.schedule import Settings

LONGEST_WRITTEN_OUT = 1024  # tokens; beyond, attention scores would fill the memory
GROUPS = ("hidden", "embeddings", "vectors")


@dataclass(frozen=True)
class Placement:
    """Where a model is held: the device, the group, and the sequences of one micro-batch.

    A process holds the activations of `micro_batch` sequences at once and adds up their gradients;
    None: of its part of the whole batch, or of as many as a GPU has memory for, divided by `split`.
    bfloat16: whether products of training are in it; compiles: whether decoder layers go through
    torch.compile; both for models of `huggingface.py`, None: on GPUs. records: whether steps are
    recorded, as `recording.py` says; None: those of our small GPT-2s, each alone on a GPU.
    """

    device: str = "cpu"
    group: Group = ALONE
    micro_batch: int | None = None
    split: int = 1
    bfloat16: bool | None = None
    compiles: bool | None = None
    records: bool | None = None


ON_CPU = Placement()


class Backend(abc.ABC):
    """A model in training, by one process or by a `group` of them, which all make the same calls.

    Tokens are blocks of ids, shape (batch, context + 1), on `device`. Every process of a group gets
    the whole batch and takes its part. Parameters have the names that transformers gives them.

    members: runs that are trained at once, see `stack.py`. autocasts: whether products of training
    are in bfloat16 by autocast. compiled: layers that go through torch.compile. recorded: a step
    that is played back.
    """

    group: Group = ALONE
    members: int = 1
    autocasts: bool = False
    compiled: CompiledLayers | None = None
    recorded: RecordedStep | None = None
    device: torch.device
    context: int
    vocab_size: int
    shape: Shape | None  # that of a GPT-2 of ours
    parameters: dict[str, torch.Tensor]
    first: dict[str, torch.Tensor]  # AdamW's moments
    second: dict[str, torch.Tensor]
    steps: torch.Tensor  # a scalar

    @abc.abstractmethod
    def loss(self, tokens: torch.Tensor) -> float:
        """Mean next-token cross-entropy, nats."""

    @abc.abstractmethod
    def gradients(self, tokens: torch.Tensor) -> torch.Tensor:
        """The same loss, a scalar, or of each member; its gradients are kept for `step`."""

    @abc.abstractmethod
    def step(self, settings: Settings, multiplier: float) -> None:
        """One clipped AdamW step at `multiplier` times the peak rate."""

    @abc.abstractmethod
    def read(self, checkpoint: str | Path) -> Mapping[str, torch.Tensor]:
        """The parameters in a checkpoint of this very model."""

    def reload(self, checkpoint: str | Path) -> None:
        """Start again from the checkpoint the model was opened from: its weights, no moments."""
        with torch.no_grad():
            for name, tensor in self.read(checkpoint).items():
                self.fill(self.parameters[name], tensor)
            for moments in (*self.first.values(), *self.second.values(), self.steps):
                moments.zero_()

    def tensors(self) -> dict[str, torch.Tensor]:
        """All that training changes, by the names under which it is saved."""
        parts = {"": self.parameters, "first.": self.first, "second.": self.second}
        named = {f"{part}{name}": each for part in parts for name, each in parts[part].items()}
        return named | {"steps": self.steps}

    def state(self, label: str) -> dict[str, torch.Tensor]:
        """Copies of `tensors` under `label`, for either backend to go on from; parts in a group."""
        return {f"{label}.{name}": each.detach().clone() for name, each in self.tensors().items()}

    def hold(self, tensors: Mapping[str, torch.Tensor], label: str) -> dict[str, torch.Tensor]:
        """What `state` once returned under `label`, from saved `tensors`; {} if it is not there."""
        held = {}
        for name, like in self.tensors().items():
            if (key := f"{label}.{name}") in tensors:
                held[key] = torch.empty_like(like.detach())
                self.fill(held[key], tensors[key])
        return held

    def restore(self, tensors: Mapping[str, torch.Tensor], label: str) -> None:
        """Put back what `state` or `whole` returned, or what was saved of it, bit for bit."""
        with torch.no_grad():
            for name, target in self.tensors().items():
                self.fill(target, tensors[f"{label}.{name}"])

    def fill(self, target: torch.Tensor, tensor: torch.Tensor) -> None:
        """Copy a tensor into `target`: whole, in the same parts, or of which rows can be sliced."""
        target.copy_(tensor)

    def divide(self, tensors: Mapping[str, torch.Tensor]) -> tuple[dict, dict]:
        """Of a `state` what every process holds whole, and this one's rows of the other tensors."""
        return dict(tensors), {}

    def whole(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The parts of a `state` put together for a file; empty but on the main process."""
        return dict(tensors)

    def save(self, directory: str | Path, tokenizer: str | Path, text: Mapping) -> None:
        """Write a checkpoint, as `save_checkpoint` does; a collective call."""
        tensors = self.whole({name: each.detach() for name, each in self.parameters.items()})
        if self.group.is_main:
            save_checkpoint(self.shape, tensors, directory, tokenizer, text)
        self.group.wait()


def group_of(name: str, size: Sequence[int]) -> str:
    """Which of GROUPS a parameter learns with: muP scales the rate of hidden matrices alone."""
    if len(size) == 1:
        return "vectors"
    return "embeddings" if name in ("wte.weight", "wpe.weight") else "hidden"


def group_settings(settings: Settings, width: int | None) -> dict[str, tuple[float, float]]:
    """Learning rate and weight decay of each parameter group at `width`.

    Hidden matrices learn at rate * base_width / width, as muP has it for Adam [Yang et al. 2022,
    arXiv 2203.03466]; their decay is divided by the same factor, so that rate x decay is the same
    at every width. Norms and biases do not decay. None for `width`: the rate as it is.
    """
    scale = 1.0 if width is None else settings.base_width / width
    rate, decay = settings.learning_rate, settings.weight_decay
    return {
        "hidden": (rate * scale, decay / scale),
        "embeddings": (rate, decay),
        "vectors": (rate, 0.0),
    }


def clipping(norm: torch.Tensor, settings: Settings) -> torch.Tensor:
    """The factor that brings gradients of this norm to `settings.clip` at most."""
    return (settings.clip / (norm + 1e-6)).clamp(max=1.0)


def adamw(
    tensors: Sequence[list[torch.Tensor]],
    steps: torch.Tensor,
    settings: Settings,
    rate: float | torch.Tensor,
    decay: float,
) -> None:
    """Update `tensors` in place: parameters, gradients, first and second moments, in one order.

    `steps` counts this one. The kernel is the one behind `torch.optim.AdamW(fused=True)`, whose
    constructor imports torch's compiler and so would cost every job most of a second.
    """
    torch._fused_adamw_(
        *tensors,
        [],
        [steps] * len(tensors[0]),
        lr=rate,
        beta1=settings.betas[0],
        beta2=settings.betas[1],
        weight_decay=decay,
        eps=1e-8,
        amsgrad=False,
        maximize=False,
    )


def start_model(shape: Shape, seed: int, place: Placement = ON_CPU) -> Backend:
    """A freshly initialised GPT-2, the same numbers however many processes hold it."""
    if not _by_hand(shape, place):
        from ptpp.models.huggingface import start_module

        return start_module(shape, seed, place)
    from ptpp.models.cpu import HandWritten, Weights, initialise

    weights = Weights(shape)
    initialise(weights, seed)
    return HandWritten(weights, place.micro_batch)


def open_model(
    checkpoint: str | Path, shape: Shape | None, context: int, place: Placement = ON_CPU
) -> Backend:
    """The model of a checkpoint directory, to be trained on in blocks of `context` tokens.

    shape: the GPT-2 of ours that it must be; None: any model that transformers knows. Raises
    InputError when the directory holds no such model.
    """
    if shape is None or not _by_hand(shape, place):
        from ptpp.models.huggingface import open_module

        return open_module(checkpoint, shape, context, place)
    from ptpp.models.cpu import HandWritten, load_checkpoint

    return HandWritten(load_checkpoint(checkpoint, shape), place.micro_batch)


def _by_hand(shape: Shape, place: Placement) -> bool:
    alone_on_cpu = place.device == "cpu" and place.group.size == 1
    return alone_on_cpu and shape.context <= LONGEST_WRITTEN_OUT
