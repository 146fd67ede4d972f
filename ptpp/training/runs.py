"""The two kinds of run: a pre-training stage and a continual pre-training (CPT) trajectory."""

import csv
import logging
import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from ptpp.corpora.store import Store, bytes_per_token, open_store
from ptpp.errors import InputError
from ptpp.files import replacing, sha256
from ptpp.training.data import (
    BlockOrder,
    Mixture,
    adaptation_shares,
    evaluation_blocks,
    stream_key,
)
from ptpp.training.engine import Diverged, Milestone, Settings, make_optimiser, train
from ptpp.training.evaluation import bits_per_byte, held_out_losses
from ptpp.training.model import GPT2, initialise, load_checkpoint, save_checkpoint
from ptpp.training.sizes import Shape, shape_of, training_flops
from ptpp.training.state import StateFolder, fingerprint, load_tensors, pack, save_tensors, unpack

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


@dataclass(frozen=True)
class Run:
    """Who is trained: its name in tables and logs, shape, counting rule, seed and device."""

    model: str
    size: str
    shape: Shape
    count: str
    seed: int
    device: str
    code: str  # digest of the training code, part of the fingerprint

    @classmethod
    def of(cls, model: str, spec: Mapping, code: str) -> "Run":
        """The run of `model` as the workflow specifies it: size, seed, context, count, device."""
        size = spec["size"]
        return cls(
            model=model,
            size=size["name"],
            shape=shape_of(size, spec["context"], spec["vocab_size"]),
            count=spec["count"],
            seed=spec["seed"],
            device=pick_device(spec["device"]),
            code=code,
        )

    @property
    def n_params(self) -> int:
        return self.shape.count(self.count)


def settings_for(optimiser: Mapping, run: Run, batch_tokens: int) -> Settings:
    """Engine settings from a `pretraining` or `adaptation` section, token counts in sequences."""
    return Settings(
        learning_rate=optimiser["learning_rate"],
        base_width=optimiser["base_width"],
        batch=batch_tokens // run.shape.context,
        warmup=round(optimiser["warmup"] * run.n_params / run.shape.context),
        decay_fraction=optimiser["decay_fraction"] if optimiser["schedule"] == "wsd" else 1.0,
        weight_decay=optimiser["weight_decay"],
        betas=tuple(optimiser["betas"]),
        clip=optimiser["clip"],
    )


def pick_device(wanted: str) -> str:
    """`auto` is the GPU when there is one."""
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wanted.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(f"device: {wanted} asked for, but torch sees no GPU; accepted: auto, cpu")
    return wanted


def pretrain_stage(
    run: Run,
    ptpp: float,
    settings: Settings,
    text: Text,
    previous_trunk: str | Path | None,
    tokenizer: str | Path,
    checkpoint: str | Path,
    trunk: str | Path,
    zero_shot: str | Path,
    curve: str | Path,
    state: str | Path,
    save_every_s: float = 30.0,
) -> None:
    """Train one model from the previous stage's trunk (or from scratch) to `ptpp`.

    Writes the decayed checkpoint, the trunk to go on from, the checkpoint's held-out losses as
    zero-shot observations (ATPP 0) and the trunk's training curve. Raises Diverged when the base
    loss ends no better than a uniform guess.
    """
    started = time.monotonic()
    model = GPT2(run.shape)
    initialise(model, run.seed)
    model.to(run.device)
    optimiser = make_optimiser(model, settings)
    start, points = 0, []
    if previous_trunk is not None:
        tensors, meta = load_tensors(Path(previous_trunk))
        unpack(tensors, model, optimiser, "trunk")
        start, points = meta["position"], meta["points"]
    context = run.shape.context
    milestone = Milestone.at(ptpp, run.n_params, context, settings)
    mixture = text.mixture(text.base, run.seed, "pretraining", context)
    what = f"{run.model} pre-training to PTPP {ptpp:g}"
    _warn_of_repeats(what, mixture, milestone.end)
    blocks = text.evaluation(context)

    def at_milestone(_: Milestone) -> dict:
        losses = held_out_losses(model, blocks)
        worst = max(text.base, key=lambda language: losses[language])
        if not losses[worst] < math.log(run.shape.vocab_size):
            raise Diverged(
                f"{what}: {worst} loss {losses[worst]:.3f} nats is no better than a uniform guess; "
                "lower pretraining.learning_rate"
            )
        save_checkpoint(model, Path(checkpoint), Path(tokenizer))
        return losses

    folder = StateFolder(
        state,
        fingerprint(
            [asdict(run), ptpp, asdict(settings), text.identity(), _file_identity(previous_trunk)]
        ),
    )
    with folder.locked():
        records, made = train(
            model,
            optimiser,
            mixture,
            settings,
            [milestone],
            at_milestone,
            folder,
            what,
            start,
            save_every_s,
        )
        points += [[p * context, loss] for p, loss in made.points]
        meta = {"position": max(milestone.branch, start), "points": points}
        save_tensors(Path(trunk), pack(model, optimiser, "trunk"), meta)
        seconds = time.monotonic() - started
        rows = _rows(
            run, ptpp, 0.0, 0.0, 0, records[0], text, f"{run.model}.ptpp{ptpp:g}.zero_shot", seconds
        )
        _write_csv(rows, zero_shot)
        who = {"model": run.model, "size": run.size, "seed": run.seed, "n_params": run.n_params}
        _write_csv([who | {"tokens": tokens, "loss": loss} for tokens, loss in points], curve)
        folder.remove()


def adapt(
    run: Run,
    ptpp: float,
    replay: float,
    atpp: list[float],
    settings: Settings,
    text: Text,
    checkpoint: str | Path,
    zero_shot: str | Path,
    observations: str | Path,
    state: str | Path,
    save_every_s: float = 30.0,
) -> None:
    """Adapt one checkpoint at one replay ratio and measure every ATPP of the grid.

    Writes one observation per ATPP and domain. Raises Diverged when the target loss ends above
    the checkpoint's own although target text was trained on.
    """
    started = time.monotonic()
    model = load_checkpoint(checkpoint).to(run.device)
    if model.shape != run.shape:
        raise InputError(f"{checkpoint}: shape {model.shape} is not the configured {run.shape}")
    optimiser = make_optimiser(model, settings)
    context = run.shape.context
    milestones = [Milestone.at(budget, run.n_params, context, settings) for budget in sorted(atpp)]
    shares = adaptation_shares(text.target, text.base, replay)
    mixture = text.mixture(shares, run.seed, "adaptation", context)
    what = f"{run.model} CPT from PTPP {ptpp:g} at replay {replay:g}"
    _warn_of_repeats(what, mixture, milestones[-1].end)
    blocks = text.evaluation(context)
    with open(zero_shot, newline="") as stream:
        before = {row["domain"]: float(row["loss"]) for row in csv.DictReader(stream)}[text.target]

    def at_milestone(milestone: Milestone) -> dict:
        losses = held_out_losses(model, blocks)
        if replay < 1 and not losses[text.target] <= before:
            raise Diverged(
                f"{what}: {text.target} loss {losses[text.target]:.3f} nats at ATPP "
                f"{milestone.budget:g} is above the checkpoint's own {before:.3f}; "
                "lower adaptation.rewarm or pretraining.learning_rate"
            )
        return losses

    folder = StateFolder(
        state,
        fingerprint(
            [
                asdict(run),
                ptpp,
                replay,
                sorted(atpp),
                asdict(settings),
                text.identity(),
                _file_identity(Path(checkpoint) / "model.safetensors"),
            ]
        ),
    )
    with folder.locked():
        records, _ = train(
            model,
            optimiser,
            mixture,
            settings,
            milestones,
            at_milestone,
            folder,
            what,
            save_every_s=save_every_s,
        )
        seconds = time.monotonic() - started
        rows = []
        for milestone, losses in zip(milestones, records, strict=True):
            tokens = milestone.end * context
            name = f"{run.model}.ptpp{ptpp:g}.replay{replay:g}"
            rows += _rows(run, ptpp, replay, milestone.budget, tokens, losses, text, name, seconds)
        _write_csv(rows, observations)
        folder.remove()


def _rows(run, ptpp, replay, atpp, tokens, losses, text: Text, name, seconds) -> list[dict]:
    """Observation rows, one per domain; `seconds` is the wall time of the whole trajectory."""
    return [
        {
            "run": name,
            "size": run.size,
            "n_params": run.n_params,
            "n_params_non_embedding": run.shape.n_params_non_embedding,
            "ptpp": ptpp,
            "replay": replay,
            "atpp": atpp,
            "adapt_tokens": tokens,
            "domain": domain,
            "loss": loss,
            "bits_per_byte": bits_per_byte(loss, bytes_per_token(text.valid[domain].info)),
            "seed": run.seed,
            "flops": training_flops(run.n_params, tokens),
            "seconds": round(seconds, 3),
        }
        for domain, loss in losses.items()
    ]


def _write_csv(rows: list[dict], path: str | Path) -> None:
    """Floats at full precision. Not through pandas, whose import costs every job half a second."""
    with replacing(path) as temporary, open(temporary, "w", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _file_identity(path: str | Path | None) -> str:
    return "" if path is None else sha256(path)


def _warn_of_repeats(what: str, mixture: Mixture, sequences: int) -> None:
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
