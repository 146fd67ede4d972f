"""Synthetic English: real function words and endings around invented stems."""

import numpy as np

from ptpp.text.synthetic.lexicon import Language, build_language, draw_words, read_language
from ptpp.text.synthetic.meaning import COUNTS, STEMS, Meaning

SUFFIXES = {
    "noun": ("", "er", "ity", "ment", "ation", "ance"),
    "verb": ("", "ize", "ify"),
    "adjective": ("", "al", "ous", "able"),
    "adverb": ("ly", "ally"),
}


def build(seed: int, meaning: Meaning) -> Language:
    """The English of a seed: its lexicon and a library of clauses."""
    first_verb = meaning.first[1]

    def inflect(word_class: str, stem: str, derivation: int, concept: int):
        if word_class == "name":
            return [stem.capitalize()], 0
        word = join(stem, SUFFIXES[word_class][derivation])
        if word_class == "noun":
            return [word, _with_s(word)], 0
        if word_class != "verb":
            return [word], 0
        # The most frequent verbs change their vowel in the past.
        past = _ablaut(word) if concept < first_verb + 60 else join(word, "ed")
        present = [word, word, _with_s(word), word, word, word]
        return [*present, *[past] * 6, word, join(word, "ing"), past], 0

    rng = np.random.default_rng([seed, 4, 0])
    return build_language(read_language("english"), rng, meaning, stems(seed), names(seed), inflect)


def stems(seed: int) -> list[str]:
    """STEMS distinct stems, from frequent to rare."""
    rng = np.random.default_rng([seed, 3, 0])
    return draw_words(rng, STEMS, read_language("english"), "stems")


def names(seed: int) -> list[str]:
    """COUNTS["name"] distinct names in lower case, from frequent to rare."""
    rng = np.random.default_rng([seed, 3, 3])
    return draw_words(rng, COUNTS["name"], read_language("english"), "names")


def join(stem: str, suffix: str) -> str:
    """A stem with a suffix, spelt as English would: an "e" falls, a "y" turns to "i"."""
    if suffix[:1] in ("a", "e", "i", "o", "u", "y") and stem.endswith("e"):
        return stem[:-1] + suffix
    if suffix and suffix[0] != "i" and stem.endswith("y") and stem[-2:-1] not in tuple("aeou"):
        return stem[:-1] + "i" + suffix
    return stem + suffix


def _with_s(word: str) -> str:
    if word.endswith(("s", "x", "z", "ch", "sh")):
        return word + "es"
    return join(word, "es") if word.endswith("y") and word != join(word, "es")[:-2] else word + "s"


def _ablaut(word: str) -> str:
    for old, new in (("ee", "e"), ("ea", "o"), ("i", "a"), ("a", "oo"), ("o", "e"), ("e", "a")):
        if old in word:
            return word.replace(old, new, 1)
    return word + "t"
