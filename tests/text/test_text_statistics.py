"""The statistics say what they claim, on texts whose answers are known."""

import sys

import numpy as np
import pytest
from conftest import ROOT

from ptpp.errors import InputError

sys.path.insert(0, str(ROOT / "benchmarks"))
from text_statistics import text_statistics

sys.path.pop(0)


def uniform_text(types: int, words: int) -> list[str]:
    draws = np.random.default_rng(0).integers(0, types, size=words)
    return [" ".join(f"w{draw:04d}" for draw in draws)]


def test_uniform_independent_words():
    measured = text_statistics(uniform_text(64, 200_000), 200_000)
    assert measured.types == measured.types_tenth == 64
    assert measured.word_length == 5
    assert measured.word_entropy == pytest.approx(6, abs=0.01)
    assert measured.next_word_entropy == pytest.approx(6, abs=0.03)
    assert measured.top_100 == 1
    assert np.isnan(measured.recurrence)  # no word is rare here


def test_a_fixed_cycle_leaves_nothing_to_guess():
    cycle = " ".join(f"w{i:03d}" for i in range(500))
    measured = text_statistics([cycle] * 20, 10_000)
    assert measured.next_word_entropy == pytest.approx(0, abs=0.01)
    assert measured.word_entropy == pytest.approx(np.log2(500))
    assert measured.zipf_slope == pytest.approx(0, abs=1e-9)


def test_zipfian_words_show_their_slope():
    share = 1 / np.arange(1, 5001)
    draws = np.random.default_rng(0).choice(5000, size=200_000, p=share / share.sum())
    measured = text_statistics([" ".join(f"w{draw}" for draw in draws)], 200_000)
    assert measured.zipf_slope == pytest.approx(-1, abs=0.05)


def test_recurrence_counts_rare_words_that_come_back():
    fresh = " ".join(f"w{i}" for i in range(20_000))
    # Every word returns after 40 others: each later occurrence of the pair lies within reach.
    near = " ".join(f"w{i % 40}x{i // 120}" for i in range(20_000))
    assert text_statistics([fresh], 20_000).recurrence == 0
    assert text_statistics([near], 20_000).recurrence == pytest.approx(2 / 3, abs=0.08)


def test_too_little_text_is_refused():
    with pytest.raises(InputError, match="holds 2 words; 10 are needed"):
        text_statistics(["two words"], 10)
