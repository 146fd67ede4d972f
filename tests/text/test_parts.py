"""Parts of a store, by any number of jobs, killed or not, give the store of one job."""

import json
import os
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from texts import some_texts, train_small

from ptpp.errors import InputError, Interrupted
from ptpp.text import batches
from ptpp.text.batches import Encoder
from ptpp.text.parts import Parts, write_part
from ptpp.text.store import document_hashes, write_store
from ptpp.text.tokenizer import load_tokenizer

LIMIT = 30_000


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return Encoder(
        load_tokenizer(train_small(tmp_path_factory.mktemp("tokenizer") / "vocab")), 0, 5
    )


@pytest.fixture(autouse=True)
def small_groups(monkeypatch):
    monkeypatch.setattr(batches, "_CHARACTERS", 1500)


TEXTS = list(islice(some_texts(), 400))
EXCLUDE = document_hashes(TEXTS[3:9])


def store(encoder, path, parts=None, limit=LIMIT, texts=TEXTS):
    return write_store(
        texts, encoder.tokenizer, path, limit, "text", EXCLUDE, 1, 0, encoder.beginning, parts
    )


def write(encoder, folder, place, limit=LIMIT, **options):
    return write_part(TEXTS, encoder, folder, place, limit, "text", EXCLUDE, **options)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_any_number_of_parts_gives_the_store_of_one_job(encoder, tmp_path, count):
    whole = store(encoder, tmp_path / "whole.bin")
    folders = [tmp_path / f"{part}of{count}" for part in range(count)]
    tokens = [write(encoder, folder, (k, count)) for k, folder in enumerate(folders)]
    assert LIMIT <= sum(tokens) < 1.3 * LIMIT, "parts stop near what is needed"
    with Parts(folders, encoder, "text", EXCLUDE) as parts:
        joined = store(encoder, tmp_path / "joined.bin", parts)
        assert parts.missing == 0
    assert joined == whole
    assert (tmp_path / "joined.bin").read_bytes() == (tmp_path / "whole.bin").read_bytes()


def test_what_parts_left_out_is_encoded_when_they_are_joined(encoder, tmp_path):
    whole = store(encoder, tmp_path / "whole.bin")
    folders = [tmp_path / "0", tmp_path / "1"]
    for k, folder in enumerate(folders):
        write(encoder, folder, (k, 2), limit=LIMIT // 2)
    with Parts(folders, encoder, "text", EXCLUDE) as parts:
        assert store(encoder, tmp_path / "joined.bin", parts) == whole
        assert parts.missing > 0


@settings(max_examples=25, deadline=None)
@given(groups=st.integers(0, 12), cut_ids=st.integers(0, 5000), cut_lines=st.integers(0, 400))
def test_a_killed_part_goes_on_to_the_same_bytes(
    encoder, tmp_path_factory, groups, cut_ids, cut_lines
):
    path = tmp_path_factory.mktemp("part")
    write(encoder, path / "whole", (1, 3))
    left = iter([False] * groups)
    try:
        write(encoder, path / "killed", (1, 3), stopping=lambda: next(left, True))
    except Interrupted:
        for name, cut in (("ids.bin", cut_ids), ("groups.jsonl", cut_lines)):
            file = path / "killed" / name
            os.truncate(file, max(0, file.stat().st_size - cut))
        write(encoder, path / "killed", (1, 3))
    for name in ("ids.bin", "groups.jsonl", "key.json"):
        assert (path / "killed" / name).read_bytes() == (path / "whole" / name).read_bytes()


def test_a_part_is_called_what_its_files_are_called(encoder, tmp_path, caplog):
    left = iter([False] * 3)
    with pytest.raises(Interrupted, match="part 0 of 2: asked to stop"):
        write(encoder, tmp_path / "0of2", (0, 2), stopping=lambda: next(left, True))
    with caplog.at_level("INFO", "ptpp"):
        write(encoder, tmp_path / "0of2", (0, 2))
    assert "part 0 of 2 goes on after" in caplog.text


def test_what_is_there_is_not_encoded_again(encoder, tmp_path, monkeypatch):
    write(encoder, tmp_path / "part", (0, 2))
    monkeypatch.setattr(Encoder, "encode", lambda *_: pytest.fail("encoded again"))
    write(encoder, tmp_path / "part", (0, 2))


def test_a_part_of_something_else_is_dropped_or_refused(encoder, tmp_path):
    folders = [tmp_path / "0", tmp_path / "1"]
    write(encoder, folders[0], (0, 2))
    write(encoder, folders[1], (1, 3))
    with pytest.raises(InputError, match="another number of parts; delete it and run again"):
        Parts(folders, encoder, "text", EXCLUDE)
    write(encoder, folders[1], (1, 2))
    with Parts(folders, encoder, "text", EXCLUDE):
        pass
    with pytest.raises(InputError, match="belongs to other text"):
        Parts(folders, encoder, "changed", EXCLUDE)


def test_a_damaged_part_is_refused(encoder, tmp_path):
    write(encoder, tmp_path / "0", (0, 1))
    lines = (tmp_path / "0" / "groups.jsonl").read_text().splitlines(keepends=True)
    lines[1] = json.dumps([*json.loads(lines[1]), 10**7]) + "\n"
    (tmp_path / "0" / "groups.jsonl").write_text("".join(lines))
    with (
        Parts([tmp_path / "0"], encoder, "text", EXCLUDE) as parts,
        pytest.raises(InputError, match="damaged; delete it and run again"),
    ):
        store(encoder, tmp_path / "joined.bin", parts)
    assert not (tmp_path / "joined.bin").exists()
