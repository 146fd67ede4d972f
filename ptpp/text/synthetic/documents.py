"""Unlimited synthetic text in three languages from a seed; no file, no network.

A document has topics, a cast of names, favourite words and a tense. Its sentences are patterns of
slots (`grammar`) filled with concepts (`meaning`) by topic and by the company of their heads, then
spelt with agreement by a language (`english`, `french`, `arabic`). Patterns thus lie at every
scale and frequency, from letter pairs to rare collocations. All of this is our own design.
"""

from collections.abc import Iterator
from functools import lru_cache
from itertools import count, pairwise

import numpy as np

from ptpp.errors import InputError
from ptpp.text.synthetic import arabic, english, french
from ptpp.text.synthetic.grammar import OPEN_CLASSES
from ptpp.text.synthetic.lexicon import CLOSED_DRAWS, Language
from ptpp.text.synthetic.meaning import (
    COLLOCATES,
    TOPIC_WORDS,
    TOPICS,
    Meaning,
    build_meaning,
    zipf,
)

VERSION = 1  # raise it whenever the same spec would give other text
LANGUAGES = ("english", "french", "arabic")

_SPLITS = ("train", "valid")
_DOCUMENTS = 160  # written at once: enough to amortise numpy, few enough to stay in the cache
_FAVOURITES = 8  # of each class, per document
_ALL = 1 << 16
_DEAR, _NEAR, _TOPICAL = (
    zipf(size, count, q=q)
    for size, count, q in ((256, _FAVOURITES, 1), (256, COLLOCATES, 1), (4096, TOPIC_WORDS, 4))
)
# Chances, of 65536, that an open-class word comes from its head's company, the document's
# favourites or its topic (else from the whole class); by class.
_COMPANY, _FAVOURITE, _TOPIC = (
    np.array(percents) * _ALL // 100
    for percents in ((42, 46, 42, 40, 0), (24, 16, 16, 12, 88), (22, 24, 26, 20, 8))
)
_RULED, _USUAL = _ALL // 2, _ALL * 55 // 100  # closed classes: the head's or document's favourite


def generate(language: str, seed: int, split: str, cognates: float = 0.0) -> Iterator[str]:
    """An endless stream of documents of a few hundred to a few thousand characters.

    language: "english", "french" or "arabic"; languages of one seed share topics and collocations.
    split: "train" or "valid": disjoint random streams.
    cognates: share (0..1) of French stems respelt from the English stem of the same meaning.

    The same arguments give the same text on every machine. Raises InputError at once.
    """
    if language not in LANGUAGES:
        raise InputError(f"language {language!r}: expected one of {', '.join(LANGUAGES)}")
    if split not in _SPLITS:
        raise InputError(f"split {split!r}: expected one of {', '.join(_SPLITS)}")
    if seed < 0:
        raise InputError(f"seed {seed}: expected 0 or more")
    if not 0 <= cognates <= 1:
        raise InputError(f"cognates {cognates}: expected a share from 0 to 1")
    return _stream(language, seed, split, cognates)


def _stream(language: str, seed: int, split: str, cognates: float) -> Iterator[str]:
    spelling, meaning = _build(language, seed, cognates)
    root = [seed, 2, LANGUAGES.index(language), _SPLITS.index(split)]
    for batch in count():
        yield from _write(spelling, meaning, np.random.default_rng([*root, batch]))


@lru_cache(maxsize=4)  # it takes seconds, and both splits read the same
def _build(language: str, seed: int, cognates: float) -> tuple[Language, Meaning]:
    meaning = build_meaning(seed)
    match language:
        case "english":
            return english.build(seed, meaning), meaning
        case "french":
            return french.build(seed, meaning, cognates), meaning
        case _:
            return arabic.build(seed, meaning), meaning


def _write(language: Language, meaning: Meaning, rng: np.random.Generator) -> list[str]:
    """One batch of documents. Arrays below are per sentence, per clause or per slot."""
    library = language.library
    sentences = rng.integers(5, 33, size=_DOCUMENTS)
    document = np.repeat(np.arange(_DOCUMENTS), sentences)
    clause, sentence, opening = _clauses(library, len(document), rng)
    past = _coins(rng, _DOCUMENTS, 75)[document[sentence]] ^ _coins(rng, len(clause), 8)

    length = library.length[clause]
    ends = np.cumsum(length)
    begins = ends - length
    owner = np.repeat(np.arange(len(clause)), length)  # clause of each slot
    base = begins[owner]
    slot = library.start[clause][owner] + np.arange(ends[-1]) - base
    column = {name: values[slot] for name, values in library.columns.items()}
    lemma = _lemmas(language, meaning, rng, slot, base, column, document, sentence[owner])

    form = _inflect(language, rng, lemma, base, column, past[owner])
    starts = np.cumsum(sentences) - sentences  # first sentence of each document
    variant = _variants(language, rng, form, begins[opening], starts)
    words = language.texts[form + variant * len(language.glues)].tolist()
    borders = [*begins[opening][starts].tolist(), len(words)]
    return ["".join(words[a:b]) for a, b in pairwise(borders)]


def _clauses(library, sentences: int, rng: np.random.Generator):
    """Clause numbers, the sentence of each, and where each sentence's first clause stands.

    A sentence is one "main" clause, up to three of kind "more", and one "end".
    """
    more = np.searchsorted([48, 82, 95], rng.integers(0, 100, size=sentences), side="right")
    ends = np.cumsum(more + 2)
    opening = ends - more - 2
    low, high = (np.full(ends[-1], bound) for bound in library.kinds["more"])
    for kind, where in (("main", opening), ("end", ends - 1)):
        low[where], high[where] = library.kinds[kind]
    even = rng.integers(0, _ALL, size=len(low))
    skewed = even * even >> 16  # some patterns are far commoner than others
    clause = low + ((high - low) * skewed >> 16)
    return clause, np.repeat(np.arange(sentences), more + 2), opening


def _lemmas(language, meaning, rng, slot, base, column, document, sentence) -> np.ndarray:
    """The lemma of every slot, heads before those that depend on them."""
    library = language.library
    head = np.where(column["head"] >= 0, base + column["head"], -1)
    owner = document[sentence]
    topic, favourites = _subjects(meaning, rng, document)
    roll = rng.integers(0, _ALL, size=len(slot), dtype=np.uint16).astype(np.int64)
    draw = rng.integers(0, _ALL, size=len(slot), dtype=np.uint16).astype(np.int64)
    habit = rng.integers(0, CLOSED_DRAWS, size=_DOCUMENTS)
    word, relation, depth = (a[slot] for a in (library.word, library.relation, library.depth))
    lemma = np.empty(len(slot), dtype=np.int64)
    for level in range(int(depth.max()) + 1):
        here = np.nonzero(depth == level)[0]
        grammatical = word[here] >= len(OPEN_CLASSES)

        at = here[grammatical]
        pick = draw[at] // (_ALL // CLOSED_DRAWS)
        ruled = (head[at] >= 0) & (roll[at] < _RULED)
        # A head's favourite: any fixed scattering of lemmas over the draws will do.
        pick[ruled] = (lemma[head[at[ruled]]] * 2654435761 >> 8) % CLOSED_DRAWS
        usual = (column["sticky"][at] > 0) & (roll[at] < _USUAL)
        pick[usual] = habit[owner[at[usual]]]
        lemma[at] = language.closed[word[at] - len(OPEN_CLASSES), pick]

        at = here[~grammatical]
        led = head[at] >= 0
        led[led] = lemma[head[at[led]]] < meaning.first[-1]  # pronouns keep no company
        limit = np.where(led, _COMPANY[word[at]], 0)
        near = roll[at] < limit
        limit += _FAVOURITE[word[at]]
        dear = ~near & (roll[at] < limit)
        limit += _TOPIC[word[at]]
        topical = ~near & ~dear & (roll[at] < limit)
        a = at[near]
        lemma[a] = meaning.collocates[relation[a], lemma[head[a]], _NEAR[draw[a] >> 8]]
        a = at[dear]
        lemma[a] = favourites[owner[a], word[a], _DEAR[draw[a] >> 8]]
        a = at[topical]
        lemma[a] = meaning.topical[topic[sentence[a]], word[a], _TOPICAL[draw[a] >> 4]]
        a = at[~near & ~dear & ~topical]
        lemma[a] = meaning.common[word[a], draw[a]]
    return lemma


def _subjects(meaning: Meaning, rng: np.random.Generator, document: np.ndarray):
    """Topic of every sentence, and each document's favourites, shape (documents, classes, 8)."""
    topics = zipf(1 << 12, TOPICS, q=6)[rng.integers(0, 1 << 12, size=(_DOCUMENTS, 3))]
    which = np.searchsorted([60, 85], rng.integers(0, 100, size=len(document)), side="right")
    shape = (_DOCUMENTS, len(OPEN_CLASSES), _FAVOURITES)
    draws = _TOPICAL[rng.integers(0, 1 << 12, size=shape)]
    classes = np.arange(len(OPEN_CLASSES))[None, :, None]
    return topics[document, which], meaning.topical[topics[:, :1, None], classes, draws]


def _inflect(language, rng, lemma, base, column, past) -> np.ndarray:
    """The form of every slot: its lemma in the cell that agreement and the next word ask for."""
    person = language.person[lemma]
    number = np.where(person >= 0, person // 3, _coins(rng, len(lemma), 30))
    person = np.where(person >= 0, person, 2 + 3 * number)
    agree = np.where(column["agree"] >= 0, base + column["agree"], np.arange(len(lemma)))
    form = (
        language.first_form[lemma]
        + column["cell"]
        + column["number"] * number[agree]
        + column["gender"] * language.gender[lemma][agree]
        + column["person"] * person[agree]
        + column["tense"] * past
    )
    return form + column["vowel"] * np.append(language.vowel[form][1:], False)


def _variants(language, rng, form, opening, starts) -> np.ndarray:
    """Space, capital or new line before every form; the variants of `Language.texts`.

    opening: first slot of each sentence; starts: first sentence of each document.
    """
    bare = language.tight[form]
    bare[1:] |= language.glues[form][:-1]
    first = np.zeros(len(form), dtype=bool)
    first[opening] = True
    capital = first.copy()
    capital[1:] |= first[:-1] & language.opens[form][:-1]
    variant = bare + 2 * capital
    breaks = rng.integers(0, 5, size=len(opening)) == 0
    variant[opening[breaks]] = 4
    variant[opening[starts]] = 3
    return variant


def _coins(rng: np.random.Generator, size: int, percent: int) -> np.ndarray:
    """0 or 1, shape (size,); 1 with this chance in per cent."""
    return (rng.integers(0, 100, size=size, dtype=np.uint8) < percent).astype(np.int64)
