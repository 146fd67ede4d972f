"""Synthetic Arabic: invented roots in real patterns, with real particles, clitics and endings.

Short vowels are not written, as in ordinary Arabic print. Every noun and adjective stands after a
prefix ("ال", "بال", or an empty one), to which conjunctions attach in turn.
"""

import numpy as np

from ptpp.text.synthetic.lexicon import Language, build_language, draw_words, read_language
from ptpp.text.synthetic.meaning import COUNTS, STEMS, Meaning

# Patterns spell the three radicals 1, 2, 3. Nouns: singular and plural, gender.
_NOUNS = (
    ("123", "12و3", 0), ("12ا3", "أ12ا3", 0), ("م123", "م1ا23", 0), ("12ا3ة", "12ا3ات", 1),
    ("ت12ي3", "ت12ي3ات", 0), ("1ا23", "1ا23ون", 0), ("12ي3", "12ا3", 0), ("123ة", "123ات", 1),
    ("م12و3", "م1ا2ي3", 0), ("ا1ت2ا3", "ا1ت2ا3ات", 0), ("م123ة", "م1ا23", 1),
    ("است12ا3", "است12ا3ات", 0),
)  # fmt: skip
_ADJECTIVES = ("12ي3", "1ا23", "م12و3", "123ي", "12و3", "م1ت23", "م12ا3", "12لا3")
# Verbs: past and present stem.
_VERBS = (("123", "123"), ("ا1ت23", "1ت23"), ("ت1ا23", "ت1ا23"), ("أ123", "123"),
          ("ان123", "ن123"), ("است123", "ست123"))  # fmt: skip
_PRESENT_AFFIXES = (
    ("أ", ""), ("أ", ""), ("ت", ""), ("ت", "ين"), ("ي", ""), ("ت", ""),
    ("ن", ""), ("ن", ""), ("ت", "ون"), ("ت", "ن"), ("ي", "ون"), ("ي", "ن"),
)  # fmt: skip
_PAST_SUFFIXES = ("ت", "ت", "ت", "ت", "", "ت", "نا", "نا", "تم", "تن", "وا", "ن")
_SUFFIXES = ("", "ه", "ها", "هم", "ي", "نا", "ك")  # possessives


def build(seed: int, meaning: Meaning) -> Language:
    """The Arabic of a seed: its lexicon and a library of clauses."""
    data = read_language("arabic")
    rng = np.random.default_rng([seed, 3, 2])
    roots = draw_words(rng, STEMS, data, "stems")
    names = draw_words(rng, COUNTS["name"], data, "names")
    draws = rng.integers(0, 1 << 12, size=len(meaning.stem)).tolist()

    def inflect(word_class: str, root: str, derivation: int, concept: int):
        return _inflect(word_class, root, derivation, draws[concept])

    rng = np.random.default_rng([seed, 4, 2])
    return build_language(data, rng, meaning, roots, names, inflect)


def _spell(pattern: str, root: str) -> str:
    return pattern.replace("1", root[0]).replace("2", root[1]).replace("3", root[2])


def _inflect(word_class: str, root: str, derivation: int, draw: int) -> tuple[list[str], int]:
    match word_class:
        case "name":
            return [root], draw % 2
        case "noun":
            singular, plural, gender = _NOUNS[2 * derivation + draw % 2]
            words = _spell(singular, root), _spell(plural, root)
            return [_possessed(w, suffix) for suffix in _SUFFIXES for w in words], gender
        case "verb":
            past, present = _VERBS[2 * derivation + draw % 2]
            past, present = _spell(past, root), _spell(present, root)
            return [
                *[prefix + present + suffix for prefix, suffix in _PRESENT_AFFIXES],
                *[past + suffix for suffix in _PAST_SUFFIXES],
            ], 0
        case "adjective":
            word = _spell(_ADJECTIVES[2 * derivation + draw % 2], root)
            return [word, word + "ة", word + "ة", word + "ة"], 0
        case _:
            return [_spell(_ADJECTIVES[draw % 4], root) + "ا"], 0


def _possessed(word: str, suffix: str) -> str:
    return word[:-1] + "ت" + suffix if suffix and word.endswith("ة") else word + suffix
