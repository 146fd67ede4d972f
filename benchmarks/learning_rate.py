"""Held-out base loss of every size over a grid of learning rates, behind the default rate.

    python benchmarks/learning_rate.py results/laptop --out learning_rate.csv

Needs the token stores of that run (`snakemake --cores 2 results/laptop/tokens/en.train.bin ...`).
The rate is that of `pretraining.base_width`; it transfers to other widths by the optimiser's rule.
Every seed is a whole pre-training with its own weights and order of text; the stages of one run
branch off one trunk. tests/training/test_learning_rate.py holds the default rate against the table.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))  # a script finds only its own folder

from ptpp.errors import Diverged
from ptpp.models.backend import start_model
from ptpp.models.sizes import shape_of
from ptpp.report.tables import write_csv
from ptpp.training.data import Text
from ptpp.training.engine import Task, Trajectory, train
from ptpp.training.measurement import held_out_losses
from ptpp.training.run import prepare
from ptpp.training.schedule import Milestone, Settings
from ptpp.training.state import StateFolder

RATES = [0.005, 0.007, 0.01, 0.012, 0.014, 0.02]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("--config", type=Path, default=Path("config.yaml"))
    parser.add_argument("--ptpp", type=float, nargs="+", default=[15, 31])
    parser.add_argument("--rates", type=float, nargs="+", default=[0.005, 0.007, 0.01, 0.014, 0.02])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--sizes", nargs="+", help="names of sizes; default: all")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    config = yaml.safe_load(arguments.config.read_text())
    prepare(threads=1)
    base = config["corpora"]["base"]
    stores = arguments.results / "tokens"
    text = Text.open(
        [stores / f"{language}.train.bin" for language in base],
        [stores / f"{language}.valid.bin" for language in base],
        config["corpora"]["target"],
        base,
        65_536,
    )
    rows = []
    for size in config["models"]["sizes"]:
        if arguments.sizes and size["name"] not in arguments.sizes:
            continue
        for rate in arguments.rates:
            for seed in arguments.seeds:
                losses = base_losses(config, size, text, arguments.ptpp, rate, seed)
                for ptpp, loss in losses.items():
                    rows.append(
                        {
                            "size": size["name"],
                            "ptpp": ptpp,
                            "learning_rate": rate,
                            "seed": seed,
                            "loss": loss,
                        }
                    )
                    print(*rows[-1].values(), flush=True)
            write_csv(pd.DataFrame(rows), arguments.out)


def base_losses(
    config: dict, size: dict, text: Text, ptpp: Sequence[float], rate: float, seed: int
) -> dict[float, float]:
    """Mean held-out loss (nats/token) over base languages at each stage; NaN where it diverged."""
    context = config["models"]["context"]
    shape = shape_of(size, context, config["tokenizer"]["vocab_size"])
    n_params = shape.count(config["models"]["count"])
    settings = Settings.of(config["pretraining"], size["batch_tokens"], n_params, context)
    settings = replace(settings, learning_rate=rate)
    backend = start_model(shape, seed)
    milestones = [Milestone.at(stage, n_params, context, settings) for stage in sorted(ptpp)]
    blocks = text.evaluation(context)
    mixture = text.mixture(text.base, seed, "pretraining", context)
    task, trajectory = Task(size["name"], mixture, settings, milestones), Trajectory()
    try:
        with tempfile.TemporaryDirectory() as folder:
            for _ in train(task, backend, trajectory, StateFolder(Path(folder), "")):
                trajectory.records.append(held_out_losses(backend, blocks))
    except Diverged:
        return dict.fromkeys(sorted(ptpp), float("nan"))
    return {
        milestone.budget: sum(losses.values()) / len(losses)
        for milestone, losses in zip(milestones, trajectory.records, strict=True)
    }


if __name__ == "__main__":
    main()
