"""The cost of an experiment, from its configuration: tokens, FLOPs, time, disk, jobs."""

import math
import re
from collections.abc import Iterator, Mapping

import pandas as pd

from ptpp.cost.devices import Device, device_of
from ptpp.errors import InputError
from ptpp.models.memory import (
    CAPACITY,
    STACKED,
    activation_bytes,
    run_bytes,
    runs_that_fit,
    training_bytes,
)
from ptpp.models.sizes import ExternalSize, Shape, shape_of, training_flops
from ptpp.report.tables import round_value, to_text
from ptpp.training.schedule import Milestone, Settings, sequences_trained

CHECKPOINT_BYTES = 4  # per parameter: float32 weights
TRUNK_BYTES = 12  # per parameter: weights and AdamW's two moments
_HOURS = {"m": 1 / 60, "h": 1.0, "d": 24.0}
_SUMS = ("jobs", "runs", "tokens", "unshared_tokens", "flops", "device_hours", "disk_gb")


def cost_estimate(config: Mapping) -> pd.DataFrame:
    """A row per kind of run, stage and size (all seeds), sums by kind, and the total last.

    `config` is a checked configuration. Columns: what, ptpp, size; n_params; jobs, runs; tokens;
    unshared_tokens, if every stage, or every ATPP, were a separate run; saved, the share of them
    that shared trunks spare; flops, 6 N D as in `costs.csv`; device_hours, hours of one device by
    `ptpp.cost.devices`, evaluation included, starts of processes not; devices, of one job;
    memory_gb (1e9 bytes) of each, counted by `ptpp.models.memory` with micro_batch_tokens at
    once, or a sequence where that is chosen, or whole steps of the replay ratios that are trained
    at once (whose hours are counted one after another), NaN where the device's memory is not known;
    longest_job_hours, by the clock, n devices taken to be n times as fast as one; starts, how many
    that job needs under its size's time limit, NaN where none is declared; disk_gb, what stays.
    External checkpoints are stages without training, their N is the declared
    one. Raises InputError when the configuration trains nothing.
    """
    if config["observations"] is not None:
        raise InputError("observations: this is a finished table, so nothing is trained")
    device = device_of(config["cost"])
    stages = config["pretraining"]["ptpp"]
    trained = [line for size in config["models"]["sizes"] for line in _lines(size, config, device)]
    rows = parts = [_text(config)]
    for what in ("pre-training", "adoption", "adaptation"):
        kind = [line for line in trained if line["what"] == what]
        if kind:
            parts = [*parts, *kind]
            ordered = sorted(kind, key=lambda line: stages.index(line["ptpp"]))
            rows = [*rows, *ordered, _sum(what, kind)]
    table = pd.DataFrame([*rows, _sum("all", parts)])
    table["ptpp"] = [name if isinstance(name, str) else f"{name:g}" for name in table["ptpp"]]
    table = table.astype(
        {"n_params": "Int64", "devices": "Int64", "memory_gb": float, "starts": float}
    )
    unshared = table["unshared_tokens"].where(table["unshared_tokens"] > 0)
    place = table.columns.get_loc("unshared_tokens") + 1
    table.insert(place, "saved", 1 - table["tokens"] / unshared)
    return table


def estimate_text(table: pd.DataFrame, section: Mapping) -> str:
    """The text of `snakemake cost`: the table of `cost_estimate`, the device, the saving.

    `section` is the config's `cost`.
    """
    device, hours = device_of(section), round_value(table["device_hours"].iloc[-1])
    trains = table[table["devices"].notna()]
    longest = trains.loc[trains["longest_job_hours"].idxmax()]
    unit = "core" if "core" in section["device"] else "GPU"
    several = "" if longest.devices == 1 else f" on {longest.devices} devices at once"
    if table["memory_gb"].isna().all():
        table = table.drop(columns="memory_gb")
    evenly = "Several devices are taken to be as many times as fast as one.\n"
    evenly = evenly if (trains["devices"] > 1).any() else ""
    way = "to" if longest["what"] == "pre-training" else "from"
    waits = (table["what"] == "pre-training").any()
    waits = "; a model's stages wait for each other" if waits else ""
    saved = 100 * table[table["size"] == "all"].set_index("what")["saved"]
    spared = f"{saved['adaptation']:.0f} % of the tokens of adaptation (against a run per ATPP)"
    if "pre-training" in saved:
        spared = (
            f"{saved['pre-training']:.0f} % of the tokens of pre-training (against a run per stage)"
            f"\nand {saved['adaptation']:.0f} % of those of adaptation (against a run per ATPP)"
        )
    return f"""\
{to_text(table.drop(columns=["unshared_tokens", "starts"]).astype({"tokens": float}))}
Device {section["device"]}: {device.peak:.4g} FLOP/s x {device.utilisation:g}, and \
{device.seconds_per_token:g} s a token ({device.source}).
In all {hours} {unit}-hours. \
The longest job, {longest["what"]} of {longest["size"]} {way} PTPP {longest["ptpp"]}, takes
{round_value(longest.longest_job_hours)} hours{several}{waits}.
{_limit_text(table)}{evenly}{_memory_text(table, section["device"])}Shared trunks spare {spared}.
Jobs train or prepare text; hours leave out text, fits, carrying out the plan, and the start of
processes.
"""


def _limit_text(table: pd.DataFrame) -> str:
    """Which jobs outlast their time limit; nothing where none does."""
    starts = table.groupby("size", sort=False)["starts"].max()
    starts = starts[starts > 1]
    if starts.empty:
        return ""
    sizes = ", ".join(f"{size} needs {count:.0f} starts" for size, count in starts.items())
    retries = f"--retries {starts.max() - 1:.0f}"
    return (
        f"Jobs outlast their time limit (resources.runtime): {sizes}.\n"
        f"Each goes on where the last was stopped: submit with {retries} or more.\n"
    )


def _starts(hours: float, limit: float | str | None) -> float:
    """How often a job of so many hours is started under a time limit of `resources.runtime`.

    Minutes grow with every attempt, texts (`23h`) do not. NaN where there is none that we can read.
    """
    if isinstance(limit, int | float):  # the sum of the first k limits, k (k + 1) / 2 of one
        return max(1, math.ceil((math.sqrt(1 + 8 * 60 * hours / limit) - 1) / 2))
    parts = re.fullmatch(r"([\d.]+)\s*([mhd])\w*", limit or "")
    if parts is None:
        return math.nan
    return max(1, math.ceil(hours / (float(parts[1]) * _HOURS[parts[2]])))


def _memory_text(table: pd.DataFrame, device: str) -> str:
    """Whether every size fits the device; nothing where that is not known."""
    if "memory_gb" not in table:
        return ""
    capacity = CAPACITY[device] / 1e9
    memory = table.groupby("size", sort=False)["memory_gb"].max().dropna()
    over = [f"{size} needs {round_value(gb)}" for size, gb in memory.items() if gb > capacity]
    if not over:
        return f"Every size fits the {capacity:g} GB of its devices, as counted.\n"
    return (
        f"Of the {capacity:g} GB of a device {', '.join(over)}: "
        "raise devices, or lower micro_batch_tokens or models.context.\n"
    )


def _text(config: Mapping) -> dict:
    """Tokenizer and token stores: two bytes a token as long as the vocabulary allows it."""
    languages = config["corpora"]["languages"]
    width = 2 if config["tokenizer"]["vocab_size"] <= 1 << 16 else 4
    tokens = sum(language["train_tokens"] + language["valid_tokens"] for language in languages)
    sums = dict.fromkeys(_SUMS, 0) | {"jobs": 1 + 2 * len(languages), "flops": 0.0}
    return _row("text", "", "", sums | {"device_hours": 0.0, "disk_gb": tokens * width / 1e9}, 0.0)


def _lines(size: Mapping, config: Mapping, device: Device) -> Iterator[dict]:
    """A line for each stage of one size and for its adaptation.

    A stage continues the trunk of the stage before it, as `pretrain` does; an external checkpoint
    is measured, and linked or copied. Every stage is adapted at every replay ratio, all ATPP off
    one trajectory.
    """
    context, vocab_size = config["models"]["context"], config["tokenizer"]["vocab_size"]
    corpora, section = config["corpora"], config["adaptation"]
    external = {checkpoint["ptpp"] for checkpoint in size.get("checkpoints", [])}
    if external:
        shape = ExternalSize(size["n_params"], size["n_params"], context, vocab_size)
    else:
        shape = shape_of(size, context, vocab_size)
    count = shape.count(config["models"]["count"])
    memory = None
    if config["cost"]["device"] in CAPACITY:
        token = activation_bytes(shape.n_params, *(size.get(key) for key in ("width", "depth")))
        at_once = size.get("micro_batch_tokens") or context
        shared = size.get("devices", 1), size.get("nodes", 1)
        memory = training_bytes(shape.n_params, at_once, token, *shared) / 1e9
    # Tokens of one measurement: whole blocks of every domain.
    evaluated = len(corpora["languages"]) * (corpora["evaluation_tokens"] // context) * context
    rates = {key: config["pretraining"][key] for key in ("learning_rate", "base_width")}

    def milestones(section: Mapping, stages) -> list[Milestone]:
        # Rates do not matter here, and adaptation takes its own from pre-training.
        settings = Settings.of({**section, **rates}, size["batch_tokens"], count, context)
        return [Milestone.at(stage, count, context, settings) for stage in stages]

    def line(what, ptpp, sequences, unshared, stays, runs=1, per_job=1, measurements=1) -> dict:
        seeds, tokens = len(size["seeds"]), sequences * context
        devices = size.get("nodes", 1) * size.get("devices", 1)
        hours = device.seconds(shape, tokens, measurements * evaluated) / 3600
        sums = {
            "jobs": seeds * math.ceil(runs / per_job),
            "runs": seeds * runs,
            "tokens": seeds * runs * tokens,
            "unshared_tokens": seeds * runs * unshared * context,
            "flops": seeds * runs * training_flops(count, tokens),
            "device_hours": seeds * runs * hours,
            "disk_gb": seeds * stays / 1e9,
        }
        longest, limit = per_job * hours / devices, size.get("resources", {}).get("runtime")
        if isinstance(limit, Mapping):  # by rule
            limit = limit.get("pretrain" if what == "pre-training" else "adapt")
        held = (count, devices, memory, _starts(longest, limit))
        return _row(what, ptpp, size["name"], sums, longest, *held)

    stages = [p for p in config["pretraining"]["ptpp"] if not external or p in external]
    if external:
        for ptpp in stages:
            yield line("adoption", ptpp, 0, 0, CHECKPOINT_BYTES * shape.n_params)
    else:
        start, stays = 0, (CHECKPOINT_BYTES + TRUNK_BYTES) * shape.n_params
        for ptpp, one in zip(stages, milestones(config["pretraining"], stages), strict=True):
            yield line("pre-training", ptpp, sequences_trained([one], start), one.end, stays)
            start = max(one.branch, start)
    budgets = milestones(section, section["atpp"])
    runs = len(section["replay"]) + len(section["controls"])
    together = {"runs": runs, "per_job": min(config["replays_per_job"] or runs, runs)}
    if memory is not None:
        memory = max(memory, _stack_bytes(shape, size, config, together["per_job"]) / 1e9)
    for ptpp in stages:
        unshared = sum(one.end for one in budgets)
        sequences = sequences_trained(budgets)
        yield line(
            "adaptation", ptpp, sequences, unshared, 0, **together, measurements=len(budgets)
        )


def _stack_bytes(
    shape: Shape | ExternalSize, size: Mapping, config: Mapping, per_job: int
) -> float:
    """What the replay ratios of a job need that a GPU trains at once; 0 where it trains one.

    The conditions of `ptpp.models.stack.stack_size`, on a GPU that is free.
    """
    is_alone = size.get("devices", 1) * size.get("nodes", 1) == 1
    if not isinstance(shape, Shape) or shape.n_params > STACKED or not is_alone:
        return 0.0
    if size.get("micro_batch_tokens"):
        return 0.0
    token = activation_bytes(shape.n_params, shape.width, shape.depth)
    tokens = size["batch_tokens"] // shape.context * shape.context
    each = run_bytes(shape.n_params, tokens, token, shape.vocab_size)
    at_once = runs_that_fit(CAPACITY[config["cost"]["device"]], each, per_job)
    return at_once * each if at_once > 1 else 0.0


def _sum(what: str, lines: list[dict]) -> dict:
    sums = {key: sum(line[key] for line in lines) for key in _SUMS}
    return _row(what, "all", "all", sums, max(line["longest_job_hours"] for line in lines))


def _row(
    what: str,
    ptpp: str | float,
    size: str,
    sums: Mapping,
    longest: float,
    count: int | None = None,
    devices: int | None = None,
    memory: float | None = None,
    starts: float | None = None,
) -> dict:
    hours = {"device_hours": sums["device_hours"], "devices": devices, "memory_gb": memory}
    hours |= {"longest_job_hours": longest, "starts": starts}
    labels = {"what": what, "ptpp": ptpp, "size": size, "n_params": count}
    return labels | {key: sums[key] for key in _SUMS[:5]} | hours | {"disk_gb": sums["disk_gb"]}
