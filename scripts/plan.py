"""Plans by every law under every protocol: least compute and least loss, point and robust."""

from pathlib import Path

from ptpp import jobs

with jobs.logged(snakemake.log[0]):
    import pandas as pd

    from ptpp.laws.record import Fit
    from ptpp.laws.uncertainty import Draws
    from ptpp.planning import Fitted, PlanRequest, plan_tables
    from ptpp.tables import write_table

    pairs = zip(snakemake.input.fits, snakemake.input.draws, strict=True)
    fitted = [Fitted(Fit.from_json(fit), Draws.from_npz(draws)) for fit, draws in pairs]
    request, regret = PlanRequest.of(snakemake.params.request), pd.read_csv(snakemake.input.regret)
    for name, table in plan_tables(request, fitted, regret).items():
        write_table(table, Path(snakemake.output[name]).with_suffix(""))
    jobs.log.info("\n%s", Path(snakemake.output.plan_md).read_text())
