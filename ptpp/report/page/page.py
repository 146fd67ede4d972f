"""The report's page: what a run left in its folder, gathered, and rendered by `page.html`."""

import base64
import platform
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
from docutils.core import publish_parts
from docutils.writers.html5_polyglot import Writer
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ptpp.errors import InputError
from ptpp.jobs.files import sha256
from ptpp.planning.applied import outcome_sentence
from ptpp.report.names import law_name, name_stages, short_number, size_names
from ptpp.report.page.contents import SECTIONS, Item, Section
from ptpp.report.page.findings import (
    Findings,
    Report,
    digits,
    find,
    percent,
    plan_sentences,
)
from ptpp.report.page.tables import Table, digits_of_noise, read_csv, read_errors, read_shown
from ptpp.table.anchors import cells_in
from ptpp.table.kinds import is_before, is_sweep, list_stages
from ptpp.table.observations import read_observations

PARTS = Path(__file__).parent
_MEASURED = ("sweep", "run")  # sections that need no law
_PLANNER = "plan/planner.html"
_APPLIED = "applied/comparison.csv"
_PLANNER_BYTES = 3_000_000  # of a planner that is embedded
_PIXELS, _SHOWN = 200, 125  # of a figure per inch, and those of the page that show them
_PACKAGES = ("numpy", "scipy", "pandas", "matplotlib", "torch", "snakemake", "ptpp")
# A caption may show text of a table, and must not read files or write raw HTML.
_CAPTIONS = {"halt_level": 3, "report_level": 3, "raw_enabled": False, "doctitle_xform": False}
_CAPTIONS |= {"file_insertion_enabled": False, "initial_header_level": 3}
# The pane of Snakemake's report centres what it shows: a text longer than the window begins above
# the visible area.
_PANE = """<style>
.items-center.justify-center.h-screen { align-items: safe center; justify-content: safe center; }
</style>
"""


@dataclass(frozen=True)
class Shown:
    """An item as the page shows it: a `table`, or a figure by its data address and size."""

    item: Item
    caption: Markup
    table: Table | None = None
    image: str = ""
    width: int = 0
    height: int = 0


@dataclass(frozen=True)
class Part:
    """A section with what the run has of it."""

    section: Section
    shown: tuple[Shown, ...]

    @property
    def title(self) -> str:
        return self.section.title if self.shown else self.section.bare or self.section.title


@dataclass(frozen=True)
class Run:
    """How the page is told what was run. `command`: makes the run again; `code`: a digest;
    `applied`: whether it carries the plan out.
    """

    config: Mapping
    law: str
    command: str
    code: str = ""
    applied: bool = False


def report_page(folder: Path, captions: Path, run: Run) -> Report:
    """The report of the run whose results stand in `folder`, with captions of that other folder.

    Files that a run does not leave are left out with their captions, and so are sections without
    any. Raises InputError where observations.csv is not a table of losses.
    """
    observations = read_observations(folder / "observations.csv")
    findings = _findings(folder, observations, run)
    tables = [read_csv(folder / "plan" / f"{name}.csv") for name in ("plan", "robust")]
    plan = None
    # A run that only measures shows nothing of laws that an earlier one has left in its folder.
    judged = run.config["held_out"]["ptpp"] is not None
    if judged and all(table is not None and len(table) for table in tables):
        plan = plan_sentences(*tables, run.law)
    outcome = read_csv(folder / _APPLIED) if judged and run.applied else None
    applied = outcome_sentence(outcome) if outcome is not None and len(outcome) else ""
    decimals = _loss_digits(observations, findings)
    measured = _measured(observations, run.config)
    told = {"finding": True, "sweep": measured, "plan": plan, "run": True}  # in words
    parts = []
    for section in SECTIONS:
        items = section.items if judged or section.name in _MEASURED else ()
        items = [item for item in items if applied or item.path != _APPLIED]
        shown = [_show(folder, captions, item, run.config, decimals) for item in items]
        part = Part(section, tuple(each for each in shown if each))
        if part.shown or told.get(section.name):
            parts.append(part)
    planner = folder / _PLANNER
    has_planner = judged and planner.exists()
    small = has_planner and planner.stat().st_size <= _PLANNER_BYTES
    environment = Environment(
        loader=FileSystemLoader(PARTS),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "digits": digits, "law": law_name}
    environment.filters |= {"plain": "{:g}".format, "stages": name_stages}
    html = environment.get_template("page.html").render(
        scale=run.config["scale"],
        target=run.config["corpora"]["target"],
        parts=parts,
        findings=findings,
        plan=plan,
        applied=applied,
        planner=_PLANNER if has_planner else "",
        planner_page=planner.read_text(encoding="utf-8") if small else "",
        measured=measured,
        facts=_facts(folder, run),
        command=run.command,
        style=Markup((PARTS / "page.css").read_text(encoding="utf-8")),
        script=Markup((PARTS / "page.js").read_text(encoding="utf-8")),
    )
    return Report(html, findings, plan, applied)


def make_reachable(page: str) -> str:
    """The HTML of Snakemake's report with a pane whose content begins within the window.

    Raises InputError where the text is no page.
    """
    head, end, rest = page.partition("</head>")
    if not end:
        raise InputError("provenance.html: no </head>; accepted is a report of Snakemake")
    return head + _PANE + end + rest


def render_caption(path: Path, config: Mapping) -> Markup:
    """A caption, Jinja in reStructuredText as Snakemake renders it, as HTML; empty without file."""
    if not path.exists():
        return Markup("")
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(path.read_text(encoding="utf-8"))
    text = template.render(snakemake=SimpleNamespace(config=config))
    return Markup(publish_parts(text, writer=Writer(), settings_overrides=_CAPTIONS)["body"])


def _findings(folder: Path, observations: pd.DataFrame, run: Run) -> Findings | None:
    scores = read_csv(folder / "tables" / "scores.csv")
    held_out = run.config["held_out"]["ptpp"]
    if scores is None or held_out is None:
        return None
    before = is_sweep(observations) & is_before(observations, held_out)
    early = list_stages(observations[before])
    anchors = read_csv(folder / "anchors.csv")
    count = 0 if anchors is None else len(set(cells_in(anchors)))
    target = run.config["corpora"]["target"]
    return find(scores, target, run.law, held_out, early, count)


def _loss_digits(observations: pd.DataFrame, findings: Findings | None) -> int:
    relative = findings.noise if findings else float("nan")
    return digits_of_noise(relative * float(observations["loss"].mean()))


def _show(folder: Path, captions: Path, item: Item, config: Mapping, decimals: int) -> Shown | None:
    path = folder / item.path
    if not path.exists():
        return None
    caption = render_caption(captions / f"{item.caption}.rst", config)
    if item.columns or item.errors:
        if item.errors:
            table = read_errors(folder, item.path, item.title)
        else:
            table = read_shown(folder, item.path, item.title, item.columns, decimals)
        return table and Shown(item, caption, table)
    data = path.read_bytes()
    width, height = struct.unpack(">II", data[16:24])  # the header of a PNG
    scale = _SHOWN / _PIXELS
    return Shown(
        item,
        caption,
        image=f"data:image/png;base64,{base64.b64encode(data).decode()}",
        width=round(width * scale),
        height=round(height * scale),
    )


def _measured(observations: pd.DataFrame, config: Mapping) -> str:
    """The sweep in one sentence."""
    sweep = observations[is_sweep(observations)]
    if sweep.empty:
        return ""
    numbers = sweep.groupby("size")["n_params"].first()
    sizes = ", ".join(short_number(float(numbers[size])) for size in size_names(sweep))
    stages = ", ".join(f"{stage:g}" for stage in list_stages(sweep))
    replays = ", ".join(f"{replay:g}" for replay in sorted(sweep["replay"].unique()))
    atpps = ", ".join(f"{atpp:g}" for atpp in sorted(sweep["atpp"].unique()))
    seeds, runs = sweep["seed"].nunique(), sweep["run"].nunique()
    source = config["observations"]
    made = f"The finished table {source}" if source else "This run"
    return (
        f"{made} has {runs} adaptation runs: models of {sizes} parameters, checkpoints at PTPP "
        f"{stages}, replay ratios {replays}, measured at {atpps} adaptation tokens per parameter "
        f"(ATPP), {seeds} {'seed' if seeds == 1 else 'seeds'}."
    )


def _facts(folder: Path, run: Run) -> list[tuple[str, str]]:
    """What has to be known to judge or to repeat the run: keys of the configuration, versions."""
    config = run.config
    laws, held_out = config["laws"], config["held_out"]
    facts = [("observations.csv, SHA-256", sha256(folder / "observations.csv"))]
    if config["observations"]:
        facts.append(("observations", str(config["observations"])))
    else:
        languages = config["corpora"]["languages"]
        facts.append(("corpora", ", ".join(f"{one['name']}: {one['source']}" for one in languages)))
        seeds = (
            f"{one['name']}: {', '.join(map(str, one.get('seeds', [])))}"
            for one in config["models"]["sizes"]
        )
        facts.append(("seeds by size", "; ".join(seeds)))
    corpora = config["corpora"]
    facts.append(("target, base", ", ".join([corpora["target"], *corpora["base"]])))
    if held_out["ptpp"] is not None:
        anchors = held_out["anchors"]
        facts += [
            ("held_out.ptpp", f"{held_out['ptpp']:g}"),
            ("held_out.anchors", f"{anchors['count']}, seed {anchors['seed']}"),
            ("laws.target", ", ".join(laws["target"])),
            (
                "laws",
                f"krige {str(laws['krige']).lower()}, starts {laws['starts']}, bootstrap "
                f"{laws['bootstrap']}, seed {laws['seed']}",
            ),
            ("plan.law", run.law),
            ("plan.confidence", f"{config['plan']['confidence']:g}"),
        ]
    costs = read_csv(folder / "costs.csv")
    if costs is not None and "device" in costs:
        facts.append(("devices", ", ".join(map(str, costs["device"].dropna().unique()))))
    versions = [f"Python {platform.python_version()}"]
    for name in _PACKAGES:
        try:
            versions.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    facts.append(("versions", ", ".join(versions)))
    return [*facts, *([("code digest", run.code)] if run.code else [])]
