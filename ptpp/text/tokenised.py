"""Documents that are token ids already: NumPy arrays, bare ids, and Megatron's indexed files.

Megatron's format is that of Megatron-LM, `megatron/core/datasets/indexed_dataset.py`: an index
`.idx` beside the ids in `.bin`. It holds 9 bytes of magic, a version, a code for the type of the
ids, the numbers of sequences and of documents' borders; then the length of every sequence (int32),
where it begins in bytes (int64), and the borders of documents, counted in sequences (int64). All is
little-endian.
"""

import os
import struct
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from ptpp.errors import InputError

_MEGATRON = b"MMIDIDX\x00\x00"
# Of types in a Megatron index; those of 6 and 7, which are no integers, are left out.
_CODES = {1: "uint8", 2: "int8", 3: "int16", 4: "int32", 5: "int64", 8: "uint16"}
_NUMPY = b"\x93NUMPY"
_CHUNK = 1 << 20  # ids looked at in one go


def files_of(paths: Iterable[str | Path]) -> list[Path]:
    """These files, and behind every index the file of its ids."""
    return [
        Path(path).with_suffix(suffix)
        for path in paths
        for suffix in ((".idx", ".bin") if Path(path).suffix == ".idx" else (Path(path).suffix,))
    ]


def read_ids(path: str | Path, spec: Mapping) -> Iterator[np.ndarray]:
    """Yield the ids of every document of a file, each of shape (tokens,); empty ones are left out.

    path: `.npy`; `.bin`, ids of type `spec["dtype"]` and nothing else; or `.idx`, whose `.bin`
    stands beside it. In the first two a document ends at the id `spec["separator"]`, which belongs
    to no document; a Megatron document may end with it.

    The file is mapped, not read into memory. Raises InputError when it is damaged or of another
    form, or where an id is not one of the `spec["vocab_size"]`.
    """
    separator, size = spec.get("separator"), spec["vocab_size"]
    match Path(path).suffix:
        case ".idx":
            ids, spans = _map_megatron(path)
        case ".npy":
            ids = _map_array(path)
            spans = _find_documents(path, ids, separator)
        case _:
            ids = _map_raw(path, np.dtype(spec["dtype"]).newbyteorder("<"))
            spans = _find_documents(path, ids, separator)
    for start, end in spans:
        if end > start and ids[end - 1] == separator:
            end -= 1
        document = ids[start:end]
        outside = (document < 0) | (document >= size)
        if outside.any():
            place = int(outside.argmax())
            raise InputError(
                f"{path}: id {document[place]} at place {start + place}; accepted are 0 to "
                f"{size - 1} (vocab_size {size})"
            )
        if end > start:
            yield document


def _find_documents(path: str | Path, ids: np.ndarray, separator: int) -> Iterator[tuple[int, int]]:
    """Where each document begins and ends, by the separators."""
    start = 0
    for first in range(0, len(ids), _CHUNK):
        for end in np.flatnonzero(ids[first : first + _CHUNK] == separator) + first:
            yield start, int(end)
            start = int(end) + 1
    if not start:  # the whole file would be one document, held in memory
        raise InputError(f"{path}: the separator {separator} is nowhere in it")
    yield start, len(ids)


def _map_array(path: str | Path) -> np.ndarray:
    try:
        ids = np.lib.format.open_memmap(path, mode="r")  # which never unpickles
    except Exception as error:  # half a dozen kinds, by what is wrong with the header
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: not an array of ids ({reason:.200})") from None
    if ids.ndim != 1 or ids.dtype.kind not in "iu":
        raise InputError(
            f"{path}: shape {ids.shape} of {ids.dtype}; accepted are ids one after another, of an "
            "integer type"
        )
    _check_size(path, ids.offset + ids.nbytes, "its header")
    return ids


def _map_raw(path: str | Path, dtype: np.dtype) -> np.ndarray:
    try:
        with open(path, "rb") as stream:
            is_array = stream.read(len(_NUMPY)) == _NUMPY
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    if is_array:
        raise InputError(f"{path}: a NumPy array with its header; name it .npy")
    size = os.path.getsize(path)
    if size % dtype.itemsize:
        raise InputError(f"{path}: {size} bytes are no whole number of {dtype}")
    return _map(path, dtype)


def _map_megatron(path: str | Path) -> tuple[np.ndarray, Iterator[tuple[int, int]]]:
    """The ids beside an index, and where each document begins and ends."""
    dtype, borders = _read_index(path)
    data, name = Path(path).with_suffix(".bin"), Path(path).name
    _check_size(data, int(borders[-1]) * dtype.itemsize, name)
    pairs = ((int(borders[k]), int(borders[k + 1])) for k in range(len(borders) - 1))
    return _map(data, dtype), pairs


def _read_index(path: str | Path) -> tuple[np.dtype, np.ndarray]:
    """The type of the ids, and the borders of documents, counted in ids from 0 to their number."""
    index, head = _map_raw(path, np.dtype(np.uint8)), struct.Struct("<9sQBQQ")
    magic = index[: len(_MEGATRON)].tobytes()
    if magic != _MEGATRON:
        raise InputError(f"{path}: begins with {magic!r}; accepted is Megatron's {_MEGATRON!r}")
    if len(index) < head.size:
        raise InputError(f"{path}: {len(index)} bytes, less than its header has")
    _, version, code, sequences, marks = head.unpack_from(index)
    if version != 1:
        raise InputError(f"{path}: version {version}; accepted is 1")
    if code not in _CODES:
        accepted = ", ".join(f"{number} ({name})" for number, name in _CODES.items())
        raise InputError(f"{path}: code {code} for the type of ids; accepted: {accepted}")
    _check_size(path, head.size + 12 * sequences + 8 * marks, "its header")
    cuts = head.size + np.array([0, 4, 12]) * sequences
    lengths, begins, marked = (
        index[start:end].view(kind)
        for start, end, kind in zip(cuts, [*cuts[1:], None], ("<i4", "<i8", "<i8"), strict=True)
    )
    dtype = np.dtype(_CODES[code]).newbyteorder("<")
    starts = np.append(begins, lengths.sum(dtype=np.int64) * dtype.itemsize)
    if (
        starts[0] != 0
        or (lengths < 0).any()
        or (np.diff(starts) != lengths.astype(np.int64) * dtype.itemsize).any()
        or not marks
        or (marked[0], marked[-1]) != (0, sequences)
        or (np.diff(marked) < 0).any()
    ):
        raise InputError(f"{path}: damaged; its documents do not follow one another")
    return dtype, starts[marked] // dtype.itemsize


def _map(path: str | Path, dtype: np.dtype) -> np.ndarray:
    """The ids of a whole file; one without any cannot be mapped."""
    return np.memmap(path, dtype, mode="r") if os.path.getsize(path) else np.empty(0, dtype)


def _check_size(path: str | Path, expected: int, promise: str) -> None:
    """Raise InputError unless a file has as many bytes as something promises."""
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file")
    size = os.path.getsize(path)
    if size != expected:
        raise InputError(f"{path}: {size} bytes, but {promise} promises {expected}")
