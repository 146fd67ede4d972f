"""The benchmark of tokenisation measures the same text by every way."""

import argparse
import sys

from conftest import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
import tokenisation

sys.path.pop(0)


def test_every_way_makes_the_same_tokens(tmp_path):
    options = argparse.Namespace(
        files=[],
        megabytes=0.09,
        train_megabytes=None,
        vocab_size=300,
        tokenizer=tmp_path / "tokenizer",
    )
    size, grown = tokenisation.train(options)
    texts = [one for each in tokenisation.read_texts([], 0.09).values() for one in each]
    assert 90_000 <= size <= sum(len(text.encode()) for text in texts) and grown >= 0
    tokens = {}
    for way in tokenisation.WAYS:
        tokens[way], seconds = tokenisation.measure(way, texts, options.tokenizer, tmp_path)
        assert seconds > 0
    assert tokens["store"] == tokens["ids"] == tokens["datasets"] + len(texts)
