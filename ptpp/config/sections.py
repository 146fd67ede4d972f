"""The keys of the configuration, section by section: types, defaults and what each means."""

from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import ConfigDict, Field

from ptpp.config.fields import (
    BelowOne,
    Count,
    Name,
    NonNegative,
    Number,
    Paths,
    Positive,
    Section,
    Share,
    Whole,
    distinct,
    one_of_kinds,
)
from ptpp.models.sizes import shape_of
from ptpp.text.tokenised import files_of


class Language(Section):
    """What every language states."""

    name: Name
    source: Literal["synthetic", "jsonl", "text", "huggingface", "tokens"]
    train_tokens: Count
    """Size of the training store. A run that needs more reads the store again."""
    valid_tokens: Count
    """Size of the held-out store; above corpora.evaluation_tokens."""

    def files(self, split: str) -> list[str]:
        """The files that a split, "train" or "valid", is read from."""
        return [str(path) for path in files_of(getattr(self, split, ()))]


class Synthetic(Language):
    """Generated text."""

    language: Literal["english", "french", "arabic"]
    seed: Whole
    cognates: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of words that resemble their English counterpart."""


class TextFiles(Language):
    """Plain text files, one document per paragraph."""

    train: Paths
    valid: Paths


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
    seed: Whole


class Tokenised(TextFiles):
    """Files of token ids: .npy, .bin (ids and nothing else), or Megatron's .idx beside a .bin."""

    vocab_size: Count
    """Ids of the tokenizer that made them, which must be the experiment's."""
    tokenizer: str | None = None
    """A directory with that tokenizer, to be compared with the experiment's; null: not compared."""
    separator: Whole | None = None
    """The id that ends a document; needed for .npy and .bin."""
    dtype: Literal["uint8", "uint16", "uint32", "int32", "int64"] | None = None
    """Of a .bin, little-endian."""


AnyLanguage = one_of_kinds(
    lambda value: value.get("source") if isinstance(value, dict) else value.source,
    synthetic=Synthetic,
    jsonl=JsonLines,
    text=TextFiles,
    huggingface=HuggingFace,
    tokens=Tokenised,
)


class Corpora(Section):
    """Text: the domain adapted to, the base domains, where each comes from."""

    target: Name
    """The domain adapted to."""
    base: Annotated[dict[Name, Share], Field(min_length=1)]
    """The pre-training mix by base domain, summing to 1; also how replayed text is split."""
    languages: Annotated[list[AnyLanguage], Field(min_length=2)]
    evaluation_tokens: Count
    """Fixed held-out tokens per domain at every measurement."""
    parts: Count = 1
    """Jobs that tokenise a training store together; its ids do not depend on their number."""


class Tokenizer(Section):
    """One tokenizer for all languages: trained, or taken from a model."""

    model: str | None = None
    """A directory or Hub id whose tokenizer is taken; null: of the checkpoints, or trained."""
    revision: str | None = None
    """Of a Hub id: a commit."""
    vocab_size: Annotated[int, Field(ge=257)]
    """At least every byte and the separator, 257."""
    bytes_per_language: Count
    """Bytes of each language that a tokenizer is trained on."""


Value = TypeVar("Value")


class ByRule(Section, Generic[Value]):
    """A value for each of the two rules that train."""

    model_config = ConfigDict(json_schema_extra={"description": __doc__})

    pretrain: Value | None = None
    adapt: Value | None = None


def _resource(kind: Any, text: Any, both: Any) -> Any:
    """One value, a number or a text, or one for each rule."""

    def choose(value: Any) -> str:
        if isinstance(value, dict | Section):
            return "by_rule"
        return "text" if isinstance(value, str) else "number"

    return one_of_kinds(choose, number=kind, text=text, by_rule=ByRule[both])


class Resources(Section):
    """What a job asks for: one value, or one for each of the rules pretrain and adapt."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, _resource(int, str, int | str)]

    threads: _resource(Count, Count, Whole) = 1
    mem_mb: _resource(Whole, Whole, Whole) = 2000
    mem: _resource(str, str, str) = ""
    gpu: _resource(Whole, Whole, Whole) = 0


class Size(Section):
    """What a model states whether or not it is trained here."""

    name: Name
    batch_tokens: Count
    """Tokens per optimiser step."""
    seeds: distinct(Whole)
    """Each is a whole pre-training and sweep."""
    devices: Count = 1
    """Devices that one job trains on at once, on every node."""
    nodes: Count = 1
    """Nodes of a SLURM cluster that one job trains on at once."""
    micro_batch_tokens: Count | None = None
    """Tokens that a device computes at once; null: its share of a step, or what a GPU can hold."""
    resources: Resources = Resources()
    """What its jobs ask of Snakemake and of a cluster (docs/gpus.md)."""


class TrainedSize(Size):
    """A size pre-trained here, by its shape."""

    width: Count
    depth: Count
    heads: Count


class Checkpoint(Section):
    """A model from elsewhere at one stage."""

    ptpp: Positive
    """Its stage, one of pretraining.ptpp."""
    model: str
    """A directory that `save_pretrained` wrote, or a Hub id."""
    revision: str | None = None
    """Of a Hub id: a commit."""
    tokens: Count
    """What it has read; over n_params it must be ptpp within 10 %."""


class ExternalSize(Size):
    """A size whose checkpoints come from elsewhere, one per stage."""

    n_params: Count
    """N behind PTPP and ATPP, by models.count."""
    learning_rate: Positive
    """The peak rate of its own pre-training; adaptation starts at adaptation.rewarm times it."""
    checkpoints: Annotated[list[Checkpoint], Field(min_length=1)]


def _kind_of_size(value: Any) -> str:
    has = "checkpoints" in value if isinstance(value, dict) else isinstance(value, ExternalSize)
    return "external" if has else "trained"


class Models(Section):
    """The models of the sweep."""

    context: Annotated[int, Field(ge=2)]
    """Tokens of a training sequence."""
    count: Literal["total", "non_embedding"]
    """N behind PTPP and ATPP: total or non_embedding parameters."""
    sizes: Annotated[
        list[one_of_kinds(_kind_of_size, trained=TrainedSize, external=ExternalSize)],
        Field(min_length=1),
    ]

    def members(self) -> list[tuple[str, str, int]]:
        """Name, size and seed of every model; a size's first seed goes by the size's own name."""
        return [
            (f"{size.name}-seed{seed}" if place else size.name, size.name, seed)
            for size in self.sizes
            for place, seed in enumerate(size.seeds)
        ]


class Training(Section):
    """What pre-training and adaptation have in common."""

    schedule: Literal["wsd", "independent"]
    """wsd: one trunk, a decay per checkpoint; independent: a run per checkpoint."""
    decay_fraction: Share
    """wsd: share of each checkpoint's budget spent decaying to zero."""
    warmup: NonNegative
    """Tokens per parameter."""
    weight_decay: NonNegative
    betas: Annotated[list[BelowOne], Field(min_length=2, max_length=2)]
    clip: Positive


class Pretraining(Training):
    """How models are pre-trained."""

    ptpp: distinct(Positive)
    """Checkpoints, in pre-training tokens per parameter, ascending."""
    learning_rate: Positive
    """Of AdamW at base_width; hidden matrices scale with base_width / width."""
    base_width: Count


class Adaptation(Training):
    """How checkpoints are adapted, and at which replay ratios and ATPP."""

    replay: distinct(BelowOne)
    """Shares of CPT tokens drawn from the base mix."""
    controls: distinct(Literal[1], 0)
    """Measured beside the sweep: replay 1 shows what re-warming alone does."""
    atpp: distinct(Positive)
    """Adaptation tokens per parameter, replay included, ascending."""
    rewarm: Share
    """Peak rate, as a share of the pre-training rate."""


class Anchors(Section):
    """Measured cells of the held-out stage which the protocol with_anchors may see."""

    count: Count
    sizes: distinct(Name) | None = None
    """null: every size but the largest."""
    seed: Whole = 0


class HeldOut(Section):
    """The stage that laws must predict."""

    ptpp: Positive | None
    """null: measure only, no laws."""
    anchors: Anchors


class Cost(Section):
    """The device that `snakemake cost` estimates for (docs/cost.md)."""

    device: Literal["zen5_core", "a100", "h100", "h100_pcie", "h200"]
    utilisation: Share | None = None
    """Share of the device's peak that is reached; null: as in ptpp/cost/devices.py."""


class AnchorSweep(Section):
    """How many anchors are worth it, and which."""

    counts: distinct(Whole)
    choices: distinct(Literal["spread", "random", "v_optimal"])
    repeats: Count
    """Of the random choice."""


TargetLaw = Literal[
    "dcpt",
    "floor",
    "gated",
    "gated_floor",
    "exponent_gate",
    "transfer_offset",
    "saturating_gate",
    "checkpoint_informed",
    "tied",
    "floor_tokens",
    "state",
    "transfer_state",
    "state_without_offset",
]
DeclaredLaw = Annotated[str, Field(pattern="^(.*/)?[A-Za-z0-9][A-Za-z0-9_-]{0,40}[.]ya?ml$")]


class Laws(Section):
    """What is fitted, and how."""

    target: distinct(TargetLaw)
    """Laws of the target loss."""
    declared: distinct(DeclaredLaw, 0) = Field(default_factory=list)
    """Paths of laws in YAML (docs/laws.md), named like their files."""
    base: distinct(Literal["forgetting", "forgetting_without_replay"], 0)
    """Laws of the base domains' forgetting: one fit per base domain."""
    protocols: distinct(Literal["early_to_late", "with_anchors"])
    cross_validation: distinct(Literal["leave_one_stage_out", "leave_largest_size_out"], 0)
    huber_delta: Positive
    """On log residuals."""
    starts: Count
    """Starting points of every fit."""
    seed: Whole
    krige: bool
    """Correct every law by its misfit, kriged from the fitted cells, and give its intervals."""
    bootstrap: Count
    """Refits to resampled runs, behind the intervals of scores and of laws alone."""
    anchor_sweep: AnchorSweep


class Plan(Section):
    """The adaptation to be planned, and its limits."""

    law: Name
    """plan.csv holds every law's plan; this one's is drawn."""
    n_params: Positive | None = None
    """Parameters of the model to adapt; null: the largest that was measured at that PTPP."""
    beyond: list[Positive] = Field(default_factory=list)
    """Further models, larger than any measured: their plans say how far they extrapolate."""
    ptpp: Positive
    base_loss: Positive | None = None
    """The checkpoint's mean base-domain loss before adaptation [nats per token], for laws that read
    it; null: measured, where the table has that checkpoint, or forecast."""
    zero_shot_losses: dict[Name, Positive] = Field(default_factory=dict)
    """The checkpoint's loss before adaptation by base domain [nats per token], for the forgetting
    laws; of domains not named: measured, where the table has that checkpoint, or forecast."""
    target_loss: Positive | None = None
    """Nats per token; null: within target_within of the best reachable."""
    target_within: Positive
    """Nats per token."""
    forgetting: dict[Name, Number]
    """Most base-domain loss that may be given up, nats per token."""
    min_atpp: Positive
    """Below the sweep's least ATPP nothing was measured."""
    max_atpp: Positive
    max_replay: BelowOne
    """Largest replay ratio considered, below 1."""
    max_flops: Positive | None = None
    """FLOPs; null: no limit."""
    from_scratch: str | None = None
    """Path of a table of runs from scratch (n_params, adapt_tokens, loss), if any."""
    confidence: Share
    """Share of bootstrap draws in which a robust plan meets all limits."""


class Config(Section):
    """The configuration of an experiment; config.yaml holds the default one."""

    scale: Name
    """Results go to results/<scale>/."""
    device: Literal["auto", "cpu", "cuda"]
    """auto: a GPU when there is one."""
    jobs_per_gpu: Count = 1
    """Training jobs that share a GPU of this machine; 1: each has its own (docs/gpus.md)."""
    compile: Literal["auto", True, False] = "auto"
    """Whether decoder layers are trained through torch.compile (docs/gpus.md); auto: on GPUs."""
    save_every: NonNegative
    """Seconds between saves of unfinished training, or twenty times as long as a save takes; 0:
    after every step."""
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
        return {name: (size, seed) for name, size, seed in self.models.members()}

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
        if isinstance(size, ExternalSize):
            return size.n_params
        shape = {key: getattr(size, key) for key in ("width", "depth", "heads")}
        shape = shape_of(shape, self.models.context, self.tokenizer.vocab_size)
        return shape.count(self.models.count)

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

    def planned_size(self) -> Size | None:
        """The size that the plan is carried out on: the largest that has the plan's stage, or the
        one of `plan.n_params` (within 1 %); None where no model of this run is planned for.
        """
        sizes = [size for size in self.models.sizes if self.plan.ptpp in self.stages(size)]
        if (wanted := self.plan.n_params) is not None:
            sizes = [size for size in sizes if abs(self.n_params(size) / wanted - 1) <= 0.01]
        return max(sizes, key=self.n_params, default=None)
