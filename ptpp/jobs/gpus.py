"""Which GPUs of this node a job trains on: its own, or one that it shares with other jobs.

Snakemake counts GPUs, and CUDA gives every process the first one. The jobs of one node therefore
lock files, one for each place on a GPU, for as long as they live. The kernel frees the locks of a
process that dies, so a killed job leaves nothing behind.
"""

import json
import logging
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from ptpp.errors import InputError, Interrupted
from ptpp.jobs.job import set_environment

log = logging.getLogger("ptpp")

VISIBLE = "CUDA_VISIBLE_DEVICES"
POLL_S = 0.5


@dataclass(frozen=True)
class Gpu:
    """A GPU, or a part of one (MIG), as CUDA_VISIBLE_DEVICES names it."""

    name: str  # GPU-<uuid>, MIG-<uuid>, or an index where there is no uuid
    card: str  # the whole GPU's name
    index: int  # of the card, as nvidia-smi counts: by place on the bus

    @property
    def whole(self) -> bool:
        return self.name == self.card


@dataclass(frozen=True)
class Holder:
    """The job that holds a place. Its lock file contains this record."""

    process: int
    what: str
    alone: bool  # shares the GPU with no other job

    def __str__(self) -> str:
        return f"process {self.process}" + (f" ({self.what})" if self.what else "")


@contextmanager
def assign_gpus(
    device: str,
    count: int,
    jobs_per_gpu: int,
    stop_requested: Callable[[], bool] = lambda: False,
    what: str = "",
    folder: Path | None = None,
) -> Iterator[tuple[str, ...]]:
    """Hold `count` GPUs of this node; this process and its children then see no others.

    Enter this before torch looks for GPUs. On device `cpu`, and where no GPU is visible, the tuple
    of names is empty and nothing changes. Otherwise the job chooses among the GPUs that
    CUDA_VISIBLE_DEVICES allows. One job has a GPU to itself; with `jobs_per_gpu` above 1, so many
    jobs of one GPU share it, the emptiest GPU first. A job waits in a queue while all are taken,
    and logs once for whom it waits. Jobs of one user meet in `folder` (default: one in /tmp);
    `what` names this job to the others.

    Raises InputError where fewer than `count` GPUs are visible, and Interrupted when
    `stop_requested` turns true during the wait.
    """
    visible = [] if device == "cpu" else visible_gpus()
    if not visible:
        yield ()
        return
    usable = [gpu for gpu in visible if gpu.whole or count == 1]  # no job spans MIG parts
    if len(usable) < count:
        raise InputError(
            f"models.sizes: devices: {count} GPUs are asked for, but {len(usable)} whole ones are "
            f"visible here ({VISIBLE}: {os.environ.get(VISIBLE, 'not set')})"
        )
    holder = Holder(os.getpid(), what, alone=count > 1 or jobs_per_gpu == 1)
    queue = _Queue(_meeting_place(folder), holder, stop_requested)
    with ExitStack() as held:
        names = tuple(gpu.name for gpu in queue.take(usable, count, jobs_per_gpu, held))
        log.info("trains on %s", ", ".join(names))
        held.callback(log.info, "leaves %s", ", ".join(names))  # before the places are free
        held.enter_context(set_environment(**{VISIBLE: ",".join(names)}))
        yield names


def visible_gpus() -> list[Gpu]:
    """The GPUs, or their MIG parts, that this process may use.

    `nvidia-smi -L` gives names that hold in every container and SLURM job of the node. Where it
    fails, torch counts. CUDA_VISIBLE_DEVICES restricts both.
    """
    restriction = os.environ.get(VISIBLE)
    listing = _nvidia_smi()
    if listing is not None:
        return restrict_gpus(parse_list(listing), restriction)
    count = _torch_count()
    names = [str(k) for k in range(count)] if restriction is None else restriction.split(",")
    return [Gpu(name.strip(), name.strip(), k) for k, name in enumerate(names[:count])]


def parse_list(text: str) -> list[Gpu]:
    """GPUs in the output of `nvidia-smi -L`; the parts of a GPU (MIG) stand in its place."""
    gpus: list[Gpu] = []
    card = None
    for line in text.splitlines():
        if whole := re.match(r"GPU (\d+): .*\(UUID: (GPU-[^)]+)\)", line):
            card = Gpu(whole[2], whole[2], int(whole[1]))
            gpus.append(card)
        elif card and (part := re.match(r"\s+MIG .*\(UUID: (MIG-[^)]+)\)", line)):
            gpus = [gpu for gpu in gpus if gpu != card]
            gpus.append(Gpu(part[1], card.card, card.index))
    return gpus


def restrict_gpus(gpus: Sequence[Gpu], restriction: str | None) -> list[Gpu]:
    """The `gpus` that a value of CUDA_VISIBLE_DEVICES allows; None allows all.

    An entry is an index, a name or the beginning of a name. As in CUDA, the first entry that names
    nothing, or more than one GPU, hides itself and all after it.
    """
    if restriction is None:
        return list(gpus)
    allowed: list[Gpu] = []
    for entry in (part.strip() for part in restriction.split(",")):
        if entry.isdigit():
            matches = {gpu: gpu.card for gpu in gpus if gpu.index == int(entry)}
        else:
            matches = {gpu: gpu.card for gpu in gpus if gpu.card.startswith(entry)}
            matches |= {gpu: gpu.name for gpu in gpus if gpu.name.startswith(entry)}
        if not entry or len(set(matches.values())) != 1:
            break
        allowed += [gpu for gpu in matches if gpu not in allowed]
    return allowed


def choose_gpus(
    holders: Mapping[Gpu, Sequence[Holder]], count: int, jobs_per_gpu: int
) -> list[Gpu]:
    """The `count` emptiest GPUs with fewer than `jobs_per_gpu` jobs; [] if there are too few."""
    free = [
        gpu
        for gpu, present in holders.items()
        if len(present) < jobs_per_gpu and not any(each.alone for each in present)
    ]
    free.sort(key=lambda gpu: len(holders[gpu]))
    return free[:count] if len(free) >= count else []


@dataclass
class _Queue:
    """The queue of one user's jobs on one node; its files lie in `folder`.

    One job at a time holds the lock `door` while it waits until there is room for it. So choices
    never interleave, no job holds some GPUs while it waits for others, and small jobs do not
    overtake a job of many GPUs.
    """

    folder: Path
    holder: Holder
    stop_requested: Callable[[], bool]
    logged: bool = False

    def take(
        self, gpus: Sequence[Gpu], count: int, jobs_per_gpu: int, held: ExitStack
    ) -> list[Gpu]:
        """Lock places on `count` GPUs at once, until `held` closes."""
        share = 1 if self.holder.alone else jobs_per_gpu
        wish = "a GPU" if count == 1 else f"{count} GPUs"
        with ExitStack() as turn:
            while (before := self._lock(self.folder / "door", turn)) is not None:
                self._wait(wish, before)
            while True:
                holders = {gpu: self._holders(gpu) for gpu in gpus}
                if chosen := choose_gpus(holders, count, share):
                    break
                self._wait(wish, [each for present in holders.values() for each in present])
            for gpu in chosen:
                place = 0
                while self._lock(self._place(gpu, place), held) is not None:
                    place += 1
        return chosen

    def _wait(self, wish: str, before: Sequence[Holder]) -> None:
        if before and not self.logged:
            log.info("waits for %s of this node, after %s", wish, ", ".join(map(str, before)))
            self.logged = True
        if self.stop_requested():
            raise Interrupted("asked to stop while waiting for a GPU")
        time.sleep(POLL_S)

    def _place(self, gpu: Gpu, place: int | str) -> Path:
        return self.folder / f"{re.sub(r'[^A-Za-z0-9-]', '_', gpu.name)}.{place}"

    def _holders(self, gpu: Gpu) -> list[Holder]:
        """The jobs on `gpu`; only the job at the door asks, so no two of them collide."""
        present: list[Holder] = []
        for path in sorted(self.folder.glob(self._place(gpu, "*").name)):
            with ExitStack() as probe:
                present += self._lock(path, probe, write=False) or []
        return present

    def _lock(self, path: Path, held: ExitStack, write: bool = True) -> list[Holder] | None:
        """None once `path` is locked until `held` closes; else its holder, [] if not yet known."""
        lock = FileLock(path, mode=0o600, blocking=False, fallback_to_soft=False)
        try:
            held.enter_context(lock)
        except Timeout:
            try:
                return [Holder(**json.loads(path.read_bytes()))]
            except ValueError:  # the holder is about to write it
                return []
        if write:
            path.write_text(json.dumps(asdict(self.holder)))  # in place: the lock is on this file
        return None


def _meeting_place(folder: Path | None) -> Path:
    """The folder where all jobs of this user on this node meet, whatever TMPDIR is."""
    folder = folder or Path("/tmp", f"ptpp-gpus-{os.getuid()}")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made ({error.strerror})") from None
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise InputError(f"{folder}: belongs to somebody else; remove it")
    return folder


def _nvidia_smi() -> str | None:
    """The output of `nvidia-smi -L`, None where that fails."""
    try:
        command = ["nvidia-smi", "-L"]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=120, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None


def _torch_count() -> int:
    """How many GPUs torch sees. A process of its own counts, since counting fixes what torch sees.

    Without a device file there is no GPU, and no process starts.
    """
    if not any(any(Path("/dev").glob(name)) for name in ("nvidia[0-9]*", "kfd", "dxg")):
        return 0
    code = "import torch; print(torch.cuda.device_count())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    return int(done.stdout.split()[-1]) if done.returncode == 0 else 0
