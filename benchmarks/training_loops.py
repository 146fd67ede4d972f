"""Three ways to train the same GPT-2 on the same batches: ours, a plain loop, and Trainer.

Weights, batches, optimiser, clipping and schedule are the same in all three, so that they differ
in nothing but speed; tests/training/test_benchmark_training.py holds their losses equal.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F

from ptpp.models.backend import GROUPS, group_of, group_settings
from ptpp.models.cpu import HandWritten, load_checkpoint
from ptpp.training.data import Mixture
from ptpp.training.engine import Task as Training
from ptpp.training.engine import Trajectory, rate_multiplier, train
from ptpp.training.run import prepare
from ptpp.training.schedule import Milestone, Settings
from ptpp.training.state import StateFolder

NEEDS_ACCELERATE = "Trainer needs accelerate, which ptpp does not: pip install accelerate"


@dataclass(frozen=True)
class Task:
    """What is trained: a checkpoint on whole batches of `mixture`, linear decay to zero."""

    checkpoint: Path
    mixture: Mixture
    settings: Settings
    steps: int
    activation: str = "gelu"  # for transformers; ours is always "gelu"

    @property
    def sequences(self) -> int:
        return self.steps * self.settings.batch

    def multiplier(self, step: int) -> float:
        milestone = Milestone(0.0, 0, self.sequences)
        return rate_multiplier(step * self.settings.batch, self.settings, milestone)


Tick = Callable[[], None]  # called at the start of every step


def ours(task: Task, tick: Tick = lambda: None) -> list[float]:
    """The project's engine on one thread; returns the loss (nats/token) of every step."""
    prepare(threads=1)
    losses = []

    backend = HandWritten(load_checkpoint(task.checkpoint))
    gradients = backend.gradients

    def watched(tokens):
        tick()
        losses.append(gradients(tokens))
        return losses[-1]

    backend.gradients = watched
    milestone = Milestone(0.0, 0, task.sequences)
    training, trajectory = Training("ours", task.mixture, task.settings, [milestone]), Trajectory()
    with tempfile.TemporaryDirectory() as folder:
        for _ in train(training, backend, trajectory, StateFolder(Path(folder), "")):
            trajectory.records.append({})
    return [loss.item() for loss in losses]


def plain(task: Task, tick: Tick = lambda: None) -> list[float]:
    """A loop over `GPT2LMHeadModel`, eager, attention by SDPA, fused AdamW."""
    model = _transformers_model(task)
    optimiser = _adamw(model, task.settings)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, task.multiplier)
    losses = []
    for blocks in _all_blocks(task).split(task.settings.batch):
        tick()
        loss = _loss(model(input_ids=blocks[:, :-1]), blocks[:, 1:])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), task.settings.clip)
        optimiser.step()
        schedule.step()
        optimiser.zero_grad()
        losses.append(loss.item())  # as ours, which looks for divergence at every step
    return losses


def trainer(task: Task, tick: Tick = lambda: None, after: Callable = lambda _: None) -> list[float]:
    """`transformers.Trainer` with everything off that is not training.

    The data set is a list in memory, the collator the default one, nothing is logged, saved or
    evaluated; `after` gets the trained model. ImportError says how to install what is missing.
    """
    try:
        import accelerate  # noqa: F401
    except ImportError:
        raise ImportError(NEEDS_ACCELERATE) from None
    from transformers import (
        PrinterCallback,
        Trainer,
        TrainerCallback,
        TrainingArguments,
        default_data_collator,
    )

    class Ticking(TrainerCallback):
        def on_step_begin(self, *_, **__):
            tick()

    losses = []

    def loss_of(outputs, labels, num_items_in_batch=None):
        losses.append(_loss(outputs, labels))
        return losses[-1]

    model = _transformers_model(task)
    optimiser = _adamw(model, task.settings)
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=task.settings.batch,
            max_steps=task.steps,
            max_grad_norm=task.settings.clip,
            train_sampling_strategy="sequential",
            logging_strategy="no",
            save_strategy="no",
            eval_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
            dataloader_pin_memory=False,
            dataloader_num_workers=0,
            remove_unused_columns=False,
        )
        worker = Trainer(
            model,
            arguments,
            train_dataset=[
                {"input_ids": block[:-1], "labels": block[1:]} for block in _all_blocks(task)
            ],
            data_collator=default_data_collator,
            optimizers=(
                optimiser,
                torch.optim.lr_scheduler.LambdaLR(optimiser, task.multiplier),
            ),
            compute_loss_func=loss_of,
            callbacks=[Ticking()],
        )
        worker.remove_callback(PrinterCallback)
        worker.train()
    after(model)
    return [loss.item() for loss in losses]


LOOPS = {"trainer": trainer, "plain": plain, "ours": ours}


def _transformers_model(task: Task) -> torch.nn.Module:
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(1)
    return AutoModelForCausalLM.from_pretrained(
        task.checkpoint, activation_function=task.activation, attn_implementation="sdpa"
    ).train()


def _adamw(model: torch.nn.Module, settings: Settings) -> torch.optim.Optimizer:
    """Fused AdamW with the engine's three groups."""
    members: dict[str, list] = {group: [] for group in GROUPS}
    for name, parameter in model.transformer.named_parameters():
        members[group_of(name, tuple(parameter.shape))].append(parameter)
    rates = group_settings(settings, model.config.n_embd)
    groups = [
        {"params": members[group], "lr": rate, "weight_decay": decay}
        for group, (rate, decay) in rates.items()
    ]
    return torch.optim.AdamW(groups, betas=settings.betas, eps=1e-8, fused=True)


def _all_blocks(task: Task) -> torch.Tensor:
    """Every block of the run in memory, in the engine's order."""
    batch, mixture = task.settings.batch, task.mixture
    starts = range(0, task.sequences, batch)
    return torch.cat([torch.from_numpy(mixture.batch(k, k + batch)) for k in starts])


def _loss(outputs, targets: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(outputs.logits.flatten(0, 1), targets.flatten())
