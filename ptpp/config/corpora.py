"""Keys about text: languages, the mix, the tokenizer."""

from typing import Annotated, Any, Literal

from pydantic import Field

from ptpp.config.fields import Count, Name, Paths, Section, Seed, Share, UpToOne, one_of_kinds
from ptpp.errors import InputError


class Language(Section):
    """What every language states."""

    name: Name
    source: Literal["synthetic", "jsonl", "text", "huggingface"]
    train_tokens: Count
    """Size of the training store. A run that needs more reads the store again."""
    valid_tokens: Count
    """Size of the held-out store; above corpora.evaluation_tokens."""

    @property
    def files(self) -> dict[str, list[str]]:
        """Paths by split; empty where the text does not come from files."""
        return {}


class Synthetic(Language):
    """Generated text."""

    language: Literal["english", "french", "arabic"]
    seed: Seed
    cognates: UpToOne = 0.0
    """Share of words that resemble their English counterpart."""


class TextFiles(Language):
    """Plain text files, one document per paragraph."""

    train: Paths
    valid: Paths

    @property
    def files(self) -> dict[str, list[str]]:
        return {"train": self.train, "valid": self.valid}


class JsonLines(TextFiles):
    """Files with one JSON object per line, plain or compressed."""

    text: str = "text"
    """The key of the text in each object."""


class HuggingFace(Language):
    """A data set of the Hugging Face Hub, streamed."""

    id: str
    config: str | None = None
    revision: str | None = None
    """A commit; without it nobody can know later what was read."""
    train_split: str
    valid_split: str | None = None
    valid_documents: Count | None = None
    """Documents held out from the training split, where there is no split for validation."""
    text: str
    shuffle_buffer: Count
    seed: Seed


_SOURCES = {
    "synthetic": Synthetic,
    "jsonl": JsonLines,
    "text": TextFiles,
    "huggingface": HuggingFace,
}


def _source_of(value: Any) -> str:
    return value.get("source") if isinstance(value, dict) else getattr(value, "source", None)


AnyLanguage = one_of_kinds(_source_of, **_SOURCES)


class Corpora(Section):
    """Text: the domain adapted to, the base domains, where each comes from."""

    target: Name
    """The domain adapted to."""
    base: Annotated[dict[Name, Share], Field(min_length=1)]
    """The pre-training mix by base domain, summing to 1; also how replayed text is split."""
    languages: Annotated[list[AnyLanguage], Field(min_length=2)]
    evaluation_tokens: Count
    """Fixed held-out tokens per domain at every measurement."""


class Tokenizer(Section):
    """One tokenizer for all languages: trained, or taken from a model."""

    model: str | None = None
    """A directory or Hub id whose tokenizer is taken; null: of the checkpoints, or trained."""
    revision: str | None = None
    """Of a Hub id: a commit."""
    vocab_size: Annotated[int, Field(ge=257)]
    bytes_per_language: Count
    """Bytes of each language that a tokenizer is trained on."""


def check_languages(corpora: Corpora, domains: list[str]) -> None:
    """The target and the base domains are distinct members of `domains`, and shares sum to 1."""
    for name in domains:
        if domains.count(name) > 1:
            raise InputError(f"config: corpora.languages: name {name!r} stands there twice")
    if corpora.target not in domains:
        raise InputError(
            f"config: corpora.target: {corpora.target!r} is not among corpora.languages; "
            f"accepted: {', '.join(domains)}"
        )
    for language in corpora.base:
        if language not in domains or language == corpora.target:
            others = [name for name in domains if name != corpora.target]
            raise InputError(
                f"config: corpora.base: {language!r} must be one of corpora.languages "
                f"other than the target; accepted: {', '.join(others)}"
            )
    total = sum(corpora.base.values())
    if abs(total - 1) > 1e-9:
        raise InputError(f"config: corpora.base: shares sum to {total:g}; they must sum to 1")


def check_evaluation(corpora: Corpora, context: int) -> None:
    """A measurement reads at least one context, and less than the held-out stores hold."""
    tokens = corpora.evaluation_tokens
    if tokens < context:
        raise InputError(
            f"config: corpora.evaluation_tokens: {tokens} is less than one context of {context}"
        )
    for language in corpora.languages:
        if language.valid_tokens <= tokens:
            raise InputError(
                f"config: corpora.languages: {language.name}: valid_tokens "
                f"{language.valid_tokens} must be above corpora.evaluation_tokens {tokens}"
            )
