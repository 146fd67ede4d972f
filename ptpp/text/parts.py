"""Parts of a token store, which jobs of their own encode: any number of them, the same ids.

The groups of documents (`ptpp.text.batches`) are dealt out in turn: part k of n encodes the groups
k, k + n, ... Every job reads all of the text, which is quick beside encoding it. A job appends each
group when it is done, and after a kill goes on behind the last whole one.
"""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterable, Sequence, Set
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ptpp.errors import InputError, Interrupted
from ptpp.jobs.files import read_json, write_json
from ptpp.text.batches import DTYPES, Batch, Document, Encoder, batches

log = logging.getLogger("ptpp")

MARGIN = 1.05  # times the tokens that a part expects to be needed: groups differ in tokens a letter
_LEARN = 2  # groups of its own from which a part learns how many tokens a letter takes


@dataclass(frozen=True)
class _Files:
    """Of one part: its key, its ids, and a line per group: where its documents end."""

    folder: Path

    @property
    def key(self) -> Path:
        return self.folder / "key.json"

    @property
    def ids(self) -> Path:
        return self.folder / "ids.bin"

    @property
    def groups(self) -> Path:
        return self.folder / "groups.jsonl"


def write_part(
    documents: Iterable[Document],
    encoder: Encoder,
    folder: str | Path,
    place: tuple[int, int],
    max_tokens: int,
    source: str,
    exclude: Set[bytes] = frozenset(),
    stopping: Callable[[], bool] = lambda: False,
) -> int:
    """Encode the groups of part `place[0]`, from 0, of `place[1]` into `folder`; returns tokens.

    It ends when the text ends, or when all parts together should have `max_tokens`. After a kill it
    goes on with what `folder` holds; what was written for other text, another tokenizer or another
    number of parts is dropped. Raises Interrupted, behind a whole group, when `stopping` is true.
    """
    (part, parts), one = place, _Files(Path(folder))
    done = _resume(one, make_key(place, encoder, source, exclude), encoder)
    letters = own_letters = tokens = 0
    with open(one.ids, "ab") as ids, open(one.groups, "a") as groups:
        for number, (group, _) in enumerate(batches(documents, exclude)):
            letters += sum(map(len, group))
            turn, whose = divmod(number, parts)
            if whose != part:
                continue
            own_letters += sum(map(len, group))
            if turn < len(done):
                tokens += done[turn]
            else:
                batch = encoder.encode(group)
                ids.write(batch.ids.tobytes())
                ids.flush()  # before the line that tells of them
                groups.write(json.dumps(batch.ends.tolist()) + "\n")
                groups.flush()
                tokens += len(batch.ids)
                if stopping():
                    raise Interrupted(f"part {part} of {parts}: asked to stop")
            if turn >= _LEARN and tokens / own_letters * letters >= MARGIN * max_tokens:
                break
    return tokens


def make_key(
    place: tuple[int, int], encoder: Encoder, source: str, exclude: Set[bytes] = frozenset()
) -> dict:
    """What the ids of a part follow from."""
    from ptpp.text.tokenizer import digest

    return {
        "part": place[0],
        "parts": place[1],
        "tokenizer": digest(encoder.tokenizer),
        "around": [encoder.beginning, encoder.separator],
        "source": source,
        "exclude": hashlib.sha256(b"".join(sorted(exclude))).hexdigest(),
    }


def _resume(place: _Files, key: dict, encoder: Encoder) -> list[int]:
    """The tokens of every whole group that is there; what a kill cut off is taken away."""
    place.folder.mkdir(parents=True, exist_ok=True)
    if not place.key.is_file() or read_json(place.key) != key:
        for path in (place.key, place.ids, place.groups):
            path.unlink(missing_ok=True)
        write_json(place.key, key)
    place.ids.touch()
    place.groups.touch()
    width, size, written = DTYPES[encoder.dtype].itemsize, place.ids.stat().st_size, []
    kept = room = 0
    for line in place.groups.read_bytes().splitlines(keepends=True):
        try:
            ends = json.loads(line) if line.endswith(b"\n") else None
        except json.JSONDecodeError:
            break
        count = ends[-1] if ends else 0
        if ends is None or (room + count) * width > size:
            break
        written.append(count)
        room += count
        kept += len(line)
    os.truncate(place.groups, kept)
    os.truncate(place.ids, room * width)
    if written:
        log.info("part %d of %d goes on after %d tokens", key["part"], key["parts"], room)
    return written


class Parts:
    """The parts of a store, of which `write_store` asks for one group after the other."""

    def __init__(
        self,
        folders: Sequence[str | Path],
        encoder: Encoder,
        source: str,
        exclude: Set[bytes] = frozenset(),
    ):
        """Open all of them. Raises InputError where a folder holds anything else."""
        self.places = [_Files(Path(folder)) for folder in folders]
        first = make_key((0, len(folders)), encoder, source, exclude)
        for number, place in enumerate(self.places):
            if read_json(place.key) != first | {"part": number}:
                raise InputError(
                    f"{place.folder}: belongs to other text, another tokenizer or another number "
                    "of parts; delete it and run again"
                )
        self.dtype, self.missing = DTYPES[encoder.dtype], 0
        self._open = ExitStack()
        enter = self._open.enter_context  # closed by `__exit__`
        self._streams = [
            (enter(open(one.ids, "rb")), enter(open(one.groups)))  # noqa: SIM115
            for one in self.places
        ]

    def __enter__(self) -> "Parts":
        return self

    def __exit__(self, *_) -> None:
        self._open.close()

    def batch(self, number: int, documents: int) -> Batch | None:
        """Group `number`, which has so many documents; None where its part ended before it.

        Groups are asked for in order. Raises InputError where a part holds another one.
        """
        ids, groups = self._streams[number % len(self._streams)]
        line = groups.readline()
        if not line:
            self.missing += 1
            return None
        ends = np.array(json.loads(line), dtype=np.int64)
        count = int(ends[-1]) if len(ends) else 0
        batch = Batch(np.fromfile(ids, self.dtype, count), ends)
        if len(ends) != documents or len(batch.ids) != count:
            raise InputError(
                f"{self.places[number % len(self.places)].folder}: damaged; delete it and run again"
            )
        return batch
