"""`ptpp report`: everything that the workflow makes from a finished table of losses."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import click

from ptpp.cli.options import COUNT, Result, Source, table_options
from ptpp.errors import InputError


@click.command()
@table_options
@click.option("--name", help="Results go to results/NAME (the name of the table's file).")
@click.option("--workflow", metavar="DIR", help="A checkout of the repository (this folder).")
@click.option("--cores", type=COUNT, default=2, show_default=True, help="Jobs at a time.")
@click.option("--dry-run", "-n", is_flag=True, help="Write the overlay and say what would run.")
@click.argument("snakemake", nargs=-1)
def report(
    source: Source,
    name: str | None,
    workflow: str | None,
    cores: int,
    dry_run: bool,
    snakemake: tuple[str, ...],
) -> Result:
    """All tables, figures and plans of a table, as a report.

    Finds stages, domains and ranges in the table, writes them as an overlay to
    results/NAME/NAME.yaml and runs the workflow with it. The overlay can be edited and run again by
    snakemake. Rules, files and options of SNAKEMAKE, after --, make a part.
    """
    import yaml

    from ptpp.cli.overlay import make_overlay, name_scale, write_overlay
    from ptpp.laws.from_table import only_domain

    folder = _find_workflow(workflow)
    if importlib.util.find_spec("snakemake") is None:
        raise InputError("report: snakemake is not installed: pip install 'ptpp[workflow]'")
    name = name_scale(name or source.path)
    table = source.read()
    target = source.target or only_domain(table)
    defaults = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    overlay = make_overlay(table, target, name, defaults)
    path = Path(source.path).resolve()
    overlay["observations"] = str(path.relative_to(folder) if path.is_relative_to(folder) else path)
    overlay |= {"columns": source.rename} if source.rename else {}
    overlay |= {"where": source.where} if source.where is not None else {}
    place = folder / "results" / name / f"{name}.yaml"
    write_overlay(overlay, place, f"ptpp report {path.name} --target {target}")
    base = ", ".join(d for d, share in overlay["corpora"]["base"].items() if share)
    held_out = overlay["held_out"]
    click.echo(
        f"target {target}, base {base}, held out PTPP {held_out['ptpp']:g}, "
        f"{held_out.get('anchors', {}).get('count', 0)} anchors: {place}"
    )
    command = ["--cores", str(cores), *snakemake, "--configfile", str(place.relative_to(folder))]
    words = f"in {folder}: snakemake {' '.join(command)}"
    run = [sys.executable, "-m", "snakemake", *command, *(["--dry-run"] if dry_run else [])]
    if subprocess.run(run, cwd=folder, check=False).returncode:
        raise InputError(f"the workflow failed; the same command goes on, or {words}")
    if dry_run:
        return Result([f"to make it without --dry-run: {words}"])
    return Result([f"written: {folder / 'results' / name}" + ("/report.html" * (not snakemake))])


def _find_workflow(folder: str | None) -> Path:
    """The checkout with the workflow: `folder`, or the current folder or one above it.

    Raises InputError where there is none: the workflow is no part of an installed package.
    """
    for place in [Path(folder)] if folder else [Path.cwd(), *Path.cwd().parents]:
        if all((place / name).exists() for name in ("Snakefile", "config.yaml", "rules")):
            return place.resolve()
    raise InputError(
        f"{folder or Path.cwd()}: no workflow here (Snakefile, config.yaml and rules/); a report "
        "needs a checkout of the repository: run this inside one, or name it by --workflow"
    )
