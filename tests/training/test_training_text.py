"""What training reads from real token stores: one French order, exact quotas, nothing held out."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from training_driver import ALPHABETS, BASE, text_files, texts_of

from ptpp.text.store import open_store, write_store
from ptpp.text.tokenizer import load_tokenizer
from ptpp.training.data import Text, adaptation_shares

CONTEXT = 32
BATCH = 4
REPLAYS = (0.0, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9)


@pytest.fixture(scope="module")
def text(training_stores):
    return Text.open(**text_files(training_stores))


@pytest.fixture(scope="module")
def language_of(text):
    """Tells the language of a sequence by looking it up among the stores' blocks."""
    found = {}
    for name, store in text.train.items():
        for start in range(0, len(store.tokens) - CONTEXT, CONTEXT):
            block = store.tokens[start : start + CONTEXT + 1].astype(np.int64).tobytes()
            assert found.setdefault(block, name) == name
    return lambda sequence: found[sequence.tobytes()]


def mixture(text, replay, seed=0):
    return text.mixture(adaptation_shares("fr", BASE, replay), seed, "adaptation", CONTEXT)


def read(mixed, start, stop):
    """Sequences start..stop-1 as training reads them, batch by batch."""
    ends = [*range(start, stop, BATCH), stop]
    return np.concatenate([mixed.batch(a, b) for a, b in pairwise(ends)])


@pytest.mark.parametrize("seed", range(4))
def test_all_replay_ratios_read_the_same_french_in_the_same_order(text, language_of, seed):
    """300 sequences of French alone, past the end of its store, against what the others read."""

    def french(replay):
        return [s.tolist() for s in read(mixture(text, replay, seed), 0, 300) if is_french(s)]

    def is_french(sequence):
        return language_of(sequence) == "fr"

    plain = french(0.0)
    assert len(plain) == 300 > (len(text.train["fr"].tokens) - 1) // CONTEXT
    for replay in REPLAYS[1:]:
        mixed = french(replay)
        assert abs(len(mixed) - 300 * (1 - replay)) <= 0.5
        assert mixed == plain[: len(mixed)]


def test_seeds_read_french_in_different_orders(text):
    firsts = {read(mixture(text, 0.0, seed), 0, 20).tobytes() for seed in range(4)}
    assert len(firsts) == 4


def test_pre_training_reads_no_french(text, language_of):
    mixed = text.mixture(text.base, 0, "pretraining", CONTEXT)
    assert {language_of(sequence) for sequence in read(mixed, 0, 200)} == {"en", "ar"}


@given(replay=st.floats(0, 1), start=st.integers(0, 2000), length=st.integers(1, 200))
def test_quotas_are_met_over_windows_of_any_length(text, language_of, replay, start, length):
    """Within one sequence for target against replay, and within 1.5 for each replayed language.

    Rounding keeps the target within 1/2 after any number of sequences and the first replayed
    language within 3/4 (half of the target's 1/2, and its own 1/2); a window has two ends.
    """
    shares = adaptation_shares("fr", BASE, replay)
    languages = [language_of(s) for s in read(mixture(text, replay), start, start + length)]
    counts = {name: languages.count(name) for name in ALPHABETS}
    drift = (start + length) * 1e-6  # shares are kept in millionths
    assert sum(counts.values()) == length
    assert abs(counts["fr"] - length * shares["fr"]) <= 1 + drift
    assert abs(counts["en"] + counts["ar"] - length * replay) <= 1 + drift
    for name in BASE:
        assert abs(counts[name] - length * shares[name]) <= 1.5 + drift


def documents_of(store):
    """Token ids of each document, the last perhaps cut short; 0 is the separator."""
    cuts = np.flatnonzero(store.tokens == 0)
    return [tuple(part[part != 0].tolist()) for part in np.split(store.tokens, cuts)]


def places_of(blocks, tokens):
    """How many of `blocks` occur in `tokens`, at any offset, across documents too."""
    windows = np.lib.stride_tricks.sliding_window_view(tokens, blocks.shape[1])
    seen = {window.tobytes() for window in np.ascontiguousarray(windows)}
    return sum(block.astype(tokens.dtype).tobytes() in seen for block in blocks)


@pytest.mark.parametrize("language", ALPHABETS)
def test_no_validation_document_and_no_evaluation_block_is_ever_trained_on(
    text, training_stores, tmp_path, language
):
    """A tenth of the training texts repeat validation texts; those, and only those, are left out.

    Asserted for token ids: no document of the validation store, not even the one that its end cuts
    short, is or begins a document of the training store; and no evaluation block occurs in the
    training store at any offset. Texts that merely resemble each other are not recognised.
    """
    train, valid = text.train[language], text.valid[language]
    trained, held_out = documents_of(train), documents_of(valid)
    assert len(held_out) > 5 and train.info.excluded > 0
    for document in filter(None, held_out):
        assert not any(other[: len(document)] == document for other in trained)
    blocks = text.evaluation(CONTEXT)[language]
    assert places_of(blocks, np.array(train.tokens)) == 0

    # Without exclusion both do occur: what is asserted above is not empty.
    path = tmp_path / "all.bin"
    tokenizer = load_tokenizer(training_stores / "tokenizer")
    write_store(texts_of(language, "train"), tokenizer, path, 6_000, "")
    everything = open_store(path)
    assert set(documents_of(everything)) & set(held_out)
    assert places_of(blocks, np.array(everything.tokens)) > 0
