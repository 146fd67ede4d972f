"""The text of a run: batches as a pure function of (seed, position, mixture) over token stores.

Position is counted in sequences, so that a run can stop and start anywhere, and every language
keeps its own order: changing the mixture never changes which French block comes n-th.
"""

import logging
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from ptpp.errors import InputError
from ptpp.text.store import Store, open_store
from ptpp.training import shuffle
from ptpp.training.shuffle import shuffle_places

log = logging.getLogger("ptpp")

# Blocks of a store from which their order is not held as an array, which would take 128 MiB. Raised
# or lowered, it changes the order of runs with stores between.
LARGE = 1 << 24
MANY_EPOCHS = 4  # repeated text is nearly as good as new up to here [Muennighoff et al. 2023]


def count_blocks(tokens: np.ndarray, context: int, what: str) -> int:
    """How many blocks of `context` tokens, plus one to predict, a token array holds."""
    count = (len(tokens) - 1) // context
    if count < 1:
        raise InputError(f"{what}: {len(tokens)} tokens do not fill one block of {context + 1}")
    return count


def take_blocks(
    tokens: np.ndarray, context: int, which: np.ndarray, beginning: int | None = None
) -> np.ndarray:
    """The blocks of these numbers, shape (len(which), context + 1), int64.

    beginning: an id in place of every block's first token, for models that expect it there. That
    token is the last one to be predicted in the block before, so each still is predicted once.
    """
    blocks = tokens[which[:, None] * context + np.arange(context + 1)].astype(np.int64)
    if beginning is not None:
        blocks[:, 0] = beginning
    return blocks


class BlockOrder:
    """The blocks of a token array in a seeded shuffle, which every new epoch draws anew.

    Up to `LARGE` blocks it is held as a permutation; beyond, it is computed block by block.
    """

    def __init__(
        self,
        tokens: np.ndarray,
        context: int,
        key: tuple[int, ...],
        beginning: int | None = None,
    ):
        self.tokens, self.context, self.key, self.beginning = tokens, context, key, beginning
        self.n_blocks = count_blocks(tokens, context, "token store")
        self._epoch, self._order = -1, np.empty(0, dtype=np.int64)

    def blocks(self, start: int, stop: int) -> np.ndarray:
        """Blocks start..stop-1 of the order, shape (stop - start, context + 1), int64."""
        epochs, places = np.divmod(np.arange(start, stop, dtype=np.int64), self.n_blocks)
        which = np.empty_like(places)
        for epoch in np.unique(epochs):
            here = epochs == epoch
            which[here] = self._order_of(int(epoch), places[here])
        return take_blocks(self.tokens, self.context, which, self.beginning)

    def _order_of(self, epoch: int, places: np.ndarray) -> np.ndarray:
        """Numbers of the blocks at these places of an epoch."""
        if self.n_blocks > LARGE:
            return shuffle_places(places, self.n_blocks, [*self.key, epoch])
        if epoch != self._epoch:
            self._order = np.random.default_rng([*self.key, epoch]).permutation(self.n_blocks)
            self._epoch = epoch
        return self._order[places]


@dataclass
class Mixture:
    """Languages mixed by exact quota: after any k sequences each share is met to within one.

    `shares` sum to 1; the quota is nested (first language against the rest, and so on), which
    keeps it a closed form of k.
    """

    orders: Mapping[str, BlockOrder]
    shares: Mapping[str, float]
    _cuts: list[tuple[str, int]] = field(init=False)

    def __post_init__(self):
        if abs(sum(self.shares.values()) - 1) > 1e-9:
            raise InputError(f"mixture shares {dict(self.shares)} do not sum to 1")
        self._cuts, rest = [], 1.0
        for language, share in self.shares.items():
            # Millionths make the quota integer arithmetic, the same on every machine.
            self._cuts.append((language, round(1e6 * share / rest) if rest > 1e-9 else 0))
            rest -= share

    def counts(self, k: int) -> dict[str, int]:
        """Sequences of each language among the first k."""
        counts, left = {}, k
        for language, millionths in self._cuts[:-1]:
            counts[language] = (left * millionths + 500_000) // 1_000_000
            left -= counts[language]
        counts[self._cuts[-1][0]] = left
        return counts

    def batch(self, start: int, stop: int) -> np.ndarray:
        """Sequences start..stop-1 as token ids, shape (stop - start, context + 1), int64."""
        before, after = self.counts(start), self.counts(stop)
        parts = [
            self.orders[language].blocks(before[language], after[language])
            for language in self.shares
            if after[language] > before[language]
        ]
        return np.concatenate(parts)

    def epochs(self, sequences: int) -> dict[str, float]:
        """Passes over each language's store after `sequences` sequences."""
        return {
            language: count / self.orders[language].n_blocks
            for language, count in self.counts(sequences).items()
        }


def stream_key(seed: int, purpose: str, language: str) -> tuple[int, ...]:
    """A seed for one language's order; the replay ratio is left out on purpose."""
    return (seed, zlib.crc32(purpose.encode()), zlib.crc32(language.encode()))


def adaptation_shares(target: str, base: Mapping[str, float], replay: float) -> dict[str, float]:
    """Shares of the CPT mix: 1 - replay of the target, replay split as the base mix is."""
    return {target: 1 - replay} | {language: replay * share for language, share in base.items()}


def evaluation_blocks(
    tokens: np.ndarray, context: int, n_tokens: int, beginning: int | None = None
) -> np.ndarray:
    """Fixed held-out blocks spread evenly over a validation store, shape (n, context + 1)."""
    available = count_blocks(tokens, context, "validation store")
    n = min(available, max(1, n_tokens // context))
    return take_blocks(tokens, context, (np.arange(n) * available) // n, beginning)


@dataclass(frozen=True)
class Text:
    """The token stores of a run: training and validation store per language."""

    train: Mapping[str, Store]
    valid: Mapping[str, Store]
    target: str
    base: Mapping[str, float]  # language -> share of the pre-training mix
    evaluation_tokens: int

    @classmethod
    def open(cls, train: Iterable[str], valid: Iterable[str], **mix) -> "Text":
        """Map the stores at `train` and `valid`, named <language>.<split>.bin; `mix`: the rest."""
        train, valid = (
            {Path(path).name.split(".")[0]: open_store(path) for path in paths}
            for paths in (train, valid)
        )
        return cls(train, valid, **mix)

    def mixture(
        self, shares: Mapping[str, float], seed: int, purpose: str, context: int
    ) -> Mixture:
        """The training stream for `shares`, each language in its own seeded order."""
        keys = {language: stream_key(seed, purpose, language) for language in shares}
        orders = {}
        for name, key in keys.items():
            store = self.train[name]
            orders[name] = BlockOrder(store.tokens, context, key, store.info.beginning)
        return Mixture(orders, shares)

    def evaluation(self, context: int) -> dict:
        """Fixed held-out blocks of every domain."""
        return {
            language: evaluation_blocks(
                store.tokens, context, self.evaluation_tokens, store.info.beginning
            )
            for language, store in self.valid.items()
        }

    def of_checkpoint(self) -> dict:
        """What a pre-trained checkpoint and its held-out losses have seen, and CPT must see too."""
        train = {language: self.train[language].info.content for language in self.base}
        return {"train": train} | self.of_measurement()

    def of_measurement(self) -> dict:
        """What held-out losses were measured on."""
        valid = {language: store.info.content for language, store in self.valid.items()}
        return {"valid": valid, "evaluation_tokens": self.evaluation_tokens}

    def agrees(self, recorded: Mapping | None) -> bool:
        """Whether what a checkpoint has recorded of its text, if anything, holds for this one."""
        return recorded is None or recorded.items() <= self.of_checkpoint().items()

    def identity(self, context: int) -> dict:
        """What makes these stores this text and no other, in this order: for fingerprints."""
        train, valid = (
            {language: asdict(store.info) for language, store in stores.items()}
            for stores in (self.train, self.valid)
        )
        mix = {"target": self.target, "base": dict(self.base)}
        if any((store.info.tokens - 1) // context > LARGE for store in self.train.values()):
            mix["order"] = shuffle.VERSION
        return {"train": train, "valid": valid, **mix, "evaluation_tokens": self.evaluation_tokens}


def warn_of_repeats(what: str, mixture: Mixture, sequences: int) -> None:
    for language, epochs in mixture.epochs(sequences).items():
        if epochs > MANY_EPOCHS:
            log.warning(
                "%s reads its %s text %.1f times; above %d repetitions text is worth ever less: "
                "raise corpora.languages.%s.train_tokens or give more text",
                *(what, language, epochs, MANY_EPOCHS, language),
            )
        elif epochs > 1:
            log.info("%s reads its %s text %.2f times", what, language, epochs)
