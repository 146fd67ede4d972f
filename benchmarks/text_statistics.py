"""Statistics to compare synthetic text with real text.

`python benchmarks/text_statistics.py english french arabic novels.jsonl.xz` prints one row for
each synthetic language or JSON Lines file.
"""

import math
import re
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import islice, pairwise
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ptpp.errors import InputError
from ptpp.text.sources import documents


@dataclass(frozen=True)
class TextStatistics:
    """Measured on the first `words` words, in lower case, and on the characters they span.

    types_tenth, types: distinct words among the first tenth and all words (Heaps' curve).
    top_100, top_1000: share of the text that the commonest words make up.
    zipf_slope: slope of log frequency on log rank, ranks 10 to 3000.
    word_entropy, next_word_entropy: bits, of a word alone and after the word before it.
    character_entropy: bits, of a character after the four before it.
    recurrence: share of rarer words (less than 1 in 5000) said within the 50 words before; NaN
        without such words.
    """

    words: int
    word_length: float
    types_tenth: int
    types: int
    top_100: float
    top_1000: float
    zipf_slope: float
    word_entropy: float
    next_word_entropy: float
    character_entropy: float
    recurrence: float


def text_statistics(texts: Iterable[str], words: int = 1_000_000) -> TextStatistics:
    """Read documents until there are `words` words; InputError when they hold fewer."""
    stream: list[str] = []
    characters: list[str] = []
    for text in texts:
        stream += re.findall(r"\w+", text.lower())
        characters.append(text)
        if len(stream) >= words:
            break
    if len(stream) < words:
        raise InputError(f"the text holds {len(stream)} words; {words} are needed")
    stream = stream[:words]
    counts = Counter(stream)
    frequency = np.array(sorted(counts.values(), reverse=True))
    ranks = np.arange(10, min(3000, len(frequency)))
    joined = "\n".join(characters)[: 3 * words]
    grams = [[joined[i : i + n] for i in range(len(joined) - n)] for n in (4, 5)]
    single = _entropy(stream)
    return TextStatistics(
        words=words,
        word_length=sum(map(len, stream)) / words,
        types_tenth=len(set(stream[: words // 10])),
        types=len(counts),
        top_100=float(frequency[:100].sum() / words),
        top_1000=float(frequency[:1000].sum() / words),
        zipf_slope=float(np.polyfit(np.log(ranks), np.log(frequency[ranks - 1]), 1)[0]),
        word_entropy=single,
        next_word_entropy=_entropy(pairwise(stream)) - single,
        character_entropy=_entropy(grams[1]) - _entropy(grams[0]),
        recurrence=_recurrence(stream, counts),
    )


def _recurrence(stream: list[str], counts: Counter) -> float:
    rare = [i for i in range(50, len(stream)) if counts[stream[i]] * 5000 < len(stream)][::50]
    return float(np.mean([stream[i] in stream[i - 50 : i] for i in rare])) if rare else math.nan


def _entropy(items: Iterable) -> float:
    share = np.array(list(Counter(items).values()), dtype=float)
    share /= share.sum()
    return float(-(share * np.log2(share)).sum())


def _main(names: list[str]) -> None:
    for name in names:
        spec = {"source": "synthetic", "language": name, "seed": 0, "cognates": 0.4}
        if "." in name:
            spec = {"source": "jsonl", "train": [name], "valid": []}
        row = asdict(text_statistics(islice(documents(spec, "train"), 100_000)))
        print(name, *(f"{key}={value:.4g}" for key, value in row.items()), sep="\t")


if __name__ == "__main__":
    _main(sys.argv[1:])
