"""Fit every target law with more and more anchors, chosen in several ways."""

from ptpp.jobs.job import run_job

with run_job(snakemake.log[0]):
    from ptpp.laws import Experiment, FitSettings, find_law
    from ptpp.laws.anchoring import SweepRequest, anchor_sweep, plan_targets
    from ptpp.laws.base_loss import BaseLosses
    from ptpp.planning import make_requests
    from ptpp.report.tables import write_table
    from ptpp.table.anchors import grid_of

    params = snakemake.params
    experiment = Experiment.read(snakemake.input.observations, params.held_out)
    observations, target = experiment.observations, params.target
    grid = params.grid or grid_of(observations[observations["domain"] == target], params.held_out)
    laws = [find_law(law) for law in params.laws]
    request, *_ = make_requests(params.plan, observations)
    plan = {name: getattr(request, name) for name in ("n_params", "ptpp", "max_atpp", "base_loss")}
    if plan["base_loss"] is None and any("base_loss" in law.inputs for law in laws):
        base_losses = BaseLosses(observations, target)
        plan["base_loss"] = base_losses.find(plan["n_params"], plan["ptpp"])[0]
    table = anchor_sweep(
        experiment,
        laws,
        target,
        SweepRequest(
            grid=grid,
            targets=plan_targets(grid, **plan),
            settings=FitSettings(**params.settings),
            **params.request,
        ),
    )
    write_table(table, snakemake.output.anchor_sweep)
