"""Synthetic English: real function words and endings around invented stems."""

import numpy as np

from ptpp.text.synthetic.grammar import OPEN_CLASSES, Clause, compile_library
from ptpp.text.synthetic.lexicon import Language, Lexicon, draw_words, split_words
from ptpp.text.synthetic.meaning import COUNTS, STEMS, Meaning

_ONSETS = split_words(
    "s t b w h m l f d r n st c p g th sh br gr tr v cl k ch bl fl sp dr str sl cr pl fr y j sw "
    "kn tw thr wr qu gl sc sn pr wh squ spr scr"
)
_NUCLEI = split_words("e a o i u ea ee oo ou ai oa ow ie ay au")
_CODAS = split_words(
    "n t r d l st m nd rd ll ck ng p th nt ss rt rn lt g b mp sh ft f sk ct rk rm ch nk lk x tch "
    "rth ld z pt"
)
_MIDDLES = split_words(
    "t r n l d m s v st nd c rr tt ll nt g b p ss mb nc ct str mp rt ng f pp tr br"
)
_TAILS = split_words("er le et on y en ow in el or al ock ish ard age ot um ip")
_PREFIXES = split_words("re con de in ex pro per com sub dis pre ab ad trans ob inter")
_ROOTS = split_words("s t p d c v m f l g r n st sp pl cl tr gr fl b pr scr")
_ENDS = split_words("t ct r v n s d m rt nt st l c pt nd p g rm x")
_SHAPES = (
    (_ONSETS, _NUCLEI, _CODAS),
    (_ONSETS, _NUCLEI, _CODAS),
    (_ONSETS, _NUCLEI, _CODAS),
    (_ONSETS, _NUCLEI, _MIDDLES, _TAILS),
    (_PREFIXES, _ROOTS, _NUCLEI[:5], _ENDS),
    (_ONSETS, _NUCLEI, _MIDDLES, _NUCLEI[:5], _ENDS),
    (_PREFIXES, _ROOTS, _NUCLEI[:5], _MIDDLES, _NUCLEI[:5], _ENDS),
    (_ONSETS, _NUCLEI, _MIDDLES, _NUCLEI[:5], _MIDDLES, _TAILS),
)
_NAMES = (
    (_ONSETS, _NUCLEI, _CODAS),
    (_ONSETS, _NUCLEI, _MIDDLES, ["a", "y", "on", "er", "ton", "ley", "ford", "ia", "wood", "by"]),
    (_ONSETS, _NUCLEI, _MIDDLES, _NUCLEI[:5], ["n", "r", "ll", "tt", "s", "nd", "ne", "sh"]),
)

SUFFIXES = {
    "noun": ("", "er", "ity", "ment", "ation", "ance"),
    "verb": ("", "ize", "ify"),
    "adjective": ("", "al", "ous", "able"),
    "adverb": ("ly", "ally"),
    "name": ("",),
}

# Cells of a determiner: number + 2 * (before a vowel); of a finite verb: 6 * past + person.
_CELLS = {"determiner": 4, "be": 14, "have": 12, "do": 12}
_CLOSED = {
    "determiner": split_words(
        "the;a/some/an/some;his;her;this/these;my;their;that/those;no;every/all;your;our;"
        "one/two;another/many;its;any;each/few;such",
        ";",
    ),
    "of": ["of"],
    "preposition": split_words(
        "in;to;with;at;on;for;from;by;into;upon;about;over;through;after;under;against;between;"
        "without;before;towards;behind;among;beyond;near;beside;across;around;within;along;above;"
        "in front of;out of;on account of;in spite of;instead of;by means of;for the sake of",
        ";",
    ),
    "pronoun": ["he@2", "she@2", "it@2", "I@0", "they@5", "you@1", "we@3", "there@2"],
    "object": split_words(
        "it him her them me you us himself herself nothing themselves everything"
    ),
    "be": ["am/are/is/are/are/are/was/were/was/were/were/were/be/been"],
    "have": ["have/have/has/have/have/have/had/had/had/had/had/had"],
    "do": ["do/do/does/do/do/do/did/did/did/did/did/did"],
    "modal": split_words("would could will must should might can may shall"),
    "not": ["not"],
    "degree": split_words("very so too quite more most rather as almost less hardly entirely"),
    "to": ["to"],
    "comma": ["~,"],
    "and": ["and", "but", "or", "for", "yet", "nor"],
    "subordinator": split_words(
        "when;as;if;that;because;while;though;before;until;since;where;after;unless;whether;"
        "as soon as;even if;so that;as though;in order that",
        ";",
    ),
    "who": ["who", "which", "that"],
    "opener": split_words(
        "then;now;but;and;at last;indeed;yet;so;however;in short;of course;perhaps;at first;"
        "after all;meanwhile;at the same time;for a moment;in the meantime;on the contrary;"
        "once more;from time to time;as a rule;to be sure;one day;in the end;the next morning;"
        "on the other hand;all at once;for the most part;to tell the truth;sooner or later",
        ";",
    ),
    "link": ["~;", "~:", "~,"],
    "open_quote": ['"~'],
    "close_quote": ['~,"', '~!"', '~?"'],
    "said": split_words(
        "said cried answered replied asked thought exclaimed whispered repeated added"
    ),
    "stop": ["~.", "~.", "~!", "~?", "~..."],
}


def build(seed: int, meaning: Meaning) -> Language:
    """The English of a seed: its lexicon and a library of clauses."""
    lexicon = Lexicon(vowels="aeiou")
    words = stems(seed)
    for index, name in enumerate(OPEN_CLASSES):
        if name == "name":
            for word in names(seed):
                lexicon.add([word.capitalize()], person=2)
            continue
        span = slice(meaning.first[index], meaning.first[index + 1])
        pairs = zip(meaning.stem[span].tolist(), meaning.derivation[span].tolist(), strict=True)
        for rank, (stem, derivation) in enumerate(pairs):
            word = join(words[stem], SUFFIXES[name][derivation])
            lexicon.add(_inflect(name, word, rank))
    rng = np.random.default_rng([seed, 4, 0])
    grammars = {"main": (_main, 3000), "more": (_more, 2500), "stop": (_stop, 1)}
    library = compile_library(grammars, list(_CLOSED), rng)
    return lexicon.language(_CLOSED, _CELLS, library)


def stems(seed: int) -> list[str]:
    """STEMS distinct stems, from frequent to rare."""
    return draw_words(np.random.default_rng([seed, 3, 0]), STEMS, _SHAPES)


def names(seed: int) -> list[str]:
    """COUNTS["name"] distinct names in lower case, from frequent to rare."""
    return draw_words(np.random.default_rng([seed, 3, 3]), COUNTS["name"], _NAMES)


def join(stem: str, suffix: str) -> str:
    """A stem with a suffix, spelt as English would: an "e" falls, a "y" turns to "i"."""
    if suffix[:1] in ("a", "e", "i", "o", "u", "y") and stem.endswith("e"):
        return stem[:-1] + suffix
    if suffix and suffix[0] != "i" and stem.endswith("y") and stem[-2:-1] not in tuple("aeou"):
        return stem[:-1] + "i" + suffix
    return stem + suffix


def _inflect(word_class: str, word: str, rank: int) -> list[str]:
    """All cells of a lemma; the most frequent verbs change their vowel in the past."""
    if word_class == "noun":
        return [word, _with_s(word)]
    if word_class != "verb":
        return [word]
    third, past = _with_s(word), join(word, "ed")
    if rank < 60:
        past = _ablaut(word)
    present = [word, word, third, word, word, word]
    return [*present, *[past] * 6, word, join(word, "ing"), past]


def _with_s(word: str) -> str:
    if word.endswith(("s", "x", "z", "ch", "sh")):
        return word + "es"
    return join(word, "es") if word.endswith("y") and word != join(word, "es")[:-2] else word + "s"


def _ablaut(word: str) -> str:
    for old, new in (("ee", "e"), ("ea", "o"), ("i", "a"), ("a", "oo"), ("o", "e"), ("e", "a")):
        if old in word:
            return word.replace(old, new, 1)
    return word + "t"


def _noun_phrase(c: Clause, head: int = -1, relation: str = "", depth: int = 0) -> int:
    """Determiner, adjectives, noun, and what hangs on it; returns the noun's position."""
    adjectives = c.pick(66, 30, 4)
    degree = adjectives == 1 and c.chance(12)
    noun = c.here + 1 + degree + adjectives
    c.add("determiner", number=1, vowel=2, agree=noun, head=noun)
    if degree:
        c.add("degree")
    for _ in range(adjectives):
        c.add("adjective", head=noun, relation="noun_adjective")
    c.add("noun", number=1, head=head, relation=relation)
    if depth < 2 and c.chance(22):
        c.add("of")
        _noun_phrase(c, noun, "noun_noun", depth + 1)
    elif depth < 1 and c.chance(7):
        c.add("comma")
        c.add("who")
        verb = c.add("verb", tense=6, person=1, agree=noun, head=noun, relation="subject_verb")
        _complements(c, verb, depth + 1)
    return noun


def _subject(c: Clause) -> int:
    match c.pick(38, 16, 46):
        case 0:
            return c.add("pronoun", sticky=True)
        case 1:
            return c.add("name")
        case _:
            return _noun_phrase(c)


def _complements(c: Clause, verb: int, depth: int = 0) -> None:
    """Object, adverb and prepositional phrases of a verb."""
    match c.pick(48, 14, 6, 32):
        case 0:
            _noun_phrase(c, verb, "verb_object", depth)
        case 1:
            c.add("object", sticky=True)
        case 2:
            c.add("to")
            inner = c.add("verb", cell=12)
            _noun_phrase(c, inner, "verb_object", depth + 1)
    if c.chance(16):
        c.add("adverb", head=verb, relation="adverb")
    for _ in range(c.pick(55, 38, 7)):
        c.add("preposition", head=verb)
        if c.chance(12):
            c.add("name")
        else:
            _noun_phrase(c, verb, "verb_noun", depth)


def _predicate(c: Clause, subject: int) -> None:
    link = {"agree": subject, "head": subject, "relation": "subject_verb"}
    finite = {"tense": 6, "person": 1, "agree": subject}
    match c.pick(56, 12, 7, 10, 7, 8):
        case 0:
            verb = c.add("verb", tense=6, person=1, **link)
        case 1:
            c.add("modal")
            if c.chance(18):
                c.add("not")
            verb = c.add("verb", cell=12, **link)
        case 2:
            c.add("be", **finite)
            verb = c.add("verb", cell=13, **link)
        case 3:
            c.add("have", **finite)
            verb = c.add("verb", cell=14, **link)
        case 4:
            c.add("do", **finite)
            c.add("not")
            verb = c.add("verb", cell=12, **link)
        case _:
            c.add("be", **finite)
            if c.chance(35):
                c.add("degree")
            c.add("adjective", head=subject, relation="noun_adjective")
            return
    _complements(c, verb)


def _main(c: Clause) -> None:
    if c.chance(9):
        c.add("open_quote")
        _predicate(c, _subject(c))
        c.add("close_quote")
        c.add("said")
        c.add("name")
        return
    match c.pick(18, 8, 74):
        case 0:
            c.add("opener")
            c.add("comma")
        case 1:
            c.add("preposition")
            _noun_phrase(c)
            c.add("comma")
    _predicate(c, _subject(c))


def _more(c: Clause) -> None:
    match c.pick(42, 40, 18):
        case 0:
            c.add("comma")
            c.add("and")
        case 1:
            c.add("subordinator")
        case _:
            c.add("link")
    _predicate(c, _subject(c))


def _stop(c: Clause) -> None:
    c.add("stop")
