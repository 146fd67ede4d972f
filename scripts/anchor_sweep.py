"""Fit every target law with more and more anchors, chosen in several ways."""

from pathlib import Path

from ptpp.jobs.job import run_job

with run_job(snakemake.log[0]):
    from ptpp.laws.anchoring import SweepRequest, anchor_sweep, plan_targets
    from ptpp.laws.fitting import FitSettings
    from ptpp.report.tables import write_table
    from ptpp.table.anchors import grid_of
    from ptpp.table.observations import read_observations

    params = snakemake.params
    observations = read_observations(snakemake.input.observations)
    grid = params.grid or grid_of(
        observations[observations["domain"] == params.target], params.held_out
    )
    table = anchor_sweep(
        observations,
        params.laws,
        params.target,
        params.held_out,
        grid,
        plan_targets(grid, **params.plan),
        SweepRequest(**params.request),
        FitSettings(**params.settings),
    )
    write_table(table, Path(snakemake.output.anchor_sweep).with_suffix(""))
