"""Draw the Pareto front of the plan's law: target loss, forgetting and compute."""

from ptpp.jobs.job import log, run_job

with run_job(snakemake.log[0]):
    import pandas as pd

    from ptpp.report.figures import save
    from ptpp.report.figures.pareto import pareto

    params = snakemake.params
    front, robust = map(pd.read_csv, (snakemake.input.front, snakemake.input.robust))
    figure = pareto(front, robust, params.law, params.target, params.limit)
    save(figure, snakemake.output.pareto)
    log.info("figure pareto: %s", params.law)
