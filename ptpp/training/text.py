"""The text of a run: token stores of every language, and the streams and blocks made from them."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from ptpp.text.store import Store, open_store
from ptpp.training.data import BlockOrder, Mixture, evaluation_blocks, stream_key

log = logging.getLogger("ptpp")

MANY_EPOCHS = 4  # repeated text is nearly as good as new up to here [Muennighoff et al. 2023]


@dataclass(frozen=True)
class Text:
    """The token stores of a run: training and validation store per language."""

    train: Mapping[str, Store]
    valid: Mapping[str, Store]
    target: str
    base: Mapping[str, float]  # language -> share of the pre-training mix
    evaluation_tokens: int

    @classmethod
    def open(
        cls,
        train: Iterable[str],
        valid: Iterable[str],
        target: str,
        base: Mapping[str, float],
        evaluation_tokens: int,
    ) -> "Text":
        """Map the stores at `train` and `valid`, named <language>.<split>.bin."""
        train, valid = (
            {Path(path).name.split(".")[0]: open_store(path) for path in paths}
            for paths in (train, valid)
        )
        return cls(train, valid, target, dict(base), evaluation_tokens)

    def mixture(
        self, shares: Mapping[str, float], seed: int, purpose: str, context: int
    ) -> Mixture:
        """The training stream for `shares`, each language in its own seeded order."""
        orders = {
            language: BlockOrder(
                self.train[language].tokens, context, stream_key(seed, purpose, language)
            )
            for language in shares
        }
        return Mixture(orders, shares)

    def evaluation(self, context: int) -> dict:
        """Fixed held-out blocks of every domain."""
        return {
            language: evaluation_blocks(store.tokens, context, self.evaluation_tokens)
            for language, store in self.valid.items()
        }

    def of_checkpoint(self) -> dict:
        """What a pre-trained checkpoint and its held-out losses have seen, and CPT must see too."""
        base = {language: self.train[language] for language in self.base}
        return {"train": _contents(base)} | self.of_measurement()

    def of_measurement(self) -> dict:
        """What held-out losses were measured on."""
        return {"valid": _contents(self.valid), "evaluation_tokens": self.evaluation_tokens}

    def agrees(self, recorded: Mapping | None) -> bool:
        """Whether what a checkpoint has recorded of its text, if anything, holds for this one."""
        return recorded is None or recorded.items() <= self.of_checkpoint().items()

    def identity(self) -> dict:
        """What makes these stores this text and no other, for fingerprints."""
        stores = {
            kind: {language: asdict(store.info) for language, store in stores.items()}
            for kind, stores in (("train", self.train), ("valid", self.valid))
        }
        return stores | {
            "target": self.target,
            "base": dict(self.base),
            "evaluation_tokens": self.evaluation_tokens,
        }


def _contents(stores: Mapping[str, Store]) -> dict[str, str]:
    return {language: store.info.content for language, store in stores.items()}


def warn_of_repeats(what: str, mixture: Mixture, sequences: int) -> None:
    for language, epochs in mixture.epochs(sequences).items():
        if epochs > MANY_EPOCHS:
            log.warning(
                "%s reads its %s text %.1f times; above %d repetitions text is worth ever less: "
                "raise corpora.languages.%s.train_tokens or give more text",
                what,
                language,
                epochs,
                MANY_EPOCHS,
                language,
            )
        elif epochs > 1:
            log.info("%s reads its %s text %.2f times", what, language, epochs)
