"""The whole configuration, and what must hold between its sections."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from ptpp.config.analysis import HeldOut, Laws, Plan, check_plan
from ptpp.config.corpora import Corpora, Tokenizer, check_evaluation, check_languages
from ptpp.config.fields import Count, Name, NonNegative, Section
from ptpp.config.messages import describe_error
from ptpp.config.sizes import (
    ExternalSize,
    Models,
    Size,
    check_checkpoints,
    check_sizes,
    count_params,
    model_names,
)
from ptpp.config.training import Adaptation, Cost, Pretraining
from ptpp.errors import InputError


class Config(Section):
    """The configuration of an experiment; config.yaml holds the default one."""

    scale: Name
    """Results go to results/<scale>/."""
    device: Literal["auto", "cpu", "cuda"]
    """auto: a GPU when there is one."""
    jobs_per_gpu: Count = 1
    """Training jobs that share a GPU of this machine; 1: each has its own (docs/gpus.md)."""
    save_every: NonNegative
    """Seconds between saves of unfinished training."""
    tensorboard: bool = False
    """Training also leaves TensorBoard event files (docs/observing.md)."""
    replays_per_job: Count | None = None
    """Replay ratios that one job adapts a checkpoint at; null: all. 1 suits a cluster."""
    observations: str | None = None
    """Path of a finished table of losses: then nothing is trained."""
    columns: dict[str, str] = Field(default_factory=dict)
    """The finished table's column names -> ours, with units: {cpt_tokens_B: adapt_tokens*1e9}."""
    where: str | None = None
    """Which rows of the finished table are read, such as "ptpp < 100"; null: all."""
    corpora: Corpora
    tokenizer: Tokenizer
    models: Models
    pretraining: Pretraining
    adaptation: Adaptation
    held_out: HeldOut
    cost: Cost
    laws: Laws
    plan: Plan

    @property
    def is_trained(self) -> bool:
        """Whether losses are measured here, and not read from a finished table."""
        return self.observations is None

    @cached_property
    def model_names(self) -> dict[str, tuple[str, int]]:
        """Every model as name -> (size, seed)."""
        return model_names(self.models)

    @property
    def external_sizes(self) -> list[ExternalSize]:
        """Sizes whose checkpoints come from elsewhere."""
        return [size for size in self.models.sizes if isinstance(size, ExternalSize)]

    @property
    def declared_laws(self) -> dict[str, str]:
        """Laws in files of their own, as name -> path."""
        return {Path(path).stem: path for path in self.laws.declared}

    @property
    def target_laws(self) -> list[str]:
        """Names of all laws of the target loss."""
        return [*self.laws.target, *self.declared_laws]

    def size(self, name: str) -> Size:
        """The size of a name."""
        return next(size for size in self.models.sizes if size.name == name)

    def stages(self, size: Size) -> list[float]:
        """PTPP that a size has: those of its checkpoints, or all that are trained."""
        if not isinstance(size, ExternalSize):
            return list(self.pretraining.ptpp)
        own = {checkpoint.ptpp for checkpoint in size.checkpoints}
        return [ptpp for ptpp in self.pretraining.ptpp if ptpp in own]

    def n_params(self, size: Size) -> int:
        """N of a size by `models.count`: as stated, or by its shape."""
        return count_params(size, self.models, self.tokenizer.vocab_size)

    def external_tokenizer(self) -> dict[str, str | None] | None:
        """`model` and `revision` of the tokenizer that is taken over; None when one is trained.

        Where none is named it is that of the first checkpoint from elsewhere.
        """
        source: Any = self.tokenizer
        if source.model is None:
            if not self.external_sizes:
                return None
            source = self.external_sizes[0].checkpoints[0]
        return {"model": source.model, "revision": source.revision}

    def anchor_sizes(self) -> list[str]:
        """Names of the sizes anchors are taken from.

        As configured, or all that have the held-out stage but the largest of them.
        """
        if self.held_out.anchors.sizes is not None:
            return list(self.held_out.anchors.sizes)
        sizes = self.held_out_sizes()
        largest = max(sizes, key=self.n_params, default=None)
        return [size.name for size in sizes if size is not largest]

    def held_out_sizes(self) -> list[Size]:
        """Sizes that have the held-out stage."""
        return [size for size in self.models.sizes if self.held_out.ptpp in self.stages(size)]


def read_config(config: dict) -> Config:
    """Check a configuration and return it typed; fills in defaults and drops nulls, in place.

    Raises InputError, one line that names the key, unless it can be run.
    """
    drop_nulls(config)
    try:
        checked = Config.model_validate(_to_plain(config))
    except ValidationError as error:
        raise InputError(describe_error(error)) from None
    _check_sense(checked)
    _fill_defaults(config, checked)
    return checked


def drop_nulls(config: Mapping) -> None:
    """Drop the entries of corpora.base and plan.forgetting that an overlay set to null, in place.

    Overlays merge mappings; null is how one takes out an entry of the file below.
    """
    for section, key in (("corpora", "base"), ("plan", "forgetting")):
        entries = (config.get(section) or {}).get(key)
        if isinstance(entries, dict):
            for name in [name for name, value in entries.items() if value is None]:
                del entries[name]


def _to_plain(value: Any) -> Any:
    """Dict subclasses of the workflow engine as plain dicts, which strict models ask for."""
    if isinstance(value, Mapping):
        return {key: _to_plain(item) for key, item in value.items()}
    return [_to_plain(item) for item in value] if isinstance(value, list) else value


def _fill_defaults(config: dict, section: Section) -> None:
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, Section):
            _fill_defaults(config[name], value)
        else:
            config.setdefault(name, value)


def _check_sense(config: Config) -> None:
    corpora = config.corpora
    domains = [language.name for language in corpora.languages]
    if not config.is_trained:  # the domains of a finished table need no text
        domains = [corpora.target, *corpora.base]
    check_languages(corpora, domains)
    check_sizes(config.models)
    _check_table_keys(config)
    _check_ascending("adaptation.atpp", config.adaptation.atpp)
    laws = [*config.laws.target, *(Path(path).stem for path in config.laws.declared)]
    for law in laws:
        if laws.count(law) > 1:
            raise InputError(
                f"config: laws.target and laws.declared: name {law!r} stands there twice"
            )
    check_plan(config.plan, laws, config.laws.protocols, list(corpora.base))
    if config.is_trained:
        for size in config.external_sizes:
            check_checkpoints(size, config.pretraining.ptpp)
        _check_stages(config)
        check_evaluation(corpora, config.models.context)
        if config.held_out.ptpp is not None:
            _check_anchors(config)


def _check_table_keys(config: Config) -> None:
    if not config.is_trained and config.held_out.ptpp is None:
        raise InputError("config: held_out.ptpp: null measures only, but a finished table is given")
    for key in ("columns", "where"):
        if config.is_trained and getattr(config, key):
            raise InputError(f"config: {key}: is about a finished table; observations is null")


def _check_ascending(key: str, values: list[float]) -> None:
    if values != sorted(values):
        raise InputError(f"config: {key}: {values} must ascend")


def _check_stages(config: Config) -> None:
    stages, held_out = config.pretraining.ptpp, config.held_out.ptpp
    _check_ascending("pretraining.ptpp", stages)
    for ptpp in stages:
        if not any(ptpp in config.stages(size) for size in config.models.sizes):
            raise InputError(f"config: pretraining.ptpp: no size has a checkpoint at {ptpp:g}")
    if held_out is None:
        return
    if held_out not in stages:
        raise InputError(
            f"config: held_out.ptpp: {held_out:g} is not among pretraining.ptpp; "
            f"accepted: {', '.join(map(str, stages))}, or null to measure only"
        )
    if stages.index(held_out) < 2:
        raise InputError(
            f"config: held_out.ptpp: {held_out:g} has {stages.index(held_out)} earlier stages in "
            f"pretraining.ptpp {stages}; laws of PTPP are fitted on two or more; null measures only"
        )


def _check_anchors(config: Config) -> None:
    """Anchors come from sizes that have the held-out stage, and leave cells of it to score."""
    names = [size.name for size in config.held_out_sizes()]
    sizes, count = config.anchor_sizes(), config.held_out.anchors.count
    for name in sizes:
        if name not in names:
            known = name in [size.name for size in config.models.sizes]
            what = "has no checkpoint at the held-out stage" if known else "is no size"
            raise InputError(
                f"config: held_out.anchors.sizes: {name!r} {what}; accepted: {', '.join(names)}"
            )
    if not sizes:
        raise InputError(
            "config: held_out.anchors.sizes: only one size has the held-out stage; name it there "
            "to take anchors from it"
        )
    cells = len(config.adaptation.replay) * len(config.adaptation.atpp)  # of one size
    if count > len(sizes) * cells:
        raise InputError(
            f"config: held_out.anchors.count: {count} anchors, but sizes {', '.join(sizes)} have "
            f"{len(sizes) * cells} cells at the held-out stage; at most {len(sizes) * cells}"
        )
    if count >= len(names) * cells:
        raise InputError(
            f"config: held_out.anchors.count: {count} anchors leave no cell of the held-out stage "
            "to score"
        )
