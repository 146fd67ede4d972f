"""Plans by every law under every protocol, and the tables beside them."""

from pathlib import Path

from ptpp.jobs.job import log, run_job

with run_job(snakemake.log[0]):
    import pandas as pd

    from ptpp.laws import Experiment, FitSettings
    from ptpp.laws.base_loss import BaseLosses
    from ptpp.planning import (
        complete_request,
        fit_scratch,
        make_requests,
        plan_tables,
        supplements,
    )
    from ptpp.report.tables import write_table
    from ptpp.table.kinds import is_sweep, list_stages

    source, params = snakemake.input, snakemake.params
    settings = FitSettings(**params.settings)
    experiment = Experiment.read(source.observations, params.held_out, source.anchors)
    observations = experiment.observations
    fits = experiment.load(source.fits)
    base_losses = BaseLosses(observations, params.target)
    requests = [
        complete_request(request, fits, base_losses)
        for request in make_requests(params.wishes, observations)
    ]
    tables = plan_tables(requests, fits, pd.read_csv(source.regret))
    path = source.from_scratch
    scratch = fit_scratch(path, params.target, settings) if path else None
    stages = list_stages(observations[is_sweep(observations)])
    about = stages, settings, base_losses, scratch
    tables |= supplements(requests[0], tables["plan"], fits, *about)
    for name, table in tables.items():
        write_table(table, snakemake.output[name])
    log.info("\n%s", Path(snakemake.output.plan_md).read_text())
