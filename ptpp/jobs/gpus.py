"""Which GPUs of this node a job trains on: its own, or one that it shares where that is allowed.

Snakemake counts GPUs and CUDA gives every process the first, so jobs of one node take places: files
that stay locked for as long as a job lives. The kernel opens the locks of a process that dies,
however it dies, so nothing is left behind.
"""

import fcntl
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from ptpp.errors import InputError, Interrupted

log = logging.getLogger("ptpp")

VISIBLE = "CUDA_VISIBLE_DEVICES"
LOOK_EVERY_S = 0.5


@dataclass(frozen=True)
class Gpu:
    """A GPU, or a part of one (MIG), as CUDA_VISIBLE_DEVICES names it."""

    name: str  # GPU-<uuid>, MIG-<uuid>, or an index where no uuid can be had
    card: str  # the whole GPU's name
    index: int  # of the card, as nvidia-smi counts: by place on the bus

    @property
    def whole(self) -> bool:
        return self.name == self.card


@dataclass(frozen=True)
class Holder:
    """Who holds a place, as its file tells the others."""

    process: int
    what: str
    alone: bool  # shares the GPU with nobody

    def __str__(self) -> str:
        return f"process {self.process}" + (f" ({self.what})" if self.what else "")


@contextmanager
def assign_gpus(
    device: str,
    wanted: int,
    jobs_per_gpu: int,
    stopping: Callable[[], bool] = lambda: False,
    what: str = "",
    folder: Path | None = None,
) -> Iterator[tuple[str, ...]]:
    """Hold `wanted` GPUs of this node, the only ones that this process and its children then see.

    To be entered before torch looks for GPUs. `device` is as configured: on `cpu`, and where no GPU
    is visible, nothing is held or changed and the tuple of names is empty. Among the GPUs visible
    now (CUDA_VISIBLE_DEVICES as it stands) one job has each to itself; with `jobs_per_gpu` above 1
    as many jobs share one, the emptiest first, but jobs of several GPUs have theirs to themselves.
    Where all are taken the job waits and tells once for whom; nobody overtakes the first who waits.
    Jobs of one user meet in `folder`, by default one in /tmp; `what` tells the others who this is.

    Raises InputError where fewer than `wanted` GPUs are visible, Interrupted when `stopping` turns
    true during the wait.
    """
    found = [] if device == "cpu" else visible_gpus()
    if not found:
        yield ()
        return
    usable = [gpu for gpu in found if gpu.whole] if wanted > 1 else found  # no job spans MIG parts
    if len(usable) < wanted:
        raise InputError(
            f"models.sizes: devices: {wanted} GPUs are asked for, but {len(usable)} whole ones are "
            f"visible here ({VISIBLE}: {os.environ.get(VISIBLE, 'not set')})"
        )
    alone = wanted > 1 or jobs_per_gpu == 1
    holder = Holder(os.getpid(), what, alone)
    with ExitStack() as held:
        chosen = _take(
            usable, wanted, 1 if alone else jobs_per_gpu, holder, stopping, _shared(folder), held
        )
        names = tuple(gpu.name for gpu in chosen)
        log.info("trains on %s", ", ".join(names))
        before = os.environ.get(VISIBLE)
        os.environ[VISIBLE] = ",".join(names)
        try:
            yield names
        finally:
            if before is None:
                del os.environ[VISIBLE]
            else:
                os.environ[VISIBLE] = before


def visible_gpus() -> list[Gpu]:
    """The GPUs, or their MIG parts, that this process may use, in the order of their names there.

    By `nvidia-smi -L`, whose names mean the same in every container and SLURM job of the node;
    where it is absent or fails, by torch's count. CUDA_VISIBLE_DEVICES restricts both.
    """
    restriction = os.environ.get(VISIBLE)
    told = _nvidia_smi()
    if told is not None:
        return restrict_gpus(parse_list(told), restriction)
    count = _torch_count()
    names = [str(k) for k in range(count)] if restriction is None else restriction.split(",")
    return [Gpu(name.strip(), name.strip(), k) for k, name in enumerate(names[:count])]


def parse_list(text: str) -> list[Gpu]:
    """GPUs in the output of `nvidia-smi -L`; one that is cut up (MIG) is listed as its parts."""
    found: list[Gpu] = []
    cards: list[Gpu] = []
    for line in text.splitlines():
        card = re.match(r"GPU (\d+): .*\(UUID: (GPU-[^)]+)\)", line)
        part = re.match(r"\s+MIG .*\(UUID: (MIG-[^)]+)\)", line)
        if card:
            cards.append(Gpu(card[2], card[2], int(card[1])))
            found.append(cards[-1])
        elif part and cards:
            found = [gpu for gpu in found if gpu != cards[-1]]
            found.append(Gpu(part[1], cards[-1].card, cards[-1].index))
    return found


def restrict_gpus(gpus: Sequence[Gpu], restriction: str | None) -> list[Gpu]:
    """Those of `gpus` that a value of CUDA_VISIBLE_DEVICES lets through; None lets all.

    Entries are indices, names or their beginnings. As CUDA has it, whatever follows an entry that
    names nothing, or more than one GPU, is invisible too.
    """
    if restriction is None:
        return list(gpus)
    kept: list[Gpu] = []
    for entry in (part.strip() for part in restriction.split(",")):
        if entry.isdigit():
            meant = {gpu: gpu.card for gpu in gpus if gpu.index == int(entry)}
        else:
            meant = {gpu: gpu.card for gpu in gpus if gpu.card.startswith(entry)}
            meant |= {gpu: gpu.name for gpu in gpus if gpu.name.startswith(entry)}
        if not entry or len(set(meant.values())) != 1:
            break
        kept += [gpu for gpu in meant if gpu not in kept]
    return kept


def choose_gpus(
    holders: Mapping[Gpu, Sequence[Holder]], wanted: int, jobs_per_gpu: int
) -> list[Gpu]:
    """The `wanted` emptiest GPUs on which fewer than `jobs_per_gpu` jobs are; [] if too few are."""
    room = [
        gpu
        for gpu, present in holders.items()
        if len(present) < jobs_per_gpu and not any(each.alone for each in present)
    ]
    room.sort(key=lambda gpu: len(holders[gpu]))
    return room[:wanted] if len(room) >= wanted else []


def _take(
    gpus: Sequence[Gpu],
    wanted: int,
    jobs_per_gpu: int,
    holder: Holder,
    stopping: Callable[[], bool],
    folder: Path,
    held: ExitStack,
) -> list[Gpu]:
    """Lock places on `wanted` GPUs, all at once, for as long as `held` is open.

    One job at a time stands at the door and waits there until there is room for it. So choices
    never interleave, nobody holds some GPUs while it waits for others, and small jobs do not
    overtake one of many GPUs for ever.
    """
    told = False

    def wait(whom: Sequence[Holder]) -> None:
        nonlocal told
        if whom and not told:
            some = "a GPU" if wanted == 1 else f"{wanted} GPUs"
            log.info("waits for %s of this node, after %s", some, ", ".join(map(str, whom)))
            told = True
        if stopping():
            raise Interrupted("asked to stop while waiting for a GPU")
        time.sleep(LOOK_EVERY_S)

    with ExitStack() as at_the_door:
        while not _lock(folder / "door", holder, at_the_door):
            wait(_holding(folder / "door"))
        while True:
            holders = {gpu: _on(gpu, folder) for gpu in gpus}
            chosen = choose_gpus(holders, wanted, jobs_per_gpu)
            if chosen:
                break
            wait([each for present in holders.values() for each in present])
        for gpu in chosen:
            place = 0
            while not _lock(_place(gpu, folder, place), holder, held):
                place += 1
    return chosen


def _place(gpu: Gpu, folder: Path, place: int) -> Path:
    return folder / f"{re.sub(r'[^A-Za-z0-9-]', '_', gpu.name)}.{place}"


def _on(gpu: Gpu, folder: Path) -> list[Holder]:
    paths = folder.glob(_place(gpu, folder, 0).stem + ".*")
    return [holder for path in sorted(paths) for holder in _holding(path)]


def _lock(path: Path, holder: Holder, held: ExitStack) -> bool:
    """Lock `path` until `held` closes and say in it who holds it; False where somebody else does.

    Written in place, since the lock is on this very file.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return False
    held.callback(os.close, handle)
    os.ftruncate(handle, 0)
    os.pwrite(handle, json.dumps(asdict(holder)).encode(), 0)
    return True


def _holding(path: Path) -> list[Holder]:
    """Who has locked `path`: one or nobody, and nobody yet in the instant before it is written."""
    with open(path, "rb") as stream:
        try:
            # Shared, so that those who only look do not see each other.
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            try:
                return [Holder(**json.loads(stream.read()))]
            except ValueError:
                return []
    return []


def _shared(folder: Path | None) -> Path:
    """The folder where all jobs of this user on this node meet, wherever TMPDIR points."""
    folder = folder or Path("/tmp", f"ptpp-gpus-{os.getuid()}")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made ({error.strerror})") from None
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise InputError(f"{folder}: belongs to somebody else; remove it")
    return folder


def _nvidia_smi() -> str | None:
    """What `nvidia-smi -L` prints, None where that fails."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    try:
        done = subprocess.run([program, "-L"], capture_output=True, text=True, timeout=120)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _torch_count() -> int:
    """How many GPUs torch sees. Asked in a process of its own: counting fixes what is visible."""
    devices = [
        path for pattern in ("nvidia[0-9]*", "kfd", "dxg") for path in Path("/dev").glob(pattern)
    ]
    if not devices:
        return 0
    code = "import torch; print(torch.cuda.device_count())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    return int(done.stdout.split()[-1]) if done.returncode == 0 else 0
