"""What the synthetic languages talk about: one space of concepts behind all of them.

A concept is a lemma before it is spelt: a number, a word class, a stem and a derivation. Topics
and collocations live here, so the three languages share them as translations would. Everything is
drawn from integers and correctly rounded operations (+ * / sqrt), so that each machine makes the
same tables.
"""

from dataclasses import dataclass

import numpy as np

from ptpp.text.synthetic.grammar import OPEN_CLASSES, RELATIONS

COUNTS = {"noun": 9000, "verb": 3600, "adjective": 4200, "adverb": 900, "name": 1500}
STEMS = 8000
TOPICS = 64
TOPIC_WORDS = 256  # of each class
COLLOCATES = 32  # of each head and relation
SENSES = 160  # groups of concepts that keep similar company
DERIVATIONS = {"noun": 6, "verb": 3, "adjective": 4, "adverb": 2, "name": 1}

_HEADS = {
    "noun_adjective": ("noun", "adjective"),
    "noun_noun": ("noun", "noun"),
    "subject_verb": ("noun", "verb"),
    "verb_object": ("verb", "noun"),
    "verb_noun": ("verb", "noun"),
    "adverb": ("verb", "adverb"),
}


@dataclass(frozen=True)
class Meaning:
    """Concepts are numbered class after class, within a class from frequent to rare.

    first: number of each class's first concept, shape (classes + 1,).
    stem, derivation: of each concept, shape (concepts,); stems run from frequent to rare too.
    common: concepts by frequency, shape (classes, 65536): an even draw of a row is Zipfian.
    topical: words of each topic, shape (topics, classes, TOPIC_WORDS), likeliest first.
    collocates: shape (relations, concepts, COLLOCATES), likeliest first.
    """

    first: np.ndarray
    stem: np.ndarray
    derivation: np.ndarray
    common: np.ndarray
    topical: np.ndarray
    collocates: np.ndarray


def build_meaning(seed: int) -> Meaning:
    rng = np.random.default_rng([seed, 1])
    counts = [COUNTS[name] for name in OPEN_CLASSES]
    first = np.concatenate([[0], np.cumsum(counts)])
    stem, derivation = _families(rng)
    common = np.stack([zipf(1 << 16, n, q=3) + f for n, f in zip(counts, first, strict=False)])
    return Meaning(first, stem, derivation, common, _topics(rng, first), _company(rng, first))


def zipf(size: int, count: int, q: int) -> np.ndarray:
    """Ranks 0..count-1 repeated in proportion to 1 / (rank + q), shape (size,), ascending."""
    total = np.cumsum(1.0 / (np.arange(count, dtype=np.float64) + q))
    middles = (np.arange(size, dtype=np.float64) + 0.5) * total[-1] / size
    return np.searchsorted(total, middles).clip(max=count - 1)


def _families(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Stem and derivation of every concept: pairs are unique within a word class.

    Concepts of all classes share the stems, so words come in families; a concept's stem is about
    as frequent as the concept itself.
    """
    stems, derivations = [], []
    for name in OPEN_CLASSES:
        tries = 4 * COUNTS[name]
        jitter = rng.integers(0, STEMS // 20, size=tries)
        stem = (np.arange(tries) * STEMS // tries + jitter) % STEMS
        # The rarer the word, the likelier it is derived: from never to about every second.
        roll = rng.integers(0, 2 * tries, size=tries)
        kind = rng.integers(0, DERIVATIONS[name], size=tries)
        derivation = np.where(roll < np.arange(tries) + tries // 8, kind, 0)
        _, first = np.unique(stem * 16 + derivation, return_index=True)
        first = np.sort(first)
        chosen = first[np.arange(COUNTS[name]) * len(first) // COUNTS[name]]
        stems.append(stem[chosen])
        derivations.append(derivation[chosen])
    return np.concatenate(stems), np.concatenate(derivations)


def _topics(rng: np.random.Generator, first: np.ndarray) -> np.ndarray:
    classes = []
    for name, start in zip(OPEN_CLASSES, first, strict=False):
        flat = zipf(1 << 16, COUNTS[name], q=60)  # topical words are rarely the commonest ones
        classes.append(flat[rng.integers(0, 1 << 16, size=(TOPICS, TOPIC_WORDS))] + start)
    return np.stack(classes, axis=1)


def _company(rng: np.random.Generator, first: np.ndarray) -> np.ndarray:
    """Half of a concept's collocates are those of its sense, half are its own."""
    concepts = int(first[-1])
    sense = zipf(1 << 12, SENSES, q=4)[rng.integers(0, 1 << 12, size=concepts)]
    tables = []
    for relation in RELATIONS:
        dependent = OPEN_CLASSES.index(_HEADS[relation][1])
        flat = zipf(1 << 16, COUNTS[OPEN_CLASSES[dependent]], q=20)
        shared = flat[rng.integers(0, 1 << 16, size=(SENSES, COLLOCATES))]
        own = flat[rng.integers(0, 1 << 16, size=(concepts, COLLOCATES))]
        mixed = np.where(np.arange(COLLOCATES) % 2, shared[sense], own) + first[dependent]
        tables.append(mixed.astype(np.int32))
    return np.stack(tables)
