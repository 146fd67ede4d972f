"""One vocabulary for three languages: lossless, reproducible, readable by transformers."""

import os
from itertools import chain, islice, repeat

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptpp.corpora.synthetic import generate
from ptpp.corpora.tokenizer import (
    SEPARATOR,
    SEPARATOR_ID,
    load_tokenizer,
    tokenizer_digest,
    tokenizer_threads,
    train_tokenizer,
)
from ptpp.errors import InputError

TEXTS = {
    "english": "The quick brown fox, it said, doesn't jump.",
    "french": "Où l'été s'achève, l'œuvre commença : « déjà ! »",
    "arabic": "قرأ الكاتب الجديد كتابا عن العلم؛ وقال: نعم.",
}


def streams():
    return {name: generate(name, 0, "train") for name in ("english", "french", "arabic")}


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    path = tmp_path_factory.mktemp("tokenizer") / "vocab"
    train_tokenizer(streams(), 400, 60_000, path)
    return path


@pytest.mark.parametrize("language", TEXTS)
def test_auto_tokenizer_loads_it_and_round_trips(directory, language):
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(directory)
    ids = theirs.encode(TEXTS[language])
    assert theirs.decode(ids) == TEXTS[language]
    assert ids == load_tokenizer(directory).encode(TEXTS[language]).ids
    assert (theirs.eos_token, theirs.eos_token_id) == (SEPARATOR, SEPARATOR_ID)


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
@settings(max_examples=60, deadline=None)
def test_any_text_round_trips(directory, text):
    tokenizer = load_tokenizer(directory)
    tokenizer.encode_special_tokens = True
    assert tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=False) == text


def test_it_has_the_asked_size_and_the_separator_first(directory):
    tokenizer = load_tokenizer(directory)
    assert tokenizer.get_vocab_size() == 400
    assert tokenizer.token_to_id(SEPARATOR) == SEPARATOR_ID == 0


def test_training_again_gives_the_same_files(directory, tmp_path):
    assert train_tokenizer(streams(), 400, 60_000, tmp_path / "b") == tokenizer_digest(directory)
    for name in os.listdir(directory):
        assert (tmp_path / "b" / name).read_bytes() == (directory / name).read_bytes()


def test_each_language_gives_its_bytes_and_no_more(tmp_path):
    read = {"latin": 0, "arabic": 0}

    def counted(name, text):
        for document in repeat(text):
            read[name] += len(document.encode())
            yield document

    languages = {"latin": counted("latin", "abcd efgh "), "arabic": counted("arabic", "كتاب علم ")}
    train_tokenizer(languages, 260, 1000, tmp_path / "t")
    assert all(1000 <= size < 1020 for size in read.values())


def test_a_stream_cut_inside_a_character_still_trains(tmp_path):
    text = chain(["x"], repeat("كتاب"))
    assert train_tokenizer({"arabic": text}, 260, 1000, tmp_path / "t")


def test_too_little_text_is_refused_and_names_the_language(tmp_path):
    short = {"english": iter(["only this"]), "french": generate("french", 0, "train")}
    with pytest.raises(InputError, match="language english: its text ends after 9 bytes"):
        train_tokenizer(short, 300, 1000, tmp_path / "t")
    assert not (tmp_path / "t").exists()


def test_a_vocabulary_the_text_cannot_fill_is_refused(tmp_path):
    with pytest.raises(InputError, match="vocab_size 5000"):
        train_tokenizer({"english": repeat("ab ")}, 5000, 300, tmp_path / "t")
    with pytest.raises(InputError, match="at least 257"):
        train_tokenizer({"english": repeat("ab ")}, 256, 300, tmp_path / "t")


def test_missing_and_damaged_tokenizers_are_named(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(InputError, match="not a tokenizer"):
        load_tokenizer(tmp_path)


def test_a_foreign_tokenizer_without_our_separator_is_refused(directory, tmp_path):
    text = (directory / "tokenizer.json").read_text().replace(SEPARATOR, "<sep>")
    (tmp_path / "tokenizer.json").write_text(text)
    with pytest.raises(InputError, match="special token"):
        load_tokenizer(tmp_path)


def test_thread_settings_hold_inside_the_block_only(monkeypatch):
    monkeypatch.setenv("RAYON_NUM_THREADS", "7")
    monkeypatch.delenv("TOKENIZERS_PARALLELISM", raising=False)
    with tokenizer_threads(1):
        assert os.environ["TOKENIZERS_PARALLELISM"] == "false"
        assert os.environ["RAYON_NUM_THREADS"] == "1"
    assert os.environ["RAYON_NUM_THREADS"] == "7"
    assert "TOKENIZERS_PARALLELISM" not in os.environ


def test_the_vocabulary_serves_all_three_languages(directory):
    """Bytes per token above one everywhere: no language is left to single bytes."""
    tokenizer = load_tokenizer(directory)
    for name in ("english", "french", "arabic"):
        text = "\n".join(islice(generate(name, 0, "valid"), 5))
        assert len(text.encode()) / len(tokenizer.encode(text).ids) > 1.3
