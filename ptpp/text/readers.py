"""Documents from JSON Lines and plain text files, plain or compressed as .xz, .gz or .zst."""

import gzip
import io
import json
import lzma
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import zstandard

from ptpp.errors import InputError

_SURROGATE = re.compile("[\ud800-\udfff]")
_DAMAGE = (EOFError, OSError, lzma.LZMAError, zlib.error, zstandard.ZstdError, UnicodeDecodeError)


def read_jsonl(path: str | Path, field: str = "text") -> Iterator[str]:
    """Yield the string under `field` of every line; skips blank lines and blank texts.

    Raises InputError with the line's number when it is no JSON object or has no such string.
    """
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(f"{path}, line {number}: not valid JSON ({error})") from None
        if not isinstance(row, dict) or not isinstance(row.get(field), str):
            raise InputError(f"{path}, line {number}: expected an object with a string {field!r}")
        text = row[field]
        if _SURROGATE.search(text):
            raise InputError(
                f"{path}, line {number}: {field!r} holds half of a surrogate pair, which no UTF-8 "
                "text can; correct or delete this line"
            )
        if text.strip():
            yield text


def read_text(path: str | Path) -> Iterator[str]:
    """Yield documents of a plain text file; one or more blank lines separate two documents."""
    block: list[str] = []
    for line in _lines(path):
        if line.strip():
            block.append(line)
        elif block:
            yield "".join(block).rstrip("\n")
            block = []
    if block:
        yield "".join(block).rstrip("\n")


def _lines(path: str | Path) -> Iterator[str]:
    """Lines of a UTF-8 file, decompressed by suffix; InputError when it is absent or damaged."""
    try:
        with (
            _open_bytes(Path(path)) as stream,
            io.TextIOWrapper(stream, encoding="utf-8-sig") as text,
        ):
            yield from text
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except _DAMAGE as error:
        raise InputError(f"{path}: cannot be read as UTF-8 text ({error})") from None


def _open_bytes(path: Path) -> BinaryIO:
    match path.suffix:
        case ".xz":
            return lzma.open(path)
        case ".gz":
            return gzip.open(path)
        case ".zst":
            return io.BufferedReader(_ZstdFile(path), buffer_size=1 << 20)
        case _:
            return open(path, "rb")


class _ZstdFile(io.RawIOBase):
    """A .zst file of one or more frames.

    zstandard.open stops silently after the first frame and at a truncated one: text is lost.
    """

    def __init__(self, path: Path):
        self._file = open(path, "rb")  # noqa: SIM115 - closed by close()
        self._frame = zstandard.ZstdDecompressor().decompressobj()
        self._started = False  # some of the current frame has been read
        self._ready = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:
        while not self._ready:
            packed = self._packed()
            if not packed:
                if self._started and not self._frame.eof:
                    raise EOFError("the compressed file ends early")
                return 0
            self._ready = self._frame.decompress(packed)
            self._started = True
        size = min(len(buffer), len(self._ready))
        buffer[:size] = self._ready[:size]
        self._ready = self._ready[size:]
        return size

    def _packed(self) -> bytes:
        """The next compressed bytes, with a fresh decompressor where a new frame begins."""
        rest = self._frame.unused_data if self._frame.eof else b""
        packed = rest or self._file.read(1 << 16)
        if packed and self._frame.eof:
            self._frame = zstandard.ZstdDecompressor().decompressobj()
        return packed

    def close(self) -> None:
        self._file.close()
        super().close()
