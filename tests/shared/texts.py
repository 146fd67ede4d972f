"""Endless text that takes no time to make, where no test asks what it says."""

import random

from ptpp.text.tokenizer import train_tokenizer


def some_texts(seed=0):
    """Documents of some hundred words, of which few are frequent."""
    generator = random.Random(seed)
    letters = "abcdefghilmnoprstuvéàçœكتبو"
    words = ["".join(generator.choices(letters, k=generator.randint(1, 9))) for _ in range(2000)]
    weights = [1 / (rank + 3) for rank in range(len(words))]
    while True:
        yield " ".join(generator.choices(words, weights, k=generator.randint(50, 500)))


def train_small(folder):
    """A byte-level tokenizer of 400 ids, separator 0."""
    train_tokenizer({"some": some_texts()}, 400, 60_000, folder)
    return folder
