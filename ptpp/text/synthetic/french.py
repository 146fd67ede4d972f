"""Synthetic French: real function words and endings around invented stems, some of them cognates.

A cognate is the English stem of the same meaning, respelt by regular correspondences.
"""

import numpy as np

from ptpp.text.synthetic import english
from ptpp.text.synthetic.lexicon import Language, build_language, draw_words, read_language
from ptpp.text.synthetic.meaning import STEMS, Meaning

# Applied in order to an English stem; the sounds are those Romance words keep.
_RESPELLINGS = (
    ("sch", "ch"), ("sh", "ch"), ("th", "t"), ("wh", "v"), ("ck", "c"), ("qu", "qu"), ("kn", "n"),
    ("w", "v"), ("k", "c"), ("ee", "i"), ("ea", "é"), ("oo", "ou"), ("ow", "ou"), ("oa", "o"),
    ("ay", "ai"), ("y", "i"), ("trans", "tré"), ("ect", "et"), ("sub", "sou"), ("dis", "dé"),
)  # fmt: skip

_SUFFIXES = {
    "noun": ("", "eur", "ité", "ement", "ation", "ance"),
    "verb": ("", "is", "ifi"),
    "adjective": ("", "el", "eux", "able"),
    "adverb": ("ement", "ellement"),
}
_FEMININE_DERIVATIONS = (2, 4, 5)

# Endings of the cells of a verb, in the order that french.yaml names.
_ENDINGS = {
    "er": "e es e ons ez ent|ai as a âmes âtes èrent|ais ais ait ions iez aient|er ant é ée és ées",
    "ir": "is is it issons issez issent|is is it îmes îtes irent|"
    "issais issais issait issions issiez issaient|ir issant i ie is ies",
    "re": "s s - ons ez ent|is is it îmes îtes irent|ais ais ait ions iez aient|re ant u ue us ues",
}
_PARADIGMS = {
    name: tuple(ending.strip("-") for ending in text.replace("|", " ").split())
    for name, text in _ENDINGS.items()
}


def build(seed: int, meaning: Meaning, cognates: float) -> Language:
    """The French of a seed; `cognates` is the share of stems respelt from English."""
    data = read_language("french")
    rng = np.random.default_rng([seed, 3, 1])
    words = draw_words(rng, STEMS, data, "stems")
    cognate = rng.integers(0, 1 << 20, size=STEMS) < cognates * (1 << 20)
    feminine = (rng.integers(0, 100, size=len(meaning.stem)) < 45).tolist()
    if cognate.any():
        words = [
            respell(source) if kept else word
            for word, source, kept in zip(words, english.stems(seed), cognate, strict=True)
        ]

    def inflect(word_class: str, stem: str, derivation: int, concept: int):
        female = feminine[concept]
        if word_class == "noun" and derivation:
            female = derivation in _FEMININE_DERIVATIONS
        return _inflect(word_class, stem, derivation, female), int(female)

    rng = np.random.default_rng([seed, 4, 1])
    return build_language(data, rng, meaning, words, english.names(seed), inflect)


def respell(stem: str) -> str:
    """An English stem in French spelling."""
    for old, new in _RESPELLINGS:
        stem = stem.replace(old, new)
    if stem[:1] == "s" and stem[1:2] in tuple("tpcl") and not stem.startswith("sch"):
        stem = "é" + stem[1:]
    return stem


def _join(stem: str, suffix: str) -> str:
    if suffix[:1] in tuple("aeéiou") and stem[-1:] in tuple("eéiu") and len(stem) > 2:
        return stem[:-1] + suffix
    return stem + suffix


def _inflect(word_class: str, stem: str, derivation: int, feminine: bool) -> list[str]:
    if word_class == "name":
        return [stem.capitalize()]
    word = _join(stem, _SUFFIXES[word_class][derivation])
    match word_class:
        case "noun":
            if feminine and not derivation and not word.endswith(("e", "é")):
                word += "e"
            return [word, _plural(word)]
        case "adjective":
            female = _feminine(word)
            return [word, female, _plural(word), _plural(female)]
        case "verb":
            # The stem's last letter decides the conjugation, as roughly it does in French.
            kind = "er" if derivation or stem[-1] not in "dlnrt" or len(stem) > 6 else "ir"
            kind = "re" if kind == "ir" and stem[-1] in "dn" else kind
            kind = "ir" if word.endswith("is") and derivation == 0 else kind
            return [_join(word, ending) for ending in _PARADIGMS[kind]]
        case _:
            return [word]


def _plural(word: str) -> str:
    if word.endswith(("s", "x", "z")):
        return word
    if word.endswith("al"):
        return word[:-1] + "ux"
    return word + ("x" if word.endswith(("eau", "eu")) else "s")


def _feminine(word: str) -> str:
    for masculine, feminine in (("eux", "euse"), ("el", "elle"), ("en", "enne"), ("f", "ve")):
        if word.endswith(masculine):
            return word[: -len(masculine)] + feminine
    return word if word.endswith("e") else word + "e"
