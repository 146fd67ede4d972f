"""Held-out base loss of every size over a grid of learning rates, for choosing the default one.

    python benchmarks/learning_rate.py results/laptop --ptpp 15 --rates 0.004 0.008 0.016

Needs the token stores of that run (`snakemake --cores 2 results/laptop/tokens/en.train.bin ...`).
The rate is that of `pretraining.base_width`; it transfers to other widths by the engine's rule.
"""

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import torch
import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))  # a script finds only its own folder

from ptpp.training.engine import Milestone, make_optimiser, train
from ptpp.training.evaluation import held_out_losses
from ptpp.training.model import GPT2, initialise
from ptpp.training.runs import Run, Text, settings_for
from ptpp.training.state import StateFolder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("--config", type=Path, default=Path("config.yaml"))
    parser.add_argument("--ptpp", type=float, default=15)
    parser.add_argument("--rates", type=float, nargs="+", required=True)
    parser.add_argument("--sizes", nargs="+", help="names of sizes; default: all")
    arguments = parser.parse_args()
    config = yaml.safe_load(arguments.config.read_text())
    torch.set_num_threads(1)
    base = config["corpora"]["base"]
    stores = arguments.results / "tokens"
    text = Text.open(
        [stores / f"{language}.train.bin" for language in base],
        [stores / f"{language}.valid.bin" for language in base],
        config["corpora"]["target"],
        base,
        65_536,
    )
    print("size,ptpp,learning_rate,loss")
    for size in config["models"]["sizes"]:
        if arguments.sizes and size["name"] not in arguments.sizes:
            continue
        for rate in arguments.rates:
            loss = base_loss(config, size, text, arguments.ptpp, rate)
            print(f"{size['name']},{arguments.ptpp:g},{rate:g},{loss:.4f}", flush=True)


def base_loss(config: dict, size: dict, text: Text, ptpp: float, rate: float) -> float:
    """Mean held-out loss (nats/token) over base languages after pre-training at `rate`."""
    spec = {
        "size": size,
        "seed": 0,
        "context": config["models"]["context"],
        "vocab_size": config["tokenizer"]["vocab_size"],
        "count": config["models"]["count"],
        "device": "cpu",
    }
    run = Run.of(size["name"], spec, code="")
    settings = settings_for(config["pretraining"], run, size["batch_tokens"])
    settings = replace(settings, learning_rate=rate)
    context = run.shape.context
    model = GPT2(run.shape)
    initialise(model, run.seed)
    milestone = Milestone.at(ptpp, run.n_params, context, settings)
    blocks = text.evaluation(context)
    with tempfile.TemporaryDirectory() as folder:
        records, _ = train(
            model,
            make_optimiser(model, settings),
            text.mixture(text.base, run.seed, "pretraining", context),
            settings,
            [milestone],
            lambda _: held_out_losses(model, blocks),
            StateFolder(folder, ""),
            size["name"],
        )
    return sum(records[0].values()) / len(records[0])


if __name__ == "__main__":
    main()
