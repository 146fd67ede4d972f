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

from ptpp.models.backend import backend_for
from ptpp.models.weights import Weights, initialise
from ptpp.report.tables import write_csv
from ptpp.training.engine import Diverged, Milestone, train
from ptpp.training.evaluation import held_out_losses
from ptpp.training.runs import Run, prepare, settings_for
from ptpp.training.state import StateFolder
from ptpp.training.text import Text

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
    spec = {
        "size": size,
        "seed": seed,
        "context": config["models"]["context"],
        "vocab_size": config["tokenizer"]["vocab_size"],
        "count": config["models"]["count"],
        "device": "cpu",
    }
    run = Run.of(size["name"], spec, code="")
    settings = settings_for(config["pretraining"], run, size["batch_tokens"])
    settings = replace(settings, learning_rate=rate)
    context = run.shape.context
    weights = Weights(run.shape)
    initialise(weights, run.seed)
    backend = backend_for(weights)
    milestones = [Milestone.at(stage, run.n_params, context, settings) for stage in sorted(ptpp)]
    blocks = text.evaluation(context)
    try:
        with tempfile.TemporaryDirectory() as folder:
            records, _ = train(
                backend,
                text.mixture(text.base, run.seed, "pretraining", context),
                settings,
                milestones,
                lambda _: held_out_losses(backend, blocks),
                StateFolder(folder, ""),
                size["name"],
            )
    except Diverged:
        return dict.fromkeys(sorted(ptpp), float("nan"))
    return {
        milestone.budget: sum(losses.values()) / len(losses)
        for milestone, losses in zip(milestones, records, strict=True)
    }


if __name__ == "__main__":
    main()
