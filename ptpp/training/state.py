"""Training state that survives a kill: safetensors files, replaced as a whole.

It names what it belongs to: a state whose fingerprint differs is refused, never resumed. The save
before the last is kept, so that a damaged file costs one save interval.
"""

import contextlib
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import filelock
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ptpp.errors import InputError, Unwritable
from ptpp.jobs.files import atomic_file, remove_leftovers

log = logging.getLogger("ptpp")


def save_tensors(
    path: Path, tensors: Mapping[str, torch.Tensor], meta: Mapping, aside: Path | None = None
) -> None:
    """Write tensors, JSON-able metadata and a digest of both in one file, the same bytes each time.

    What stood at `path` before is kept at `aside`. Raises Unwritable when the disk refuses.
    """
    kept = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    text = json.dumps(meta)
    # One entry, since safetensors writes several in an order that changes from process to process.
    entry = json.dumps({"digest": _digest(kept, text), "meta": text})
    with atomic_file(path) as temporary:
        try:
            save_file(kept, temporary, metadata={"ptpp": entry})
        except SafetensorError as error:
            raise Unwritable(
                f"{path}: cannot be written ({error}); make room, then run the same command again"
            ) from None
        if aside is not None and path.exists():
            os.replace(path, aside)


def load_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict]:
    """Read what `save_tensors` wrote; InputError when absent or damaged."""
    try:
        with safe_open(path, framework="pt") as stream:
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
            written = json.loads(stream.metadata()["ptpp"])
        if _digest(tensors, written["meta"]) != written["digest"]:
            raise ValueError("its content is not what was written")
        return tensors, json.loads(written["meta"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: damaged or missing training state ({error})") from None


def previous(path: Path) -> Path:
    """Where the save before the last is kept."""
    return path.with_name(f"previous.{path.name}")


def _digest(tensors: Mapping[str, torch.Tensor], text: str) -> str:
    sums = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name].numpy()
        sums.update(f"{name} {tensor.dtype} {tensor.shape}".encode())
        sums.update(tensor.tobytes())
    return sums.hexdigest()


@dataclass(frozen=True)
class StateFolder:
    """The folder of one job's unfinished training.

    Of several processes that train one model only the main one locks, writes and removes; the
    others read.
    """

    folder: Path
    fingerprint: str
    is_main: bool = True

    @property
    def path(self) -> Path:
        return self.folder / "state.safetensors"

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder against a second process that would train the same thing.

        What a killed process left half-written is cleared away.
        """
        if not self.is_main:
            yield
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(self.folder / "lock", blocking=False, fallback_to_soft=False)
        try:
            lock.acquire()
        except filelock.Timeout:
            raise InputError(
                f"{self.folder}: another process is training this; "
                "wait for it or stop it, then run again"
            ) from None
        except OSError as error:  # some file systems have no locks
            log.warning("%s: not held against a second run (%s)", self.folder, error)
        try:
            remove_leftovers(self.path)
            yield
        finally:
            lock.release()

    def save(self, tensors: Mapping[str, torch.Tensor], meta: Mapping) -> None:
        if self.is_main:
            meta = {"fingerprint": self.fingerprint, **meta}
            save_tensors(self.path, tensors, meta, aside=previous(self.path))

    def load(self) -> tuple[dict, dict] | None:
        """The newest whole state of this very run, or None.

        A damaged save costs one save interval; a stale one (other settings, input or version of
        the numerics) starts this one job over. Both are logged.
        """
        for path in (self.path, previous(self.path)):
            if not path.exists():
                continue
            try:
                tensors, meta = load_tensors(path)
            except InputError as error:
                log.warning("%s; going back to the save before it, or to the start", error)
                continue
            if meta.get("fingerprint") == self.fingerprint:
                return tensors, meta
            log.warning(
                "%s: saved under other settings, input or version; not used, starting anew", path
            )
        return None

    def remove(self) -> None:
        if self.is_main:
            shutil.rmtree(self.folder, ignore_errors=True)
