"""A token store holds exactly the text it was given, and says so."""

import dataclasses
import json
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from texts import some_texts, train_small
from tokenizers import Tokenizer, models

from ptpp.errors import InputError
from ptpp.text.store import bytes_per_token, document_hashes, open_store, write_store
from ptpp.text.tokenizer import digest as digest_of
from ptpp.text.tokenizer import load_tokenizer


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return train_small(tmp_path_factory.mktemp("tokenizer") / "vocab")


@pytest.fixture(scope="module")
def tokenizer(directory):
    return load_tokenizer(directory)


TEXTS = ["Un été, déjà.", "كتاب جديد", "Some plain text.\nTwo lines."]


def decoded(store, tokenizer) -> list[str]:
    """The documents of a store, which ends every one of them with the separator, id 0."""
    cuts = np.flatnonzero(store.tokens == 0)
    starts = [0, *(cuts + 1)]
    pieces = [store.tokens[a:b] for a, b in zip(starts, [*cuts, len(store.tokens)], strict=True)]
    return [tokenizer.decode(piece.tolist(), skip_special_tokens=False) for piece in pieces]


def test_what_is_written_is_read(directory, tokenizer, tmp_path):
    info = write_store(TEXTS, tokenizer, tmp_path / "a.bin", None, "origin")
    store = open_store(tmp_path / "a.bin")
    assert store.info == info
    assert decoded(store, tokenizer) == [*TEXTS, ""]
    assert info.documents == 3 and info.excluded == 0
    assert info.tokens == len(store.tokens)
    assert info.bytes == sum(len(text.encode()) for text in TEXTS)
    assert (info.tokenizer, info.source) == (digest_of(load_tokenizer(directory)), "origin")
    assert bytes_per_token(info) == info.bytes / info.tokens


def test_the_array_is_little_endian_uint16_and_read_only(tokenizer, tmp_path):
    info = write_store(TEXTS, tokenizer, tmp_path / "a.bin", None, "")
    store = open_store(tmp_path / "a.bin")
    assert info.dtype == "uint16"
    raw = np.frombuffer((tmp_path / "a.bin").read_bytes(), dtype="<u2")
    assert np.array_equal(store.tokens, raw)
    with pytest.raises(ValueError, match="read-only"):
        store.tokens[0] = 1


def test_a_large_vocabulary_takes_uint32(tmp_path):
    words = {"<|endoftext|>": 0} | {f"w{i}": i for i in range(1, 70_000)}
    large = Tokenizer(models.WordLevel(words, unk_token="<|endoftext|>"))
    write_store(["w69999"], large, tmp_path / "a.bin", None, "")
    assert open_store(tmp_path / "a.bin").tokens.tolist() == [69999, 0]


def test_a_first_token_stands_before_every_document(tokenizer, tmp_path):
    path = tmp_path / "a.bin"
    info = write_store(TEXTS, tokenizer, path, None, "", separator=0, beginning=7)
    tokens = open_store(path).tokens
    ends = np.flatnonzero(tokens == 0)
    assert len(ends) == 3 and (tokens[[0, *(ends[:-1] + 1)]] == 7).all()
    plain = write_store(TEXTS, tokenizer, tmp_path / "b.bin", None, "")
    assert (info.tokens, info.bytes) == (plain.tokens + 3, plain.bytes)
    cut = write_store(TEXTS, tokenizer, path, int(ends[0]) + 2, "", separator=0, beginning=7)
    assert (cut.documents, cut.bytes) == (2, len(TEXTS[0].encode())), "of the second: 7 alone"
    same = write_store(TEXTS, tokenizer, path, None, "", separator=0, beginning=0)
    assert same.tokens == plain.tokens, "one token for the end and the beginning"


@given(
    texts=st.lists(
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=1, max_size=5
    ),
    limit=st.integers(1, 60),
)
@settings(max_examples=60, deadline=None)
def test_bytes_agree_with_the_tokens_kept(tokenizer, tmp_path_factory, texts, limit):
    """Whatever the cut, the kept ids are a prefix, and stand for `bytes` bytes.

    A character of several bytes may be cut inside; it then counts whole.
    """
    path = tmp_path_factory.mktemp("s") / "a.bin"
    whole = write_store(texts, tokenizer, path, None, "")
    everything = open_store(path).tokens.tolist()
    info = write_store(texts, tokenizer, path, limit, "")
    kept = open_store(path).tokens.tolist()
    assert kept == everything[:limit]
    assert whole.bytes == sum(len(text.encode()) for text in texts)
    exact = sum(len(tokenizer.id_to_token(i)) for i in kept if i)  # a character of a name is a byte
    assert exact <= info.bytes <= exact + 3
    if limit >= len(everything):
        assert info.bytes == exact
    begun = 1 + sum(1 for i in kept[:-1] if i == 0)
    assert info.documents == begun


@pytest.mark.parametrize("limit", [1, 5, 12, 17, 18, 19, 20, 21, 25, 30])
def test_bytes_are_counted_from_the_text_whatever_the_tokenizer(llama_tokenizer, tmp_path, limit):
    """Spaces as "▁", unknown characters as bytes: names of tokens say nothing of their length."""
    tokenizer, separator = llama_tokenizer
    texts = ["Un été </s> où 中 文", "kept"]
    info = write_store(texts, tokenizer, tmp_path / "a.bin", limit, "", separator=separator)
    kept = open_store(tmp_path / "a.bin").tokens.tolist()
    assert info.separator == separator
    first = kept[: kept.index(separator)] if separator in kept else kept
    if separator not in kept and limit > 2:
        read = tokenizer.decode(first).rstrip("\ufffd")  # a cut character decodes to these
        assert texts[0].startswith(read)
        assert len(read.encode()) <= info.bytes <= len(read.encode()) + 3
    whole = write_store(texts, tokenizer, tmp_path / "b.bin", None, "", separator=separator)
    assert whole.bytes == sum(len(text.encode()) for text in texts)
    everything = open_store(tmp_path / "b.bin").tokens.tolist()
    assert everything[:limit] == kept
    assert everything.count(separator) == 2 and whole.documents == 2


def test_endless_text_stops_at_the_limit(tokenizer, tmp_path):
    info = write_store(some_texts(), tokenizer, tmp_path / "a.bin", 12_345, "")
    assert info.tokens == 12_345 == len(open_store(tmp_path / "a.bin").tokens)


def test_a_text_that_spells_the_separator_does_not_make_one(tokenizer, tmp_path):
    texts = ["before <|endoftext|> after"]
    write_store(texts, tokenizer, tmp_path / "a.bin", None, "")
    assert decoded(open_store(tmp_path / "a.bin"), tokenizer) == [*texts, ""]


def test_documents_of_the_other_split_are_left_out_and_counted(tokenizer, tmp_path):
    held_out = document_hashes([TEXTS[1]])
    info = write_store(TEXTS, tokenizer, tmp_path / "a.bin", None, "", exclude=held_out)
    assert info.excluded == 1 and info.documents == 2
    assert decoded(open_store(tmp_path / "a.bin"), tokenizer) == [TEXTS[0], TEXTS[2], ""]


@pytest.mark.parametrize("exclude", [frozenset(), document_hashes(TEXTS)])
def test_an_empty_corpus_leaves_no_store(tokenizer, tmp_path, exclude):
    with pytest.raises(InputError, match="holds no text"):
        write_store(TEXTS if exclude else [], tokenizer, tmp_path / "a.bin", None, "", exclude)
    assert list(tmp_path.iterdir()) == []


def test_a_failing_stream_leaves_no_store(tokenizer, tmp_path):
    def failing():
        yield from islice(some_texts(), 800)
        raise InputError("row 801")

    with pytest.raises(InputError, match="row 801"):
        write_store(failing(), tokenizer, tmp_path / "a.bin", None, "")
    assert list(tmp_path.iterdir()) == []


def test_a_cut_array_is_refused(tokenizer, tmp_path):
    path = tmp_path / "a.bin"
    write_store(TEXTS, tokenizer, path, None, "")
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(InputError, match=r"a\.bin: \d+ bytes, but a\.json promises"):
        open_store(path)
    path.unlink()
    with pytest.raises(InputError, match="no such file"):
        open_store(path)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda record: record | {"dtype": "float64"}, "dtype 'float64'"),
        (lambda record: {k: v for k, v in record.items() if k != "bytes"}, "the keys"),
        (lambda record: record | {"more": 1}, "the keys"),
        (lambda record: [], "the keys"),
    ],
)
def test_a_damaged_sidecar_is_refused(tokenizer, tmp_path, damage, told):
    info = write_store(TEXTS, tokenizer, tmp_path / "a.bin", None, "")
    (tmp_path / "a.json").write_text(json.dumps(damage(dataclasses.asdict(info))))
    with pytest.raises(InputError, match=told):
        open_store(tmp_path / "a.bin")


def test_writing_twice_gives_the_same_bytes(tokenizer, tmp_path):
    for name in ("a", "b"):
        write_store(some_texts(3), tokenizer, tmp_path / f"{name}.bin", 50_000, "")
    for suffix in (".bin", ".json"):
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()
