"""The words of a language, handed to the writer as arrays.

A language is a YAML file (sounds and shapes of invented words, closed classes, grammar) and a
module that inflects. Forms are written with two marks: a leading `~` stands where no space precedes
(",") and a trailing `~` where none follows ("l'", an Arabic prefix); a bare `~` is an empty word
that takes the space before and leaves none after.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import yaml

from ptpp.text.synthetic.grammar import OPEN_CLASSES, Grammar, Library, compile_library
from ptpp.text.synthetic.meaning import Meaning, zipf

CLOSED_DRAWS = 4096
_OPENING = frozenset('"«“(')  # marks after which a sentence's first word is still to come


@dataclass(frozen=True)
class Language:
    """Everything the writer needs to spell a sentence.

    texts: object array (5 * forms,): " word", "word", " Word", "Word" and "\nWord" of every form.
    glues, tight, vowel, opens: booleans (forms,): no space after, no space before, begins with a
        vowel that elides or lengthens the word before, is an opening mark.
    first_form, gender, person: (lemmas,); open-class concepts first, then closed-class lemmas.
        person 0..5 is 1sg 2sg 3sg 1pl 2pl 3pl; -1 leaves number to the sentence.
    closed: (closed classes, CLOSED_DRAWS) lemmas; an even draw of a row is Zipfian.
    """

    texts: np.ndarray
    glues: np.ndarray
    tight: np.ndarray
    vowel: np.ndarray
    opens: np.ndarray
    first_form: np.ndarray
    gender: np.ndarray
    person: np.ndarray
    closed: np.ndarray
    library: Library


@cache
def read_language(name: str) -> dict:
    """The data file of a language."""
    text = Path(__file__).with_name(f"{name}.yaml").read_text(encoding="utf-8")
    # libyaml's loader takes a tenth of the time, where PyYAML has it.
    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text).get_single_data()


def build_language(
    data: Mapping,
    rng: np.random.Generator,
    meaning: Meaning,
    stems: Sequence[str],
    names: Sequence[str],
    inflect: Callable[[str, str, int, int], tuple[list[str], int]],
) -> Language:
    """Spell all concepts, add the closed classes and draw the clauses.

    inflect: forms and gender of a lemma from its word class, its stem (or name), its derivation and
    its concept's number.

    A closed class lists its entries from frequent to rare, each "form/form/..." with one form per
    cell; fewer forms than the class has cells (default 1) repeat in turn. An entry may end in
    "@person" or "@person@gender".
    """
    forms: list[str] = []
    lemmas: list[tuple[int, int, int]] = []  # first form, gender, person

    def add(cells: Sequence[str], gender: int, person: int) -> None:
        lemmas.append((len(forms), gender, person))
        forms.extend(cells)

    stem, derivation, first = (
        a.tolist() for a in (meaning.stem, meaning.derivation, meaning.first)
    )
    for word_class, start, end in zip(OPEN_CLASSES, first, first[1:], strict=False):
        is_name = word_class == "name"
        for concept in range(start, end):
            source = names[concept - start] if is_name else stems[stem[concept]]
            add(*inflect(word_class, source, derivation[concept], concept), 2 if is_name else -1)
    rows = []
    for name, entries in data["closed"].items():
        entries = split_entries(entries)
        rows.append(len(lemmas) + zipf(CLOSED_DRAWS, len(entries), q=1))
        for entry in entries:
            text, person, gender = (*entry.split("@"), "-1", "0")[:3]
            cells = text.split("/")
            width = max(data["cells"].get(name, 1), len(cells))
            add((cells * width)[:width], int(gender), int(person))
    words = [form.strip("~") for form in forms]
    capital = [word[:1].upper() + word[1:] for word in words]
    variants = (
        [" " + word for word in words],
        words,
        [" " + word for word in capital],
        capital,
        ["\n" + word for word in capital],
    )
    first_form, genders, persons = np.array(lemmas).T
    return Language(
        texts=np.array([text for variant in variants for text in variant], dtype=object),
        glues=np.array([form.endswith("~") for form in forms]),
        tight=np.array([form == "" or form[0] == "~" != form for form in forms]),
        vowel=np.array([word != "" and word[0] in data["vowels"] for word in words]),
        opens=np.array([word in _OPENING for word in words]),
        first_form=first_form,
        gender=genders,
        person=persons,
        closed=np.stack(rows),
        library=compile_library(Grammar(data["rules"], data["aliases"]), list(data["closed"]), rng),
    )


def split_entries(entries: str | list[str]) -> list[str]:
    """A list of words, or one written as a text with semicolons."""
    return entries if isinstance(entries, list) else [each.strip() for each in entries.split(";")]


def draw_words(rng: np.random.Generator, count: int, data: Mapping, kind: str) -> list[str]:
    """`count` distinct invented words, from short and frequent to long and rare.

    data[kind]: word shapes from short to long; a shape is a line of names of data["sounds"], each
    an inventory of spellings from frequent to rare. Word i takes a shape near i's place among the
    shapes.
    """
    total = 8 * count  # tries
    shapes = [shape.split() for shape in data[kind]]
    place = np.arange(total) * len(shapes) // total
    reach = zipf(64, 3, q=1)[rng.integers(0, 64, size=total)] * rng.choice([-1, 1], size=total)
    shape = np.clip(place + reach, 0, len(shapes) - 1)
    draws = rng.integers(0, 256, size=(total, max(map(len, shapes))))
    spellings = {}
    for name, text in data["sounds"].items():
        inventory = ["" if sound == "-" else sound for sound in text.split()]
        spellings[name] = [inventory[rank] for rank in zipf(256, len(inventory), q=5).tolist()]
    tables = [[spellings[name] for name in shape] for shape in shapes]
    words = list(
        dict.fromkeys(
            "".join([table[roll] for table, roll in zip(tables[which], row, strict=False)])
            for which, row in zip(shape.tolist(), draws.tolist(), strict=True)
        )
    )
    return [words[index * len(words) // count] for index in range(count)]
