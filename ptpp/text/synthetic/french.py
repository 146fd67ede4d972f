"""Synthetic French: real function words and endings around invented stems, some of them cognates.

A cognate is the English stem of the same meaning, respelt by regular correspondences.
"""

import numpy as np

from ptpp.text.synthetic import english
from ptpp.text.synthetic.grammar import OPEN_CLASSES, Clause, compile_library
from ptpp.text.synthetic.lexicon import Language, Lexicon, draw_words, split_words
from ptpp.text.synthetic.meaning import STEMS, Meaning

_ONSETS = split_words(
    "p m t c f v s d l r b g n j ch tr pr br pl fl cr gr bl gu qu dr vr h cl fr gl ph sp"
)
_NUCLEI = split_words("a o ou i e u ai é oi an eu on in au en è eau ui ê ie â î")
_CODAS = split_words("r t l n s ss ch rt g d c nt ll gn v m p tt rd st ss ct qu rs b")
_MIDDLES = split_words(
    "r l t n m v s ss d ll ch rr g p c nt tr b gn nn mm st j pr ct rm f ns z ill"
)
_LINKS = split_words("a i o é e u ai ou en an on")
_TAILS = split_words("et in on eau al oir ard ais is eur ot eil ier ien ir ain aud os é")
_PREFIXES = split_words("re dé con en é pro par com sur a per sou pré in ex entre")
_SHAPES = (
    (_ONSETS, _NUCLEI, _CODAS),
    (_ONSETS, _NUCLEI, _CODAS),
    (_ONSETS, _NUCLEI, _MIDDLES, _TAILS),
    (_PREFIXES, _ONSETS, _NUCLEI, _CODAS),
    (_ONSETS, _NUCLEI, _MIDDLES, _LINKS, _CODAS),
    (_PREFIXES, _ONSETS, _NUCLEI, _MIDDLES, _TAILS),
    (_ONSETS, _NUCLEI, _MIDDLES, _LINKS, _MIDDLES, _TAILS),
)
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

# Endings of the cells of a verb: present, simple past, imperfect (six persons each), infinitive,
# present participle, past participle (gender + 2 * number).
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
_PAST, _IMPERFECT, _INFINITIVE, _PRESENT_PARTICIPLE, _PAST_PARTICIPLE = 6, 12, 18, 19, 20

# Cells of a determiner: gender + 2 * number + 4 * (before a vowel).
_CELLS = {"determiner": 8, "of": 8, "at": 8, "avoir": 18, "être": 18, "elided": 2}
_AVOIR = (
    "ai/as/a/avons/avez/ont/eus/eus/eut/eûmes/eûtes/eurent/avais/avais/avait/avions/aviez/avaient"
)
_ETRE = (
    "suis/es/est/sommes/êtes/sont/fus/fus/fut/fûmes/fûtes/furent/"
    "étais/étais/était/étions/étiez/étaient"
)
_CLOSED = {
    "determiner": split_words(
        "le/la/les/les/l'~/l'~/les/les;un/une/des/des;son/sa/ses/ses/son/son/ses/ses;"
        "ce/cette/ces/ces/cet/cette/ces/ces;leur/leur/leurs/leurs;mon/ma/mes/mes/mon/mon/mes/mes;"
        "notre/notre/nos/nos;quelque/quelque/quelques/quelques;votre/votre/vos/vos;"
        "tout le/toute la/tous les/toutes les/tout l'~/toute l'~/tous les/toutes les;"
        "chaque/chaque/deux/deux;aucun/aucune/plusieurs/plusieurs;tel/telle/tels/telles",
        ";",
    ),
    "of": [
        "du/de la/des/des/de l'~/de l'~/des/des",
        "d'un/d'une/de/de/d'un/d'une/d'~/d'~",
        "de/de/de/de/d'~/d'~/d'~/d'~",
        "de son/de sa/de ses/de ses/de son/de son/de ses/de ses",
        "de ce/de cette/de ces/de ces/de cet/de cette/de ces/de ces",
    ],
    "at": [
        "au/à la/aux/aux/à l'~/à l'~/aux/aux",
        "à un/à une/à des/à des",
        "à son/à sa/à ses/à ses/à son/à son/à ses/à ses",
        "à ce/à cette/à ces/à ces/à cet/à cette/à ces/à ces",
    ],
    "preposition": split_words(
        "dans;sur;avec;pour;par;en;sous;sans;vers;chez;entre;contre;après;devant;derrière;depuis;"
        "pendant;avant;parmi;selon;jusque dans;malgré;à travers;dès;sauf;outre;envers",
        ";",
    ),
    "place": split_words(
        "près;au milieu;auprès;à côté;loin;en face;au-dessus;à cause;au lieu;autour;hors;au bout;"
        "au fond;au-dessous;le long;à force;en dépit;afin",
        ";",
    ),
    "with_name": ["de/d'~", "à", "chez", "avec", "pour"],
    "pronoun": [
        "il@2@0",
        "elle@2@1",
        "on@2@0",
        "je@0@0",
        "ils@5@0",
        "vous@4@0",
        "nous@3@0",
        "elles@5@1",
        "tu@1@0",
    ],
    "object": ["le/l'~", "se/s'~", "lui", "la/l'~", "y", "me/m'~", "en", "les", "vous", "nous"],
    "ne": ["ne/n'~"],
    "pas": ["pas", "plus", "jamais", "point", "guère", "rien"],
    "avoir": [_AVOIR],
    "être": [_ETRE],
    "modal": [
        "peut/peux/peut/pouvons/pouvez/peuvent/pus/pus/put/pûmes/pûtes/purent",
        "veux/veux/veut/voulons/voulez/veulent/voulus/voulus/voulut/voulûmes/voulûtes/voulurent",
        "dois/dois/doit/devons/devez/doivent/dus/dus/dut/dûmes/dûtes/durent",
        "vais/vas/va/allons/allez/vont/allais/allais/allait/allions/alliez/allaient",
        "fais/fais/fait/faisons/faites/font/fis/fis/fit/fîmes/fîtes/firent",
    ],
    "degree": split_words("plus très si bien trop peu moins assez tout presque"),
    "comma": ["~,"],
    "and": ["et", "mais", "ou", "car", "donc", "puis", "ni"],
    "subordinator": split_words(
        "que/qu'~;quand;si;comme;lorsque/lorsqu'~;parce que/parce qu'~;où;pendant que/pendant qu'~;"
        "puisque/puisqu'~;tandis que/tandis qu'~;dès que/dès qu'~;avant que/avant qu'~;"
        "à mesure que/à mesure qu'~;bien que/bien qu'~",
        ";",
    ),
    "who": ["qui"],
    "opener": split_words(
        "alors;puis;mais;et;enfin;cependant;ainsi;d'ailleurs;en effet;pourtant;peut-être;"
        "tout à coup;au contraire;un jour;à la fin;de temps en temps;sans doute;par exemple;"
        "du reste;au même instant;d'abord;en un mot;le lendemain;pour la première fois;"
        "à vrai dire;d'un autre côté;en même temps;tôt ou tard;de plus en plus;à peine",
        ";",
    ),
    "link": [";", ":", "~,"],
    "open_quote": ["«"],
    "close_quote": ["»,", "! »", "? »"],
    "said": ["dit", "cria", "répondit", "demanda", "reprit", "murmura", "pensa", "ajouta"],
    "stop": ["~.", "~.", "!", "?", "~..."],
}
_CELLS |= {"with_name": 2, "object": 2, "ne": 2, "subordinator": 2, "modal": 12}


def build(seed: int, meaning: Meaning, cognates: float) -> Language:
    """The French of a seed; `cognates` is the share of stems respelt from English."""
    lexicon = Lexicon(vowels="aàâeéèêiîoôuûhAEIOUÉ")
    rng = np.random.default_rng([seed, 3, 1])
    words = draw_words(rng, STEMS, _SHAPES)
    cognate = rng.integers(0, 1 << 20, size=STEMS) < cognates * (1 << 20)
    feminine = rng.integers(0, 100, size=len(meaning.stem)) < 45
    if cognate.any():
        sources = english.stems(seed)
        words = [
            respell(source) if kept else word
            for word, source, kept in zip(words, sources, cognate.tolist(), strict=True)
        ]
    for index, name in enumerate(OPEN_CLASSES):
        span = slice(meaning.first[index], meaning.first[index + 1])
        if name == "name":
            for word, female in zip(english.names(seed), feminine[span].tolist(), strict=True):
                lexicon.add([word.capitalize()], gender=int(female), person=2)
            continue
        genders = feminine[span].tolist()
        for stem, derivation, female in zip(
            meaning.stem[span].tolist(), meaning.derivation[span].tolist(), genders, strict=True
        ):
            if name == "noun" and derivation:
                female = derivation in _FEMININE_DERIVATIONS
            lexicon.add(_inflect(name, words[stem], derivation, female), gender=int(female))
    rng = np.random.default_rng([seed, 4, 1])
    grammars = {"main": (_main, 3000), "more": (_more, 2500), "stop": (_stop, 1)}
    library = compile_library(grammars, list(_CLOSED), rng)
    return lexicon.language(_CLOSED, _CELLS, library)


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


def _noun_group(c: Clause, opening: str, head: int, relation: str, depth: int, **attributes) -> int:
    """A determiner-like word, adjectives before and after the noun, complements; the noun."""
    before = c.chance(14)
    noun = c.here + 1 + before
    c.add(opening, gender=1, number=2, vowel=4, agree=noun, **({"head": noun} | attributes))
    agreement = {"gender": 1, "number": 2, "agree": noun}
    if before:
        c.add("adjective", head=noun, relation="noun_adjective", **agreement)
    c.add("noun", number=1, head=head, relation=relation)
    if c.chance(27):
        if c.chance(15):
            c.add("degree")
        c.add("adjective", head=noun, relation="noun_adjective", **agreement)
    if depth < 2 and c.chance(28):
        _noun_group(c, "of", noun, "noun_noun", depth + 1)
    elif depth < 1 and c.chance(7):
        c.add("who")
        verb = c.add("verb", cell=_IMPERFECT if c.chance(50) else 0, person=1, agree=noun,
                     head=noun, relation="subject_verb")  # fmt: skip
        _complements(c, verb, depth + 1)
    return noun


def _noun_phrase(c: Clause, head: int = -1, relation: str = "", depth: int = 0) -> int:
    return _noun_group(c, "determiner", head, relation, depth)


def _subject(c: Clause) -> int:
    match c.pick(42, 14, 44):
        case 0:
            return c.add("pronoun", sticky=True)
        case 1:
            return c.add("name")
        case _:
            return _noun_phrase(c)


def _complements(c: Clause, verb: int, depth: int = 0) -> None:
    if c.chance(14):
        c.add("adverb", head=verb, relation="adverb")
    if c.chance(52):
        _noun_phrase(c, verb, "verb_object", depth)
    for _ in range(c.pick(55, 38, 7)):
        match c.pick(30, 12, 10, 48):
            case 0:
                _noun_group(c, "at", verb, "verb_noun", depth)
            case 1:
                c.add("with_name", vowel=1)
                c.add("name")
            case 2:
                c.add("place", head=verb)
                _noun_group(c, "of", verb, "verb_noun", depth)
            case _:
                c.add("preposition", head=verb)
                _noun_phrase(c, verb, "verb_noun", depth)


def _predicate(c: Clause, subject: int) -> None:
    person = {"person": 1, "agree": subject}
    link = {"head": subject, "relation": "subject_verb"}
    negated = c.chance(11)
    if negated:
        c.add("ne", vowel=1)
    elif c.chance(18):
        c.add("object", vowel=1, sticky=True)
    kind = c.pick(34, 26, 14, 12, 14)
    if kind == 0:
        verb = c.add("verb", tense=_PAST, **person, **link)
    elif kind == 1:
        verb = c.add("verb", cell=_IMPERFECT, **person, **link)
    elif kind == 2:
        c.add("avoir", cell=_IMPERFECT if c.chance(60) else 0, **person)
    elif kind == 3:
        c.add("modal", tense=_PAST, **person)
    else:
        c.add("être", cell=_IMPERFECT if c.chance(60) else 0, **person)
    if negated:  # the second half of a negation follows the finite verb
        c.add("pas")
    if kind == 2:
        verb = c.add("verb", cell=_PAST_PARTICIPLE, **link)
    elif kind == 3:
        verb = c.add("verb", cell=_INFINITIVE, **link)
    elif kind == 4:
        agreement = {"gender": 1, "number": 2, "agree": subject}
        if c.chance(60):
            if c.chance(40):
                c.add("degree")
            c.add("adjective", head=subject, relation="noun_adjective", **agreement)
            return
        verb = c.add("verb", cell=_PAST_PARTICIPLE, **agreement, **link)
    _complements(c, verb)
    if c.chance(5):
        c.add("preposition", head=verb)
        _complements(c, c.add("verb", cell=_INFINITIVE), 1)
    elif c.chance(5):
        c.add("comma")
        _complements(c, c.add("verb", cell=_PRESENT_PARTICIPLE), 1)


def _main(c: Clause) -> None:
    if c.chance(9):
        c.add("open_quote")
        _predicate(c, _subject(c))
        c.add("close_quote")
        c.add("said")
        c.add("name")
        return
    match c.pick(20, 9, 71):
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
            c.add("subordinator", vowel=1)
        case _:
            c.add("link")
    _predicate(c, _subject(c))


def _stop(c: Clause) -> None:
    c.add("stop")
