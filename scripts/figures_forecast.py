"""Draw loss after adaptation against pre-training: forecast by the plan's law, and measured."""

from ptpp.jobs.job import log, run_job

with run_job(snakemake.log[0]):
    import pandas as pd

    from ptpp.report.figures import save
    from ptpp.report.figures.forecast import forecast

    params = snakemake.params
    predictions = pd.read_csv(snakemake.input.predictions)
    save(forecast(predictions, params.law, params.target), snakemake.output.forecast)
    log.info("figure forecast: %s", params.law)
