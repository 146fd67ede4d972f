"""Gather what every training run took, and sum it up."""

from pathlib import Path

from ptpp.jobs.job import log, run_job

with run_job(snakemake.log[0]):
    import pandas as pd

    from ptpp.cost.measured import cost_summary
    from ptpp.report.tables import write_csv, write_table

    costs = pd.concat([pd.read_csv(path) for path in snakemake.input], ignore_index=True)
    write_csv(costs, snakemake.output.runs)
    write_table(cost_summary(costs), snakemake.output.costs)
    log.info("\n%s", Path(snakemake.output.costs_md).read_text())
