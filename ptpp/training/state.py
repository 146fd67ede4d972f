"""Training state that survives a kill: safetensors files, replaced as a whole.

It names what it belongs to: a state whose fingerprint differs is refused, never resumed. The save
before the last is kept, so that a damaged file costs one save interval. Processes that share a
model each write their rows of its tensors to a file of their own, beside the main one's; any number
of processes can go on from them.
"""

import contextlib
import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from types import MappingProxyType

import filelock
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ptpp.errors import InputError, Unwritable
from ptpp.jobs.files import atomic_file, remove_leftovers
from ptpp.models.group import ALONE, Group

log = logging.getLogger("ptpp")

NOTHING: Mapping = MappingProxyType({})


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


class Rows:
    """A saved tensor of which rows are read as they are asked for, by slice.

    files: as `safe_open` has them, of its parts along the first dimension in order.
    """

    def __init__(self, files: Sequence, name: str):
        self.parts = [file.get_slice(name) for file in files]
        self.ends = list(accumulate(part.get_shape()[0] for part in self.parts))

    def __getitem__(self, rows: slice) -> torch.Tensor:
        start, stop, _ = rows.indices(self.ends[-1])
        found, first = [], 0
        for part, end in zip(self.parts, self.ends, strict=True):
            begins, ends = max(start, first), min(stop, end)
            if begins < ends:
                found.append(part[begins - first : ends - first])
            first = end
        return torch.cat(found) if found else self.parts[0][:0]


def _open_rows(files: Sequence[Path]) -> dict[str, Rows | torch.Tensor]:
    """The tensors of which these files hold successive rows; scalars are read."""
    opened = [safe_open(file, framework="pt") for file in files]
    return {
        name: Rows(opened, name)
        if opened[0].get_slice(name).get_shape()
        else opened[0].get_tensor(name)
        for name in (opened[0].keys() if opened else ())
    }


def _meta(path: Path) -> dict:
    """The metadata alone, not checked against the digest."""
    try:
        with safe_open(path, framework="pt") as stream:
            return json.loads(json.loads(stream.metadata()["ptpp"])["meta"])
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


@contextlib.contextmanager
def hold_folder(folder: Path) -> Iterator[bool]:
    """Hold a folder against a second process that would do the same work.

    Yields whether it is held: some file systems have no locks. Raises InputError where another
    process holds it. The kernel lets go of it when this process ends, however it ends.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(folder / "lock", blocking=False, fallback_to_soft=False)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise InputError(
            f"{folder}: another process is training this; wait for it or stop it, then run again"
        ) from None
    except OSError as error:
        log.warning("%s: not held against a second run (%s)", folder, error)
    try:
        yield lock.is_locked
    finally:
        lock.release()


@dataclass(frozen=True)
class StateFolder:
    """The folder of one job's unfinished training.

    Of several processes that train one model only the main one locks and removes; each writes what
    it holds. They call `save` and `load` together.
    """

    folder: Path
    fingerprint: str
    group: Group = ALONE

    @property
    def path(self) -> Path:
        return self.folder / "state.safetensors"

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder against a second process that would train the same thing.

        What a killed process left half-written is cleared away.
        """
        if not self.group.is_main:
            yield
            return
        with hold_folder(self.folder):
            remove_leftovers(self.path)
            yield

    def save(
        self,
        tensors: Mapping[str, torch.Tensor],
        meta: Mapping,
        rows: Mapping[str, torch.Tensor] = NOTHING,
    ) -> None:
        """Write tensors, and JSON-able metadata, in place of the save before the last.

        rows: what this process holds of further tensors, of which the processes of a node hold
        successive rows. Nothing changes unless all of them have written theirs.
        """
        meta = {"fingerprint": self.fingerprint, **meta}
        if self.group.size > 1:
            number = self.group.least(time.time_ns())
            if self.group.rank < self.group.on_a_node:  # other nodes hold the same
                save_tensors(self._part(number, self.group.rank), rows, {"save": number})
            self.group.wait()
            meta |= {"save": number, "parts": self.group.on_a_node}
        if self.group.is_main:
            save_tensors(self.path, tensors, meta, aside=previous(self.path))
            self._remove_old()
        self.group.wait()

    def load(self) -> tuple[Mapping[str, torch.Tensor | Rows], dict] | None:
        """The newest whole state of this very run, or None; in a group tensors are `Rows`.

        A damaged save costs one save interval; a stale one (other settings, input or version of
        the numerics) starts this one job over. Both are logged.
        """
        for path in (self.path, previous(self.path)):
            (exists,) = self.group.any(path.exists())
            if not exists:
                continue
            error = None
            try:
                tensors, meta = self._read(path)
            except InputError as caught:
                error = caught
            (failed,) = self.group.any(error is not None)
            if failed:
                error = error or f"{path}: damaged, or its rows are"
                log.warning("%s; going back to the save before it, or to the start", error)
                continue
            if meta.get("fingerprint") == self.fingerprint:
                return tensors, meta
            log.warning(
                "%s: saved under other settings, input or version; not used, starting anew", path
            )
        return None

    def _read(self, path: Path) -> tuple[Mapping[str, torch.Tensor | Rows], dict]:
        """What `save` wrote. Each process checks the digests of some of the files.

        Raises InputError where they are damaged, as far as this process knows.
        """
        rank, size = self.group.rank, self.group.size
        tensors, meta = load_tensors(path) if rank == 0 else ({}, _meta(path))
        try:
            number = meta.get("save", 0)
            files = [self._part(number, part) for part in range(meta.get("parts", 0))]
            for file in files[rank::size]:
                if load_tensors(file)[1] != {"save": number}:
                    raise InputError(f"{file}: belongs to another save")
            parts = _open_rows(files)
            if size == 1:
                return tensors | {name: rows[:] for name, rows in parts.items()}, meta
            return _open_rows([path]) | parts, meta
        except (OSError, SafetensorError, TypeError, ValueError) as error:
            raise InputError(f"{path}: damaged or missing rows ({error})") from None

    def _part(self, save: int, part: int) -> Path:
        return self.folder / f"rows.{save:d}" / f"{part:d}.safetensors"

    def _remove_old(self) -> None:
        """Remove the rows that neither the last save nor the one before speaks of."""
        kept = set()
        for path in (self.path, previous(self.path)):
            with contextlib.suppress(InputError):
                kept.add(f"rows.{_meta(path).get('save')}")
        for folder in self.folder.glob("rows.*"):
            if folder.name not in kept:
                shutil.rmtree(folder, ignore_errors=True)

    def remove(self) -> None:
        if self.group.is_main:
            shutil.rmtree(self.folder, ignore_errors=True)
