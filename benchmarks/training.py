"""Speed of training: ours, a plain GPT2LMHeadModel loop, and Hugging Face Trainer.

    python benchmarks/training.py results/laptop [--runs 5] [--sweep]

Every measurement is a fresh process on one thread; the loops take turns, and medians are told.
Rates are per second of CPU time, which other work on the machine hurts least; the CSV has wall
clock too. `--sweep` also measures, on a sample, what one process per cell with Trainer would cost
for the whole sweep, and needs the finished run in `results`. Trainer needs accelerate, which the
project does not: pip install accelerate.
"""

import argparse
import csv
import itertools
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median

import numpy as np
import torch
import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))  # a script finds only its own folder

from training_loops import LOOPS, Task

from ptpp.models.backend import ALONE
from ptpp.models.checkpoint import save_checkpoint
from ptpp.models.cpu import Weights, initialise
from ptpp.models.sizes import training_flops
from ptpp.training.adaptation import adapt
from ptpp.training.data import Text, adaptation_shares
from ptpp.training.job import AdaptJob, OptimisedJob, PretrainJob
from ptpp.training.measurement import held_out_losses, write_rows
from ptpp.training.pretraining import pretrain
from ptpp.training.run import prepare

WARM_UP, TIMED = 30, 200  # steps
WAYS = {
    "Trainer": {"loop": "trainer"},
    "Trainer, gelu_new": {"loop": "trainer", "activation": "gelu_new"},
    "plain loop": {"loop": "plain"},
    "ours": {"loop": "ours"},
}
SAMPLED_ATPP = (1, 4, 16)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("--config", type=Path, default=Path("config.yaml"))
    parser.add_argument("--runs", type=int, default=5, help="of every loop; 0: none")
    parser.add_argument("--sweep", action="store_true", help="the whole sweep's CPU cost, sampled")
    parser.add_argument("--out", type=Path, help="folder of the CSVs; default: results/benchmarks")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    config = yaml.safe_load(arguments.config.read_text())
    if arguments.child:
        print(json.dumps(CHILDREN[json.loads(arguments.child)["what"]](arguments, config)))
        return
    out = arguments.out or arguments.results / "benchmarks"
    if arguments.runs:
        peaks = in_child(arguments, {"what": "peaks"})
        speeds = measured_speeds(arguments, config)
        write_rows(speeds, out / "training_speed.csv")
        print_speeds(speeds, config, peaks)
    if arguments.sweep:
        processes = measured_processes(arguments, config)
        write_rows(processes, out / "training_processes.csv")
        print_sweep(processes, arguments.results, config)


# Tokens per second


def measured_speeds(arguments, config: Mapping) -> list[dict]:
    """One row per run, size and way, the ways taking turns."""
    rows = []
    for run, size in itertools.product(range(arguments.runs), config["models"]["sizes"]):
        for way, how in WAYS.items():
            spec = {"what": "speed", "size": size["name"], **how}
            row = {
                "size": size["name"],
                "way": way,
                "run": run,
                "load": round(os.getloadavg()[0], 2),
            }
            rows.append(row | in_child(arguments, spec))
            print(rows[-1], file=sys.stderr)
    return rows


def speed(arguments, config: Mapping) -> dict:
    """In a child: tokens, CPU and wall seconds of the timed steps, and all CPU seconds."""
    spec = json.loads(arguments.child)
    job = job_of(arguments.results, config, spec["size"], "pretraining")
    text = Text.open(**job.text)
    mixture = text.mixture(text.base, job.model.seed, "pretraining", job.model.context)
    clocks = []

    def tick() -> None:
        clocks.append((time.process_time(), time.perf_counter()))

    with tempfile.TemporaryDirectory() as folder:
        checkpoint = fresh_checkpoint(job, Path(folder) / "checkpoint")
        steps = WARM_UP + TIMED + 1
        task = Task(checkpoint, mixture, job.settings, steps, spec.get("activation", "gelu"))
        LOOPS[spec["loop"]](task, tick)
    (cpu_0, wall_0), (cpu_1, wall_1) = clocks[WARM_UP], clocks[-1]
    tokens = TIMED * job.settings.batch * job.model.context
    return {"tokens": tokens, "cpu_s": cpu_1 - cpu_0, "wall_s": wall_1 - wall_0}


def peaks(*_) -> dict:
    """In a child: this core's matmul rate (FLOP per CPU second), best of many, per library."""
    torch.set_num_threads(1)
    rates = {}
    for name, precision, dtype in (
        ("MKL float32", "none", torch.float32),
        ("oneDNN float32", "bf16", torch.float32),
        ("oneDNN bfloat16", "none", torch.bfloat16),
    ):
        torch.backends.mkldnn.matmul.fp32_precision = precision
        left, right = (torch.randn(1024, 1024).to(dtype) for _ in range(2))
        seconds = []
        for _ in range(40):
            begin = time.process_time()
            left @ right
            seconds.append(time.process_time() - begin)
        rates[name] = 2 * 1024**3 / min(seconds)
    return rates


def print_speeds(rows: list[dict], config: Mapping, peaks: Mapping) -> None:
    denominator = max(peaks["MKL float32"], peaks["oneDNN float32"])
    print("\n| size | " + " | ".join(WAYS) + " | ours / Trainer | ours / plain | of peak |")
    print("|---" * (len(WAYS) + 4) + "|")
    for size in (size["name"] for size in config["models"]["sizes"]):
        rate = {
            way: median(
                row["tokens"] / row["cpu_s"]
                for row in rows
                if (row["size"], row["way"]) == (size, way)
            )
            for way in WAYS
        }
        n_params = n_params_of(config, size)
        cells = [f"{rate[way] / 1e3:.0f}" for way in WAYS]
        cells += [f"{rate['ours'] / rate[way]:.2f}" for way in ("Trainer", "plain loop")]
        cells += [f"{training_flops(n_params, rate['ours']) / denominator:.0%}"]
        print(f"| {size} | " + " | ".join(cells) + " |")
    runs = 1 + max(row["run"] for row in rows)
    load = median(row["load"] for row in rows)
    told = ", ".join(f"{name} {rate / 1e9:.0f}" for name, rate in peaks.items())
    print(f"Thousand tokens per CPU second, medians of {runs} interleaved runs; load {load:.1f}.")
    print(f"Peak of one core, GFLOP/s: {told}; the last column is 6 N D over the best float32.")


# The whole sweep, one process per cell


def measured_processes(arguments, config: Mapping) -> list[dict]:
    """Tokens and CPU seconds of sampled processes, imports and evaluation included.

    Theirs trains one cell with Trainer, ours adapts one checkpoint at every ratio; a pre-training
    run from scratch is among both. Without a PTPP a process pre-trains.
    """
    stages, sweep = config["pretraining"]["ptpp"], config["adaptation"]
    rows = []
    for size in (size["name"] for size in config["models"]["sizes"]):
        scratch = {"ptpp": None, "replay": [0.0], "atpp": [stages[0]]}
        theirs = [
            {"ptpp": stages[k % len(stages)], "replay": [sweep["replay"][-1 - k]], "atpp": [atpp]}
            for k, atpp in enumerate(SAMPLED_ATPP)
        ]
        ratios = [*sweep["replay"], *sweep["controls"]]
        whole = {"ptpp": stages[0], "replay": ratios, "atpp": sweep["atpp"]}
        sample = [("cell", one) for one in (scratch, *theirs)]
        sample += [("job", one) for one in (scratch, whole)]
        for what, one in sample:
            spec = {"what": what, "size": size} | one
            before = cpu_of_children()
            measured = in_child(arguments, spec)
            rows.append(spec | measured | {"cpu_s": cpu_of_children() - before})
            print(rows[-1], file=sys.stderr)
    return rows


def cell(arguments, config: Mapping) -> dict:
    """In a child: one run with Trainer on its own schedule, then evaluation of every domain."""
    spec = json.loads(arguments.child)
    section = "pretraining" if spec["ptpp"] is None else "adaptation"
    job = job_of(arguments.results, config, spec["size"], section)
    text, settings, context = Text.open(**job.text), job.settings, job.model.context
    shares = text.base
    if spec["ptpp"] is not None:
        shares = adaptation_shares(text.target, text.base, spec["replay"][0])
    steps = max(1, round(spec["atpp"][0] * job.n_params / context / settings.batch))
    mixture = text.mixture(shares, job.model.seed, section, context)
    losses = {}

    def evaluate(model: torch.nn.Module) -> None:
        losses.update(held_out_losses(Trained(model.eval(), job), text.evaluation(context)))

    with tempfile.TemporaryDirectory() as folder:
        if spec["ptpp"] is None:
            checkpoint = fresh_checkpoint(job, Path(folder) / "checkpoint")
        else:
            checkpoint = checkpoint_of(arguments.results, spec["size"], spec["ptpp"])
        LOOPS["trainer"](Task(checkpoint, mixture, settings, steps), after=evaluate)
    return {"tokens": steps * settings.batch * context, "loss": losses[text.target]}


class Trained:
    """A transformers model as what `held_out_losses` asks for."""

    def __init__(self, model: torch.nn.Module, job: OptimisedJob):
        self.model, self.group, self.device = model, ALONE, torch.device("cpu")
        self.context, self.vocab_size = job.shape.context, job.shape.vocab_size

    @torch.no_grad()
    def loss(self, tokens: torch.Tensor) -> float:
        logits = self.model(input_ids=tokens[:, :-1]).logits
        targets = tokens[:, 1:].flatten()
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets).item()


def job(arguments, config: Mapping) -> dict:
    """In a child: one job as the workflow runs it, with the configured schedule."""
    spec = json.loads(arguments.child)
    prepare(threads=1)
    section = "pretraining" if spec["ptpp"] is None else "adaptation"
    schedule = config[section]["schedule"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        record = job_of(arguments.results, config, spec["size"], section, schedule, folder, spec)
        if spec["ptpp"] is None:
            pretrain(record)
            cost, rows = record.cost, record.zero_shot
        else:
            adapt(record)
            cost, rows = record.costs, record.observations
        target = config["corpora"]["target"]
        loss = [row["loss"] for row in read_rows(rows) if row["domain"] == target][-1]
        return {"tokens": sum(int(row["tokens"]) for row in read_rows(cost)), "loss": float(loss)}


def print_sweep(rows: list[dict], results: Path, config: Mapping) -> None:
    """Scale both samples to the whole sweep: so much a process and so much a token."""
    stages, sweep = config["pretraining"]["ptpp"], config["adaptation"]
    ratios = [*sweep["replay"], *sweep["controls"]]
    budgets = [*stages, *(sweep["atpp"] * (len(stages) * len(ratios)))]
    costs = read_rows(results / "costs.csv")
    totals = {"cell": 0.0, "job": 0.0}
    print("\n| size | by | processes | million tokens | s a process | s a million | CPU s |")
    print("|---" * 7 + "|")
    for size in config["models"]["sizes"]:
        seeds = len(size["seeds"])
        n_params = n_params_of(config, size["name"])
        ours = sum(int(row["tokens"]) for row in costs if row["size"] == size["name"])
        for what, processes, tokens in (
            ("cell", seeds * len(budgets), seeds * n_params * sum(budgets)),
            ("job", seeds * 2 * len(stages), ours),
        ):
            sample = [row for row in rows if (row["size"], row["what"]) == (size["name"], what)]
            slope, fixed = np.polyfit(
                [row["tokens"] for row in sample], [row["cpu_s"] for row in sample], 1
            )
            seconds = fixed * processes + slope * tokens
            totals[what] += seconds
            name = {"cell": "Trainer, a process per cell", "job": "ours"}[what]
            print(f"| {size['name']} | {name} | {processes} | {tokens / 1e6:.1f} | ", end="")
            print(f"{fixed:.1f} | {slope * 1e6:.2f} | {seconds:.0f} |")
    theirs, ours = totals["cell"], totals["job"]
    print(
        f"CPU s of the sweep, scaled from {len(rows)} sampled processes: Trainer {theirs:.0f}, ",
        end="",
    )
    print(f"ours {ours:.0f}, ratio {theirs / ours:.1f}.")
    # Snakemake last looks at CPU time up to 30 s before a job ends, so its column is too small; the
    # wall clock of a job with one thread is never less than its CPU time.
    jobs = [
        row
        for rule in ("pretrain", "adapt")
        for path in sorted((results / "benchmarks" / rule).glob("*.tsv"))
        for row in read_rows(path, delimiter="\t")
    ]
    seen, wall = (sum(float(row[key]) for row in jobs) for key in ("cpu_time", "s"))
    print(
        f"Snakemake's own account of the {len(jobs)} jobs: between {seen:.0f} and {wall:.0f} CPU s."
    )


# Shared


def in_child(arguments, spec: Mapping) -> dict:
    """The result of CHILDREN[spec["what"]] in a fresh process on one thread."""
    command = [sys.executable, __file__, str(arguments.results), "--config", str(arguments.config)]
    done = subprocess.run(
        [*command, "--child", json.dumps(spec)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{spec}: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def job_of(
    results: Path,
    config: Mapping,
    name: str,
    section: str,
    schedule: str = "independent",
    folder: Path = Path("unused"),
    spec: Mapping = {"ptpp": None, "replay": [0.0], "atpp": [1]},
) -> OptimisedJob:
    """The job of a size's first seed in `section`, which writes to `folder`."""
    size = next(size for size in config["models"]["sizes"] if size["name"] == name)
    base_width = config["pretraining"]["base_width"]
    optimiser = config[section] | {"schedule": schedule, "base_width": base_width}
    if section == "adaptation":
        rate = config["pretraining"]["learning_rate"] * config[section]["rewarm"]
        optimiser["learning_rate"] = rate
    corpora = config["corpora"]
    languages = [*corpora["base"], corpora["target"]]
    shared = {
        "model": {
            "name": name,
            "size": name,
            "seed": size["seeds"][0],
            "context": config["models"]["context"],
            "vocab_size": config["tokenizer"]["vocab_size"],
            "count": config["models"]["count"],
            "device": "cpu",
            **{key: size[key] for key in ("batch_tokens", "width", "depth", "heads")},
        },
        "text": {
            split: [results / "tokens" / f"{language}.{split}.bin" for language in languages]
            for split in ("train", "valid")
        }
        | {key: corpora[key] for key in ("target", "base", "evaluation_tokens")},
        "optimiser": optimiser,
        "state": folder / "state",
        "finished": folder / "finished",
    }
    if spec["ptpp"] is None:
        names = ("checkpoint", "trunk", "zero_shot", "curve", "cost")
        written = {each: folder / each for each in names}
        return PretrainJob(
            **shared, **written, ptpp=spec["atpp"][0], tokenizer=folder, previous_trunk=None
        )
    return AdaptJob(
        **shared,
        ptpp=spec["ptpp"],
        replays=spec["replay"],
        atpp=spec["atpp"],
        checkpoint=checkpoint_of(results, name, spec["ptpp"]),
        zero_shot=results / "runs" / f"{name}.ptpp{spec['ptpp']:g}.zero_shot.csv",
        observations=folder / "observations",
        costs=folder / "costs",
    )


def n_params_of(config: Mapping, name: str) -> int:
    return job_of(Path(), config, name, "pretraining").n_params


def checkpoint_of(results: Path, name: str, ptpp: float) -> Path:
    return results / "checkpoints" / name / f"ptpp{ptpp:g}"


def fresh_checkpoint(job: OptimisedJob, directory: Path) -> Path:
    weights = Weights(job.shape)
    initialise(weights, job.model.seed)
    save_checkpoint(job.shape, weights.parameters, directory, directory)
    return directory


def read_rows(path: Path, delimiter: str = ",") -> list[dict]:
    with open(path, newline="") as stream:
        return list(csv.DictReader(stream, delimiter=delimiter))


CHILDREN = {"speed": speed, "peaks": peaks, "cell": cell, "job": job}

if __name__ == "__main__":
    main()
