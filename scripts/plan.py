"""Plans by every law under every protocol, and what is told beside them."""

from pathlib import Path

from ptpp.jobs.job import log, run_job

with run_job(snakemake.log[0]):
    import pandas as pd

    from ptpp.laws.experiment import split_of
    from ptpp.laws.fitting import FitSettings
    from ptpp.laws.record import Fit
    from ptpp.laws.uncertainty import Draws
    from ptpp.planning import Fitted, PlanRequest, fitted_scratch, plan_tables, supplements
    from ptpp.report.tables import write_table
    from ptpp.table.observations import is_sweep, read_observations

    params, settings = snakemake.params, FitSettings(**snakemake.params.settings)
    pairs = zip(snakemake.input.fits, snakemake.input.draws, strict=True)
    fitted = [Fitted(Fit.from_json(fit), Draws.from_npz(draws)) for fit, draws in pairs]
    observations = read_observations(snakemake.input.observations)
    anchors = read_observations(snakemake.input.anchors)
    rows = {
        (one.law, one.protocol, one.domain): split_of(
            one, observations, params.held_out, anchors
        ).fit
        for one in (each.record for each in fitted)
    }
    scratch = snakemake.input.from_scratch
    request = PlanRequest.of(params.request)
    tables = plan_tables(request, fitted, pd.read_csv(snakemake.input.regret))
    tables |= supplements(
        request,
        tables["plan"],
        fitted,
        rows,
        sorted(observations[is_sweep(observations)]["ptpp"].unique()),
        settings,
        fitted_scratch(scratch, params.target, settings) if scratch else None,
    )
    for name, table in tables.items():
        write_table(table, Path(snakemake.output[name]).with_suffix(""))
    log.info("\n%s", Path(snakemake.output.plan_md).read_text())
