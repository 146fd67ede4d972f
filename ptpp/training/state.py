"""Training state that survives a kill: one safetensors file, replaced as a whole.

It lives outside the checkpoint and outside every declared output, and names what it belongs to:
a state whose fingerprint differs is refused, never resumed.
"""

import contextlib
import fcntl
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ptpp.errors import InputError
from ptpp.files import replacing


def fingerprint(parts: object) -> str:
    """Digest of whatever decides a run's numbers: settings, code and input hashes."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def save_tensors(path: Path, tensors: Mapping[str, torch.Tensor], meta: Mapping) -> None:
    """Write tensors and JSON-able metadata in one file."""
    with replacing(path) as temporary:
        save_file(
            {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
            temporary,
            metadata={"meta": json.dumps(meta)},
        )


def load_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict]:
    """Read what `save_tensors` wrote; InputError when absent or damaged."""
    try:
        with safe_open(path, framework="pt") as stream:
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
            return tensors, json.loads(stream.metadata()["meta"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: damaged or missing training state ({error})") from None


def pack(model: torch.nn.Module, optimiser: torch.optim.Optimizer, label: str) -> dict:
    """Model and AdamW state as named tensors under `label`, copied so that training may go on."""
    tensors = {}
    for name, parameter in model.named_parameters():
        tensors[f"{label}.model.{name}"] = parameter.detach().clone()
        for key, value in optimiser.state.get(parameter, {}).items():
            tensors[f"{label}.optimiser.{key}.{name}"] = value.detach().clone()
    return tensors


def unpack(
    tensors: Mapping, model: torch.nn.Module, optimiser: torch.optim.Optimizer, label: str
) -> None:
    """Put back what `pack` took, into the same model and optimiser."""
    for name, parameter in model.named_parameters():
        with torch.no_grad():
            parameter.copy_(tensors[f"{label}.model.{name}"])
        state = {}
        for key in ("step", "exp_avg", "exp_avg_sq"):
            packed = f"{label}.optimiser.{key}.{name}"
            if packed in tensors:
                state[key] = tensors[packed].clone().to(parameter.device)
        if state:
            optimiser.state[parameter] = state
        else:
            optimiser.state.pop(parameter, None)


class StateFolder:
    """The folder of one job's unfinished training."""

    def __init__(self, folder: str | Path, fingerprint: str):
        self.folder = Path(folder)
        self.fingerprint = fingerprint

    @property
    def path(self) -> Path:
        return self.folder / "state.safetensors"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder against a second process that would train the same thing."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / "lock", "w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise InputError(
                    f"{self.folder}: another process is training this; "
                    "wait for it or stop it, then run again"
                ) from None
            yield

    def save(self, tensors: Mapping[str, torch.Tensor], meta: Mapping) -> None:
        save_tensors(self.path, tensors, {"fingerprint": self.fingerprint, **meta})

    def load(self) -> tuple[dict, dict] | None:
        """The saved state, or None when there is none, or none of this very run.

        A damaged or stale state costs a restart of this one job and nothing else.
        """
        if not self.path.exists():
            return None
        try:
            tensors, meta = load_tensors(self.path)
        except InputError:
            return None
        return (tensors, meta) if meta.get("fingerprint") == self.fingerprint else None

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
