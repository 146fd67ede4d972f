"""Sentence patterns as data: clauses of slots, compiled to flat arrays for vectorised writing.

A grammar is a function that adds slots to a `Clause` by chance. A library of such clauses is drawn
once per language; text is then made by choosing clauses and filling their slots (`synthetic`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields

import numpy as np

# Which word depends on which: the rows of the collocation tables in `meaning`.
RELATIONS = ("noun_adjective", "noun_noun", "subject_verb", "verb_object", "verb_noun", "adverb")
OPEN_CLASSES = ("noun", "verb", "adjective", "adverb", "name")


@dataclass(frozen=True)
class Slot:
    """One word of a clause.

    word: open class, or closed class of the language, from which the lemma is drawn.
    cell, number, gender, person, tense, vowel: the form is cell number
        cell + number*n + gender*g + person*p + tense*t + vowel*v
    of the lemma, with n, g, p taken from the slot at `agree` (its own when -1), t from the clause
    and v = 1 before a word that begins with a vowel.
    head, relation: the slot at `head` makes some lemmas likelier here, through the collocation
    table `relation` (open classes) or the head's own favourites (closed classes, relation "").
    sticky: a closed-class word that a document tends to repeat.
    """

    word: str
    cell: int = 0
    number: int = 0
    gender: int = 0
    person: int = 0
    tense: int = 0
    vowel: int = 0
    agree: int = -1
    head: int = -1
    relation: str = ""
    sticky: bool = False


class Clause:
    """A clause under construction: slots so far, and the dice that shape it."""

    def __init__(self, rng: np.random.Generator):
        self._dice = iter(rng.integers(0, 1 << 16, size=512).tolist())
        self.slots: list[Slot] = []

    @property
    def here(self) -> int:
        """Position of the slot that comes next."""
        return len(self.slots)

    def chance(self, percent: int) -> bool:
        return next(self._dice) % 100 < percent

    def pick(self, *percents: int) -> int:
        """An index, with these chances in per cent; the last one takes what is left."""
        roll = next(self._dice) % 100
        for index, percent in enumerate(percents[:-1]):
            roll -= percent
            if roll < 0:
                return index
        return len(percents) - 1

    def add(self, word: str, **attributes) -> int:
        """Add a slot; returns its position."""
        self.slots.append(Slot(word, **attributes))
        return len(self.slots) - 1


@dataclass(frozen=True)
class Library:
    """Compiled clauses. Slot arrays have shape (slots,), clause arrays (clauses,)."""

    start: np.ndarray
    length: np.ndarray
    kinds: dict[str, tuple[int, int]]  # clause numbers [first, last) of each kind
    word: np.ndarray  # open classes first, then closed ones, in the order given to `compile`
    depth: np.ndarray  # steps from a slot to the head that depends on none
    relation: np.ndarray
    columns: dict[str, np.ndarray] = field(repr=False)  # the remaining attributes of Slot


def compile_library(
    grammars: dict[str, tuple[Callable[[Clause], None], int]],
    closed_classes: Sequence[str],
    rng: np.random.Generator,
) -> Library:
    """Draw the asked number of clauses of each kind and lay their slots out in flat arrays."""
    clauses: list[list[Slot]] = []
    kinds = {}
    for kind, (grammar, count) in grammars.items():
        first = len(clauses)
        for _ in range(count):
            clause = Clause(rng)
            grammar(clause)
            clauses.append(clause.slots)
        kinds[kind] = (first, len(clauses))
    length = np.array([len(slots) for slots in clauses])
    words = {name: index for index, name in enumerate((*OPEN_CLASSES, *closed_classes))}
    relations = {"": -1} | {name: index for index, name in enumerate(RELATIONS)}
    flat = [slot for slots in clauses for slot in slots]
    numeric = [f.name for f in fields(Slot) if f.name not in ("word", "relation")]
    return Library(
        start=np.cumsum(length) - length,
        length=length,
        kinds=kinds,
        word=np.array([words[slot.word] for slot in flat]),
        depth=np.array([depth for slots in clauses for depth in _depths(slots)]),
        relation=np.array([relations[slot.relation] for slot in flat]),
        columns={name: np.array([getattr(s, name) for s in flat], dtype=int) for name in numeric},
    )


def _depths(slots: list[Slot]) -> list[int]:
    def depth(position: int) -> int:
        head = slots[position].head
        return 0 if head < 0 else 1 + depth(head)

    return [depth(position) for position in range(len(slots))]
