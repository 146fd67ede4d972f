"""Files that are whole or absent: written under a temporary name, then renamed."""

import errno
import glob
import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ptpp.errors import InputError, Unwritable

# The errors of a disk that takes no more.
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}

# Reading the mask means setting it, which must not happen while another thread makes a file.
_UMASK = os.umask(0)
os.umask(_UMASK)


@contextmanager
def _report_full_disk(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise Unwritable(
            f"{path}: cannot be written ({os.strerror(error.errno)}); "
            "make room, then run the same command again"
        ) from None


@contextmanager
def atomic_file(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path beside `path` that takes its place if the block succeeds.

    The temporary path keeps the suffix, since many writers choose a format by it. Raises Unwritable
    when the disk is full, and leaves the old file as it was.
    """
    path = Path(path)
    with _report_full_disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.stem}.", suffix=path.suffix
        )
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            temporary.chmod(0o666 & ~_UMASK)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_directory(path: str | os.PathLike) -> Iterator[Path]:
    """Yield an empty temporary directory that takes the place of `path` if the block succeeds.

    Raises Unwritable when the disk is full.
    """
    path = Path(path)
    with _report_full_disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
        try:
            yield temporary
            temporary.chmod(0o777 & ~_UMASK)
            if path.exists():  # a directory cannot be renamed over a full one
                shutil.rmtree(path)
            os.replace(temporary, path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def remove_leftovers(path: str | os.PathLike) -> None:
    """Delete what a killed writer of `path` left; no process may be writing it now."""
    path = Path(path)
    # Files keep their suffix at the end, directories do not.
    for stem, suffix in {(path.stem, path.suffix), (path.name, "")}:
        pattern = f".{glob.escape(stem)}.{'[a-z0-9_]' * 8}{glob.escape(suffix)}"
        for leftover in path.parent.glob(pattern):
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink(missing_ok=True)


def link(source: str | os.PathLike, target: str | os.PathLike) -> None:
    """Make `target` a hard link to the file `source`, or a copy where the disk cannot link."""
    source = os.path.realpath(source)  # not a link to a symbolic link
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)


def require_file(path: str | os.PathLike) -> None:
    """Raise InputError unless `path` is a regular file, or a link to one.

    Whoever opens a FIFO may wait for ever, and a device may never end.
    """
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{str(path)[:200]!r}: cannot be read ({_reason(error)})") from None
    if not stat.S_ISREG(mode):
        raise InputError(f"{path}: {_kind_of(mode)}; accepted is a file")


def check_output(
    path: str | os.PathLike,
    inputs: Iterable[str | os.PathLike] = (),
    is_ours: Callable[[Path], bool] = lambda path: True,
    kind: str = "",
) -> None:
    """Raise InputError unless a file may be written to `path`, or take the place of what is there.

    Refused are a directory, a device or a FIFO, one of the `inputs`, and a file with anything in it
    that is not `is_ours`, which errors call `kind`. Nothing may go into the folders of devices and
    processes: /dev/stdout, led to a file, looks like one, and a rename would take its place.
    """
    path = Path(path)
    try:
        folder = f"{os.path.realpath(path.parent)}/"
        mode = path.stat().st_mode if os.path.lexists(path) else None
    except FileNotFoundError:  # a link that leads nowhere; it is replaced
        mode = None
    except (OSError, ValueError) as error:
        raise InputError(f"{str(path)[:200]!r}: cannot be written ({_reason(error)})") from None
    if folder == "/dev/" or folder.startswith(("/proc/", "/sys/")):
        raise InputError(f"{path}: a device; accepted is the name of a file to write")
    if mode is None:
        return
    if not stat.S_ISREG(mode):
        raise InputError(f"{path}: {_kind_of(mode)}; accepted is the name of a file to write")
    for each in inputs:
        if os.path.exists(each) and os.path.samefile(each, path):
            raise InputError(f"{path}: is read by this command; accepted is another name")
    if path.stat().st_size and not is_ours(path):
        raise InputError(f"{path}: exists and is not {kind}; accepted is another name")


def _kind_of(mode: int) -> str:
    names = {stat.S_IFDIR: "a directory", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}
    return names.get(stat.S_IFMT(mode), "a device")


def _reason(error: OSError | ValueError) -> str:
    return (getattr(error, "strerror", None) or str(error)).lower()


def write_text(path: str | os.PathLike, text: str) -> None:
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike, value: object) -> None:
    """Write `value` as indented JSON; raises ValueError for NaN and infinity."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def read_json(path: str | os.PathLike) -> object:
    """Read JSON; raises InputError naming the file when it is absent, no file or damaged."""
    require_file(path)
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # not JSON, not UTF-8, too deep, too many digits
        raise InputError(f"{path}: not valid JSON ({error!s:.200})") from None


def sha256(path: str | os.PathLike) -> str:
    """SHA-256 of a file's bytes, as hexadecimal digits."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def content_digest(path: str | os.PathLike) -> str:
    """SHA-256 of a file up to 1 GiB; of a larger one, of its size and 1,024 pieces of 1 MiB.

    The sum of a whole corpus of hundreds of gigabytes would cost every job minutes.
    """
    size = os.path.getsize(path)
    if size <= 1 << 30:
        return sha256(path)
    piece = 1 << 20
    sums = hashlib.sha256(str(size).encode())
    with open(path, "rb") as stream:
        for k in range(1024):
            stream.seek(k * (size - piece) // 1023)
            sums.update(stream.read(piece))
    return sums.hexdigest()
