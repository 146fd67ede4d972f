"""Lemmas and their forms, gathered by a language and handed to the writer as arrays.

Forms are written with two marks: a leading `~` stands where no space precedes (",") and a
trailing `~` where none follows ("l'", an Arabic prefix); a bare `~` is an empty word that
takes the space before and leaves none after.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ptpp.text.synthetic.grammar import Library
from ptpp.text.synthetic.meaning import zipf

CLOSED_DRAWS = 4096
VARIANTS = 5  # " word", "word", " Word", "Word", "\nWord"
_OPENING = frozenset('"«“(')  # marks after which a sentence's first word is still to come


@dataclass(frozen=True)
class Language:
    """Everything the writer needs to spell a sentence.

    texts: object array (VARIANTS * forms,), variant after variant.
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


class Lexicon:
    """Collects lemmas in order; `language` turns them into arrays."""

    def __init__(self, vowels: str):
        self._vowels = frozenset(vowels)
        self._forms: list[str] = []
        self._first: list[int] = []
        self._gender: list[int] = []
        self._person: list[int] = []

    def add(self, forms: Iterable[str], gender: int = 0, person: int = -1) -> None:
        self._first.append(len(self._forms))
        self._forms.extend(forms)
        self._gender.append(gender)
        self._person.append(person)

    def language(
        self, closed: Mapping[str, Sequence[str]], cells: Mapping[str, int], library: Library
    ) -> Language:
        """Add the closed classes, each from frequent to rare, and build the arrays.

        An entry reads "form/form/..." with one form per cell; fewer forms than the class has
        cells (default 1) repeat in turn. It may end in "@person" or "@person@gender".
        """
        rows = []
        for name, entries in closed.items():
            start = len(self._first)
            for entry in entries:
                text, person, gender = (*entry.split("@"), "-1", "0")[:3]
                forms = text.split("/")
                width = max(cells.get(name, 1), len(forms))
                self.add((forms * width)[:width], int(gender), int(person))
            rows.append(start + zipf(CLOSED_DRAWS, len(entries), q=1))
        words = [form.strip("~") for form in self._forms]
        capital = [word[:1].upper() + word[1:] for word in words]
        variants = (
            [" " + word for word in words],
            words,
            [" " + word for word in capital],
            capital,
            ["\n" + word for word in capital],
        )
        return Language(
            texts=np.array([text for variant in variants for text in variant], dtype=object),
            glues=np.array([form.endswith("~") for form in self._forms]),
            tight=np.array([form == "" or form[0] == "~" != form for form in self._forms]),
            vowel=np.array([word[:1] in self._vowels and word != "" for word in words]),
            opens=np.array([word in _OPENING for word in words]),
            first_form=np.array(self._first),
            gender=np.array(self._gender),
            person=np.array(self._person),
            closed=np.stack(rows),
            library=library,
        )


def split_words(text: str, separator: str | None = None) -> list[str]:
    """The entries of a word list written as one string, separated by blanks or `separator`."""
    return text.split(separator)


def draw_words(
    rng: np.random.Generator, count: int, parts: Sequence[Sequence[Sequence[str]]], tries: int = 8
) -> list[str]:
    """Distinct invented words, from short and frequent to long and rare.

    parts: word shapes from short to long; a shape is a sequence of slots, a slot an inventory of
    spellings from frequent to rare. Word i takes a shape near i's place among the shapes.
    """
    total = count * tries
    place = np.arange(total) * len(parts) // total
    reach = zipf(64, 3, q=1)[rng.integers(0, 64, size=total)] * rng.choice([-1, 1], size=total)
    shape = np.clip(place + reach, 0, len(parts) - 1)
    widest = max(len(part) for part in parts)
    draws = rng.integers(0, 256, size=(total, widest))
    tables = {}
    for part in parts:
        for slot in part:
            if id(slot) not in tables:
                tables[id(slot)] = [slot[rank] for rank in zipf(256, len(slot), q=5).tolist()]
    first: dict[str, int] = {}
    for index, (which, row) in enumerate(zip(shape.tolist(), draws.tolist(), strict=True)):
        word = "".join(
            [tables[id(slot)][roll] for slot, roll in zip(parts[which], row, strict=False)]
        )
        first.setdefault(word, index)
    words = list(first)
    return [words[index * len(words) // count] for index in range(count)]
