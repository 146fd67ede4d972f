"""The least-compute plan by every law under every protocol."""

from pathlib import Path

from ptpp import jobs

with jobs.logged(snakemake.log[0]):
    from ptpp.laws.record import Fit
    from ptpp.plan import PlanRequest, make_plans, plan_table
    from ptpp.tables import write_table

    plans = make_plans(
        PlanRequest.of(snakemake.params.request),
        [Fit.from_json(path) for path in snakemake.input.fits],
    )
    write_table(plan_table(plans), Path(snakemake.output.csv).with_suffix(""))
    jobs.log.info("\n%s", Path(snakemake.output.md).read_text())
