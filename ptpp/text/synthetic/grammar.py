"""Sentence patterns as data: clauses of slots, compiled to flat arrays for vectorised writing.

A grammar has rules, each a line of symbols that are read from left to right:

    noun, noun(number=1 head=verb)  a slot of a word class (or of an alias), with its attributes
    $opening              a slot of the class that the rule was called with
    clause(head=verb)     another rule, which sees only what it is passed; `+clause` lies deeper
    it=noun, definite=1   a note of a position or number, for attributes before and after it; the
                          rule itself stands at the position noted as `it`
    [30 a | 20 b | c]     one die: a by 30 per cent, b by 20, c by the rest
    [30<2 a | b]          the same above depth 2, below it b; [30!x a | b]: the same without note x
    [?x a]                a where x is noted

A library of clauses is drawn once per language; text is then made by choosing clauses and filling
their slots (`documents`).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields

import numpy as np

# Which word depends on which: the rows of the collocation tables in `meaning`.
RELATIONS = ("noun_adjective", "noun_noun", "subject_verb", "verb_object", "verb_noun", "adverb")
OPEN_CLASSES = ("noun", "verb", "adjective", "adverb", "name")
_CLAUSES = {"main": 3000, "more": 2500, "end": 1}  # rules, and how many clauses are drawn of each
_TOKEN = re.compile(r"[\[\]|]|[^\s\[\]|()]+(?:\([^)]*\))?")
_SYMBOL = re.compile(r"(?:(\w+)=)?(\+?)(\$?\w+)(?:\((.*)\))?")
_CHANCE = re.compile(r"(\d*)(?:([<!?])(\w+))?")


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
    sticky: 1 for a closed-class word that a document tends to repeat.
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
    sticky: int = 0


@dataclass(frozen=True)
class _Symbol:
    note: str | None
    deeper: bool
    name: str
    attributes: dict[str, int | str]

    def resolve(self, notes: Mapping) -> dict:
        """The attributes, notes in place of their names."""
        return {key: notes.get(value, value) for key, value in self.attributes.items()}


@dataclass
class _Branch:
    """An alternative: its chance in per cent (None: the rest), a condition, and its items."""

    percent: int | None
    condition: tuple[str | None, str | None]
    items: list


def _parse(tokens: Iterator[str], aliases: Mapping[str, str]) -> list:
    """Symbols and choices (lists of branches) up to the bracket that closes."""
    branches = [_Branch(None, (None, None), [])]
    fresh = True  # a branch begins, perhaps with its chance
    for token in tokens:
        items = branches[-1].items
        if token == "]":
            break
        if token == "|":
            branches.append(_Branch(None, (None, None), []))
        elif token == "[":
            items.append(_parse(tokens, aliases))
        elif fresh and (chance := _CHANCE.fullmatch(token)):
            branches[-1].percent = int(chance[1]) if chance[1] else 100
            branches[-1].condition = chance[2], chance[3]
        else:
            note, deeper, name, given = _SYMBOL.fullmatch(token).groups()
            if name in aliases:
                _, _, name, usual = _SYMBOL.fullmatch(aliases[name]).groups()
                given = f"{usual} {given or ''}"
            pairs = dict(pair.split("=") for pair in (given or "").split())
            values = {key: int(v) if v.isdigit() else v for key, v in pairs.items()}
            items.append(_Symbol(note, bool(deeper), name, values))
        fresh = token == "|"
    return branches


class Grammar:
    """The rules of a language, as its data file writes them; see the top of this module."""

    def __init__(self, rules: Mapping[str, str], aliases: Mapping[str, str]):
        self._rules = {
            name: _parse(iter(_TOKEN.findall(text)), aliases)[0].items
            for name, text in rules.items()
        }

    def draw_clause(self, rule: str, rng: np.random.Generator) -> list[Slot]:
        """The slots of one clause."""
        dice = iter(rng.integers(0, 1 << 16, size=512).tolist())
        slots: list[tuple[_Symbol, dict]] = []  # with the notes of their rule

        def call(name: str, passed: dict, depth: int) -> int:
            notes = {"head": -1, "relation": "", "lead": -1} | passed
            follow(self._rules[name], notes, depth)
            return notes.get("it", -1)

        def follow(items: list, notes: dict, depth: int) -> None:
            for item in items:
                if isinstance(item, list):
                    follow(choose(item, notes, depth), notes, depth)
                    continue
                if item.name.isdigit():
                    place = int(item.name)
                elif item.name in self._rules:
                    place = call(item.name, item.resolve(notes), depth + item.deeper)
                else:
                    place = len(slots)
                    slots.append((item, notes))
                if item.note:
                    notes[item.note] = place

        def choose(branches: list[_Branch], notes: dict, depth: int) -> list:
            sign, name = branches[0].condition
            noted = notes.get(name, -1) >= 0
            if sign == "?":
                return branches[0].items if noted else []
            if (sign == "<" and depth >= int(name)) or (sign == "!" and noted):
                return branches[-1].items if len(branches) > 1 else []
            roll = next(dice) % 100
            for branch in branches:
                if branch.percent is None or roll < branch.percent:
                    return branch.items
                roll -= branch.percent
            return []

        call(rule, {}, 0)
        return [
            Slot(notes[one.name[1:]] if one.name[0] == "$" else one.name, **one.resolve(notes))
            for one, notes in slots
        ]


@dataclass(frozen=True)
class Library:
    """Compiled clauses. Slot arrays have shape (slots,), clause arrays (clauses,)."""

    start: np.ndarray
    length: np.ndarray
    kinds: dict[str, tuple[int, int]]  # clause numbers [first, last) of each kind
    word: np.ndarray  # open classes first, then closed ones
    depth: np.ndarray  # steps from a slot to the head that depends on none
    relation: np.ndarray
    columns: dict[str, np.ndarray] = field(repr=False)  # the remaining attributes of Slot


def compile_library(
    grammar: Grammar, closed_classes: Sequence[str], rng: np.random.Generator
) -> Library:
    """Draw the clauses of each kind and lay their slots out in flat arrays."""
    clauses: list[list[Slot]] = []
    kinds = {}
    for kind, count in _CLAUSES.items():
        kinds[kind] = (len(clauses), len(clauses) + count)
        clauses += [grammar.draw_clause(kind, rng) for _ in range(count)]
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
