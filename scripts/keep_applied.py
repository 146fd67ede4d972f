"""Keep what was measured of the carried-out plan, as rows of the table of the next run."""

from ptpp.jobs.job import log, run_job

with run_job(snakemake.log[0]):
    from ptpp.planning.applied import keep_rows

    kept = keep_rows(snakemake.input[0], snakemake.params.table, snakemake.params.kept)
    log.info("%s: a part of observations.csv from the next run on", kept)
