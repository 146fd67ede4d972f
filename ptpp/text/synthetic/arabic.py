"""Synthetic Arabic: invented roots in real patterns, with real particles, clitics and endings.

Short vowels are not written, as in ordinary Arabic print. Every noun and adjective stands after a
prefix ("ال", "بال", or an empty one), to which conjunctions attach in turn.
"""

import numpy as np

from ptpp.text.synthetic.grammar import OPEN_CLASSES, Clause, compile_library
from ptpp.text.synthetic.lexicon import Language, Lexicon, draw_words, split_words
from ptpp.text.synthetic.meaning import COUNTS, STEMS, Meaning

_RADICALS = split_words("ر ل م ب د ع ق س ف ن ح ج ك ت ه ش ط خ ص ذ ز ض غ ث ظ و ي ء")
_FIRST = _RADICALS[:-1]
_SHAPES = ((_FIRST, _RADICALS[:-3], _RADICALS[:-3]),)
_NAMES = (
    (_FIRST, ["ا", "ي", "و", ""], _RADICALS[:-1]),
    (_FIRST, _RADICALS[:-1], ["ي", "ا", "و"], _RADICALS[:-1]),
    (_FIRST, ["ا", "و", "ي"], _RADICALS[:-1], ["ان", "ة", "ي", "ون", "ين", "وس"]),
)

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
# Cells of a finite verb: 12 * past + 2 * person + gender, persons 1sg 2sg 3sg 1pl 2pl 3pl.
_PRESENT_AFFIXES = (
    ("أ", ""), ("أ", ""), ("ت", ""), ("ت", "ين"), ("ي", ""), ("ت", ""),
    ("ن", ""), ("ن", ""), ("ت", "ون"), ("ت", "ن"), ("ي", "ون"), ("ي", "ن"),
)  # fmt: skip
_PAST_SUFFIXES = ("ت", "ت", "ت", "ت", "", "ت", "نا", "نا", "تم", "تن", "وا", "ن")
_SUFFIXES = ("", "ه", "ها", "هم", "ي", "نا", "ك")  # possessives

# Cells of a prefix or preposition: 1 before a definite noun; of "this": gender + 2 * number; of
# "was": 2 * person + gender.
_CELLS = {"prefix": 2, "preposition": 2, "this": 4, "was": 12, "that_which": 4}
_CLOSED = {
    "prefix": ["~/ال~"],
    "preposition": split_words(
        "في/في ال~;من/من ال~;ب~/بال~;ل~/لل~;على/على ال~;إلى/إلى ال~;عن/عن ال~;مع/مع ال~;"
        "بين/بين ال~;بعد/بعد ال~;ك~/كال~;عند/عند ال~;قبل/قبل ال~;حتى/حتى ال~;تحت/تحت ال~;"
        "فوق/فوق ال~;أمام/أمام ال~;دون/دون ال~;نحو/نحو ال~;خلال/خلال ال~;حول/حول ال~;"
        "وراء/وراء ال~;بسبب/بسبب ال~;على رأس/على رأس ال~;من أجل/من أجل ال~;من بين/من بين ال~",
        ";",
    ),
    "this": [
        "هذا ال~/هذه ال~/هذه ال~/هذه ال~",
        "كل/كل/كل ال~/كل ال~",
        "ذلك ال~/تلك ال~/تلك ال~/تلك ال~",
        "بعض ال~",
    ],
    "hidden": ["@2@0", "@2@1", "@0@0", "@5@0", "@3@0", "@1@0"],
    "object": ["~ه", "~ها", "~هم", "~ني", "~نا", "~ك"],
    "particle": ["قد", "لقد", "لا", "لم", "ما", "لن", "سوف", "ربما", "إنما"],
    "was": ["كنت/كنت/كنت/كنت/كان/كانت/كنا/كنا/كنتم/كنتن/كان/كانت"],
    "that_which": ["الذي/التي/التي/التي"],
    "that": ["أن", "أن", "كي", "لأن"],
    "comma": ["~،"],
    "and": ["و~", "ف~", "ثم", "أو", "بل", "لكن"],
    "subordinator": split_words(
        "حين;وقد;إذ;لأن;حتى;حيث;لما;إذا;كما;عندما;وهو;بعد أن;كأن;قبل أن;على أن;إلا أن;مع أن;لو",
        ";",
    ),
    "opener": split_words(
        "و~;ف~;ثم;أما بعد ف~;وفي الحقيقة;وبعد ذلك;ومع ذلك;وعلى كل حال;وفي هذه الأثناء;ومن ثم;"
        "وهكذا;ولذلك;وفي النهاية;ولا ريب أنه;ومما يذكر أنه;وعلى ذلك;وفي ذات يوم;وفي أول الأمر;"
        "وأخيرا;والحق أنه",
        ";",
    ),
    "open_quote": ["~:"],
    "said": ["قال", "قالت", "وقال", "فأجاب", "فصاح", "وسأل", "فقال"],
    "degree": ["جدا", "أيضا", "فقط", "تماما", "كثيرا", "قليلا"],
    "stop": ["~.", "~.", "~!", "~؟", "~…"],
}


def build(seed: int, meaning: Meaning) -> Language:
    """The Arabic of a seed: its lexicon and a library of clauses."""
    lexicon = Lexicon(vowels="")
    rng = np.random.default_rng([seed, 3, 2])
    roots = draw_words(rng, STEMS, _SHAPES)
    names = draw_words(rng, COUNTS["name"], _NAMES)
    draws = rng.integers(0, 1 << 12, size=len(meaning.stem))
    for index, name in enumerate(OPEN_CLASSES):
        span = slice(meaning.first[index], meaning.first[index + 1])
        if name == "name":
            for word, draw in zip(names, draws[span].tolist(), strict=True):
                lexicon.add([word], gender=draw % 2, person=2)
            continue
        concepts = zip(
            meaning.stem[span].tolist(),
            meaning.derivation[span].tolist(),
            draws[span].tolist(),
            strict=True,
        )
        for stem, derivation, draw in concepts:
            forms, gender = _inflect(name, roots[stem], derivation, draw)
            lexicon.add(forms, gender=gender)
    rng = np.random.default_rng([seed, 4, 2])
    grammars = {"main": (_main, 3000), "more": (_more, 2500), "stop": (_stop, 1)}
    library = compile_library(grammars, list(_CLOSED), rng)
    return lexicon.language(_CLOSED, _CELLS, library)


def _spell(pattern: str, root: str) -> str:
    return pattern.replace("1", root[0]).replace("2", root[1]).replace("3", root[2])


def _inflect(word_class: str, root: str, derivation: int, draw: int) -> tuple[list[str], int]:
    match word_class:
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


def _noun_group(
    c: Clause, opening: str = "prefix", head: int = -1, relation: str = "", depth: int = 0
) -> int:
    """A prefixed noun with its adjective, or the first noun of a genitive chain; the noun.

    The opening is one slot, so the noun stands second.
    """
    noun = c.here + 1
    role = {"number": 1, "head": head, "relation": relation}
    favourite = {"head": head} if opening == "preposition" else {}
    if depth < 2 and c.chance(26):  # in a genitive chain only the last noun may be definite
        c.add(opening, **favourite)
        c.add("noun", **role)
        _noun_group(c, "prefix", noun, "noun_noun", depth + 1)
        return noun
    definite = int(c.chance(72))
    if definite and c.chance(25):  # a possessive ending defines the noun
        c.add(opening, **favourite)
        c.add("noun", cell=2 + 2 * c.pick(40, 25, 15, 8, 7, 5), **role)
    elif definite and opening == "prefix" and c.chance(12):
        c.add("this", gender=1, number=2, agree=noun)
        c.add("noun", **role)
    else:
        c.add(opening, cell=definite, **favourite)
        c.add("noun", **role)
    agreement = {"gender": 1, "number": 2, "agree": noun}
    if c.chance(28):
        c.add("prefix", cell=definite)
        c.add("adjective", head=noun, relation="noun_adjective", **agreement)
    elif depth < 1 and c.chance(9):
        c.add("that_which", **agreement)
        _complements(c, _verb(c, noun, person=0, cell=4), depth + 1)
    return noun


def _verb(c: Clause, subject: int, person: int = 2, cell: int = 0) -> int:
    link = {"head": subject, "relation": "subject_verb"}
    return c.add("verb", cell=cell, tense=12, person=person, gender=1, agree=subject, **link)


def _complements(c: Clause, verb: int, depth: int = 0) -> None:
    match c.pick(46, 16, 38):
        case 0:
            _noun_group(c, "prefix", verb, "verb_object", depth)
        case 1:
            c.add("object", sticky=True)
    for _ in range(c.pick(48, 43, 9)):
        _noun_group(c, "preposition", verb, "verb_noun", depth)
    match c.pick(12, 6, 82):
        case 0:
            c.add("adverb", head=verb, relation="adverb")
        case 1:
            c.add("degree")


def _predicate(c: Clause) -> None:
    if c.chance(15):
        c.add("particle")
    match c.pick(38, 36, 12, 14):
        case 0:  # verb first: it agrees with its subject in gender only
            subject = c.here + 2
            verb = _verb(c, subject, person=0, cell=4)
            _noun_group(c)
            _complements(c, verb)
        case 1:  # the subject lies in the verb's ending, or is a name
            subject = c.here + 1
            verb = _verb(c, subject)
            if c.chance(25):
                c.add("name")
            else:
                c.add("hidden", sticky=True)
            _complements(c, verb)
            if c.chance(15):
                c.add("that")
                _complements(c, _verb(c, subject))
        case 2:
            _complements(c, _verb(c, _noun_group(c)))
        case _:
            subject = c.here + 2
            c.add("was", cell=4, gender=1, agree=subject)
            _noun_group(c)
            c.add("prefix")
            c.add("adjective", gender=1, number=2, agree=subject, head=subject,
                  relation="noun_adjective")  # fmt: skip


def _main(c: Clause) -> None:
    match c.pick(8, 45, 47):
        case 0:
            c.add("said")
            c.add("name")
            c.add("open_quote")
        case 1:
            c.add("opener")
    _predicate(c)


def _more(c: Clause) -> None:
    match c.pick(52, 20, 28):
        case 0:
            c.add("and")
        case 1:
            c.add("comma")
            c.add("and")
        case _:
            c.add("subordinator")
    _predicate(c)


def _stop(c: Clause) -> None:
    c.add("stop")
