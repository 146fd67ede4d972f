"""One vocabulary for three languages: lossless, reproducible, readable by transformers."""

import json
import os
import shutil
from itertools import chain, islice, repeat

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models

from ptpp.errors import InputError
from ptpp.text.synthetic.documents import generate
from ptpp.text.tokenizer import (
    SEPARATOR,
    adopt_tokenizer,
    check_same_tokenizer,
    load_tokenizer,
    separator_id,
    tokenizer_threads,
    train_tokenizer,
)
from ptpp.text.tokenizer import digest as digest_of

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
    assert (theirs.eos_token, theirs.eos_token_id) == (SEPARATOR, 0)


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
@settings(max_examples=60, deadline=None)
def test_any_text_round_trips(directory, text):
    tokenizer = load_tokenizer(directory)
    tokenizer.encode_special_tokens = True
    assert tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=False) == text


def test_it_has_the_asked_size_and_the_separator_first(directory):
    tokenizer = load_tokenizer(directory)
    assert tokenizer.get_vocab_size() == 400
    assert tokenizer.token_to_id(SEPARATOR) == 0


def test_training_again_gives_the_same_files(directory, tmp_path):
    assert train_tokenizer(streams(), 400, 60_000, tmp_path / "b") == digest_of(
        load_tokenizer(directory)
    )
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


def test_missing_and_damaged_tokenizers_are_named(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(InputError, match="not a tokenizer"):
        load_tokenizer(tmp_path)


def test_the_separator_ends_documents_and_where_there_is_none_begins_them(directory, tmp_path):
    assert separator_id(directory) == 0
    shutil.copytree(directory, tmp_path / "t")
    config = tmp_path / "t" / "tokenizer_config.json"
    for record, found in [
        ({"eos_token": "a", "bos_token": "b"}, "a"),
        ({"eos_token": None, "bos_token": {"content": "b"}}, "b"),
    ]:
        config.write_text(json.dumps(record))
        expected = load_tokenizer(directory).token_to_id(found)
        assert separator_id(tmp_path / "t") == expected
    for record, told in [
        ({}, "no eos_token and no bos_token"),
        ({"eos_token": "<nowhere>"}, "'<nowhere>' is not in the vocabulary"),
    ]:
        config.write_text(json.dumps(record))
        with pytest.raises(InputError, match=told):
            separator_id(tmp_path / "t")


def test_a_tokenizer_saved_with_a_limit_cuts_nothing(directory, tmp_path):
    tokenizer = load_tokenizer(directory)
    tokenizer.enable_truncation(3)
    tokenizer.enable_padding(length=8)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    text = "a text of more than three tokens"
    whole = load_tokenizer(directory).encode(text).ids
    assert load_tokenizer(tmp_path).encode(text).ids == whole
    assert len(whole) > 8


def test_a_given_tokenizer_is_taken_over_as_transformers_reads_it(llama_directory, tmp_path):
    from transformers import AutoTokenizer

    text = "Un été </s> où 中文, et puis  rien."
    digest = adopt_tokenizer(str(llama_directory), None, 600, tmp_path / "t")
    assert digest == digest_of(load_tokenizer(tmp_path / "t"))
    assert sorted(os.listdir(tmp_path / "t")) == ["tokenizer.json", "tokenizer_config.json"]
    theirs, again = (AutoTokenizer.from_pretrained(d) for d in (llama_directory, tmp_path / "t"))
    taken = load_tokenizer(tmp_path / "t")
    assert taken.encode(text, add_special_tokens=False).ids == theirs(text).input_ids[1:]
    assert again(text).input_ids == theirs(text).input_ids
    assert separator_id(tmp_path / "t") == theirs.eos_token_id == 2
    check_same_tokenizer(llama_directory, tmp_path / "t")


def test_another_tokenizer_in_a_checkpoint_is_refused(llama_directory, directory, tmp_path):
    adopt_tokenizer(str(directory), None, 400, tmp_path / "t")
    check_same_tokenizer(directory, tmp_path / "t")
    check_same_tokenizer(tmp_path, tmp_path / "t")  # it brings none
    with pytest.raises(InputError, match=r"its vocabulary or merges \(model\) is not that"):
        check_same_tokenizer(llama_directory, tmp_path / "t")


def test_given_tokenizers_that_cannot_serve_are_told_in_one_line(llama_directory, tmp_path):
    def refused(told, change=lambda folder: None, vocab_size=600):
        folder = tmp_path / "changed"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(llama_directory, folder)
        change(folder)
        with pytest.raises(InputError, match=told) as caught:
            adopt_tokenizer(str(folder), None, vocab_size, tmp_path / "t")
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "t").exists()

    def edited(folder, **changes):
        path = folder / "tokenizer_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    refused(r"tokenizer.vocab_size: 599, but the tokenizer of .* has 600 ids", vocab_size=599)
    refused("accepted are fast tokenizers", lambda f: (f / "tokenizer.json").unlink())
    refused("no eos_token and no bos_token", lambda f: edited(f, eos_token=None, bos_token=None))
    remote = {"tokenizer_class": "Mine", "auto_map": {"AutoTokenizer": ["mine.Mine", "mine.Mine"]}}
    (tmp_path / "mine.py").write_text("raise SystemExit('code of the checkpoint was run')")

    def with_code(folder):
        shutil.copy(tmp_path / "mine.py", folder)
        edited(folder, **remote)

    refused("no tokenizer to be used", with_code)


def test_a_tokenizer_that_reads_its_separator_in_text_is_refused(tmp_path):
    """A unigram model takes any piece of its vocabulary, control pieces too."""
    from transformers import PreTrainedTokenizerFast

    pieces = [("<unk>", 0.0), ("</s>", 0.0), *((letter, -2.0) for letter in "ab</s>")]
    given = Tokenizer(models.Unigram(pieces, unk_id=0))
    PreTrainedTokenizerFast(
        tokenizer_object=given, eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(tmp_path / "given")
    with pytest.raises(InputError, match="takes '</s>' in a text for the end of a document"):
        adopt_tokenizer(str(tmp_path / "given"), None, 20, tmp_path / "t")


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
