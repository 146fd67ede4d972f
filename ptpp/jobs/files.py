"""Files that are whole or absent: everything is written aside and then renamed."""

import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ptpp.errors import InputError, Unwritable

# What a disk says when it cannot take more, by whichever limit.
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}

# It can only be read by setting it, which must not happen while another thread makes a file.
_UMASK = os.umask(0)
os.umask(_UMASK)


@contextmanager
def _telling_of_full_disks(path: Path) -> Iterator[None]:
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
    when the disk is full; what stood at `path` is then as it was.
    """
    path = Path(path)
    with _telling_of_full_disks(path):
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
    with _telling_of_full_disks(path):
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
    """Delete what a killed writer of `path` left half-written; nobody may be writing it now."""
    path = Path(path)
    names = {(path.stem, path.suffix), (path.name, "")}  # as files and as directories are named
    endings = "|".join(rf"{re.escape(stem)}\.\w{{8}}{re.escape(end)}" for stem, end in names)
    if path.parent.is_dir():
        for found in path.parent.iterdir():
            if re.fullmatch(rf"\.({endings})", found.name):
                shutil.rmtree(found) if found.is_dir() else found.unlink(missing_ok=True)


def link(source: str | os.PathLike, target: str | os.PathLike) -> None:
    """Make `target` a hard link to the file `source`, or a copy where the disk cannot link."""
    source = os.path.realpath(source)  # never a link to a symbolic link
    try:
        os.link(source, target)
    except OSError:  # other file systems, or none that links
        shutil.copyfile(source, target)


def write_text(path: str | os.PathLike, text: str) -> None:
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike, value: object) -> None:
    """Write `value` as indented JSON; NaN and infinity are refused with ValueError."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def read_json(path: str | os.PathLike) -> object:
    """Read JSON; raises InputError naming the file when it is absent or damaged."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid JSON ({error})") from None


def sha256(path: str | os.PathLike) -> str:
    """SHA-256 of a file's bytes, as hexadecimal digits."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def content_digest(path: str | os.PathLike) -> str:
    """SHA-256 of a large file: of all of it up to 1 GiB, beyond of 1,024 pieces spread over it.

    The full sum of a corpus of hundreds of gigabytes would cost every job minutes.
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
