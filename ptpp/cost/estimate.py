"""The cost of an experiment, from its configuration: tokens, FLOPs, time, disk, jobs."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import pandas as pd

from ptpp.cost.devices import Device, device_of
from ptpp.errors import InputError
from ptpp.models.sizes import Given, Shape, shape_of, training_flops
from ptpp.report.tables import round_value, to_text
from ptpp.training.schedule import Milestone, Settings, sequences_trained

CHECKPOINT_BYTES = 4  # per parameter: float32 weights
TRUNK_BYTES = 12  # per parameter: weights and AdamW's two moments


@dataclass(frozen=True)
class Line:
    """One line of the table: a stage at one size, all its seeds, or a sum of such lines."""

    what: str
    ptpp: str
    size: str
    n_params: int | None
    jobs: int
    runs: int
    tokens: int
    unshared_tokens: int  # if every stage, or every ATPP, were a separate run
    flops: float
    device_hours: float
    devices: int | None  # that one job trains on
    longest_job_hours: float
    disk_gb: float


def cost_estimate(config: Mapping) -> pd.DataFrame:
    """A row per kind of run, stage and size, sums by kind, and the total last.

    `config` is a checked configuration. Returns the columns of `Line` and saved, the share of
    unshared_tokens that shared trunks spare. flops are 6 N D as in `costs.csv`; device_hours are
    hours of one device by `ptpp.cost.devices`, evaluation included, starts of processes not;
    longest_job_hours are by the clock, n devices taken to be n times as fast as one; disk_gb (1e9
    bytes) is what stays. External checkpoints are stages without training, their N is the declared
    one. Raises InputError when the configuration trains nothing.
    """
    if config["observations"] is not None:
        raise InputError("observations: this is a finished table, so nothing is trained")
    device = device_of(config["cost"])
    shapes = [_shape(size, config) for size in config["models"]["sizes"]]
    sizes = list(zip(config["models"]["sizes"], shapes, strict=True))
    trained = [one for one in sizes if not _is_external(one[0])]
    external = [one for one in sizes if _is_external(one[0])]
    pretraining = [line for one in trained for line in _pretraining(*one, config, device)]
    adoption = [line for one in external for line in _adoption(*one, config, device)]
    adaptation = [line for one in sizes for line in _adaptation(*one, config, device)]
    text = _text(config)
    lines = [
        text,
        *(part for ptpp in _names(config) for part in pretraining if part.ptpp == ptpp),
        *([_sum("pre-training", pretraining)] if pretraining else []),
        *(part for ptpp in _names(config) for part in adoption if part.ptpp == ptpp),
        *([_sum("adoption", adoption)] if adoption else []),
        *(part for ptpp in _names(config) for part in adaptation if part.ptpp == ptpp),
        _sum("adaptation", adaptation),
        _sum("all", [text, *pretraining, *adoption, *adaptation]),
    ]
    table = pd.DataFrame([asdict(line) for line in lines])
    table = table.astype({"n_params": "Int64", "devices": "Int64"})
    place = table.columns.get_loc("unshared_tokens") + 1
    unshared = table["unshared_tokens"].where(table["unshared_tokens"] > 0)
    table.insert(place, "saved", 1 - table["tokens"] / unshared)
    return table


def estimate_text(table: pd.DataFrame, section: Mapping) -> str:
    """The text of `snakemake cost`: the table of `cost_estimate`, the device, the saving.

    `section` is the config's `cost`.
    """
    device, total = device_of(section), table.iloc[-1]
    trains = table[table["devices"].notna()]
    longest = trains.loc[trains["longest_job_hours"].idxmax()]
    unit = "core" if "core" in section["device"] else "GPU"
    several = "" if longest.devices == 1 else f" on {longest.devices} devices at once"
    evenly = "Several devices are taken to be as many times as fast as one.\n"
    way = "to" if longest["what"] == "pre-training" else "from"
    saved = 100 * table[table["size"] == "all"].set_index("what")["saved"]
    return (
        to_text(table.drop(columns="unshared_tokens").astype({"tokens": float}))
        + f"\nDevice {section['device']}: {device.peak:.4g} FLOP/s x {device.utilisation:g}, and "
        f"{device.seconds_per_token:g} s a token ({device.source}).\n"
        f"In all {round_value(total.device_hours)} {unit}-hours. "
        f"The longest job, {longest['what']} of {longest['size']} {way} PTPP {longest['ptpp']}, "
        f"takes\n"
        f"{round_value(longest.longest_job_hours)} hours{several}; "
        "a model's stages wait for each other.\n"
        + evenly
        * bool((trains["devices"] > 1).any())
        + f"Shared trunks spare {_describe_saving(saved)}.\n"
        "Jobs train or prepare text; hours leave out text, fits and the start of processes.\n"
    )


def _describe_saving(saved: pd.Series) -> str:
    adapted = f"{saved['adaptation']:.0f} % of"
    if "pre-training" not in saved:
        return f"{adapted} the tokens of adaptation (against a run per ATPP)"
    return (
        f"{saved['pre-training']:.0f} % of the tokens of pre-training (against a run per stage)\n"
        f"and {adapted} those of adaptation (against a run per ATPP)"
    )


def _shape(size: Mapping, config: Mapping) -> Shape | Given:
    context, vocab_size = config["models"]["context"], config["tokenizer"]["vocab_size"]
    if _is_external(size):
        return Given(size["n_params"], size["n_params"], context, vocab_size)
    return shape_of(size, context, vocab_size)


def _is_external(size: Mapping) -> bool:
    return "checkpoints" in size


def _stages(size: Mapping, config: Mapping) -> list[float]:
    """Stages that a size has, as `Config.stages`."""
    own = {checkpoint["ptpp"] for checkpoint in size.get("checkpoints", [])}
    return [p for p in config["pretraining"]["ptpp"] if not _is_external(size) or p in own]


def _names(config: Mapping) -> list[str]:
    return [f"{ptpp:g}" for ptpp in config["pretraining"]["ptpp"]]


def _text(config: Mapping) -> Line:
    """Tokenizer and token stores: two bytes a token as long as the vocabulary allows it."""
    languages = config["corpora"]["languages"]
    width = 2 if config["tokenizer"]["vocab_size"] <= 1 << 16 else 4
    tokens = sum(language["train_tokens"] + language["valid_tokens"] for language in languages)
    jobs = 1 + 2 * len(languages)
    return Line("text", "", "", None, jobs, 0, 0, 0, 0.0, 0.0, None, 0.0, tokens * width / 1e9)


def _adoption(size: Mapping, shape: Given, config: Mapping, device: Device) -> list[Line]:
    """External checkpoints are measured, and linked or copied."""
    return [
        _line(
            *("adoption", ptpp, size, shape.n_params, shape, device),
            runs=1,
            runs_per_job=1,
            sequences=0,
            unshared=0,
            evaluated=_evaluated(config, shape.context),
            stays=CHECKPOINT_BYTES * shape.n_params,
        )
        for ptpp in _stages(size, config)
    ]


def _pretraining(size: Mapping, shape: Shape, config: Mapping, device: Device) -> list[Line]:
    """Each stage continues the trunk of the stage before it, as `pretrain_stage` does."""
    count = shape.count(config["models"]["count"])
    settings = _settings(config["pretraining"], config, size, count, shape.context)
    start, lines = 0, []
    for ptpp in config["pretraining"]["ptpp"]:
        milestone = Milestone.at(ptpp, count, shape.context, settings)
        line = _line(
            *("pre-training", ptpp, size, count, shape, device),
            runs=1,
            runs_per_job=1,
            sequences=sequences_trained([milestone], start),
            unshared=milestone.end,
            evaluated=_evaluated(config, shape.context),
            stays=(CHECKPOINT_BYTES + TRUNK_BYTES) * shape.n_params,
        )
        lines.append(line)
        start = max(milestone.branch, start)
    return lines


def _adaptation(size: Mapping, shape: Shape | Given, config: Mapping, device: Device) -> list[Line]:
    """Every stage is adapted at every replay ratio, all ATPP off one trajectory."""
    section = config["adaptation"]
    count = shape.count(config["models"]["count"])
    settings = _settings(section, config, size, count, shape.context)
    milestones = [Milestone.at(atpp, count, shape.context, settings) for atpp in section["atpp"]]
    runs = len(section["replay"]) + len(section["controls"])
    return [
        _line(
            *("adaptation", ptpp, size, count, shape, device),
            runs=runs,
            runs_per_job=min(config["replays_per_job"] or runs, runs),
            sequences=sequences_trained(milestones),
            unshared=sum(milestone.end for milestone in milestones),
            evaluated=len(milestones) * _evaluated(config, shape.context),
            stays=0,  # losses alone
        )
        for ptpp in _stages(size, config)
    ]


def _settings(section: Mapping, config: Mapping, size: Mapping, count: int, context: int):
    """Rates do not matter here, and adaptation takes its own from pre-training."""
    rates = {key: config["pretraining"][key] for key in ("learning_rate", "base_width")}
    return Settings.of({**section, **rates}, size["batch_tokens"], count, context)


def _evaluated(config: Mapping, context: int) -> int:
    """Tokens of one measurement: whole blocks of every domain."""
    corpora = config["corpora"]
    return len(corpora["languages"]) * (corpora["evaluation_tokens"] // context) * context


def _line(
    what: str,
    ptpp: float,
    size: Mapping,
    count: int,
    shape: Shape | Given,
    device: Device,
    runs: int,
    runs_per_job: int,
    sequences: int,
    unshared: int,
    evaluated: int,
    stays: int,
) -> Line:
    """All seeds of one size at one stage; the last four of a single run, `stays` bytes."""
    seeds, tokens, devices = len(size["seeds"]), sequences * shape.context, size.get("devices", 1)
    hours = device.seconds(shape, tokens, evaluated) / 3600
    return Line(
        what,
        f"{ptpp:g}",
        size["name"],
        count,
        jobs=seeds * math.ceil(runs / runs_per_job),
        runs=seeds * runs,
        tokens=seeds * runs * tokens,
        unshared_tokens=seeds * runs * unshared * shape.context,
        flops=seeds * runs * training_flops(count, tokens),
        device_hours=seeds * runs * hours,
        devices=devices,
        longest_job_hours=runs_per_job * hours / devices,
        disk_gb=seeds * stays / 1e9,
    )


def _sum(what: str, lines: list[Line]) -> Line:
    def total(key):
        return sum(getattr(line, key) for line in lines)

    return Line(
        what,
        "all",
        "all",
        None,
        *(total(key) for key in ("jobs", "runs", "tokens", "unshared_tokens", "flops")),
        total("device_hours"),
        None,
        max(line.longest_job_hours for line in lines),
        total("disk_gb"),
    )
