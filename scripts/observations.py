"""Gather all measurements, or check the user's own table, into one observation table."""

from ptpp.jobs.job import log, run_job

with run_job(snakemake.log[0]):
    from ptpp.table.observations import gather_observations, write_observations

    frame = gather_observations(
        snakemake.input, held_out=snakemake.params.held_out, target=snakemake.params.target
    )
    write_observations(frame, snakemake.output[0])
    log.info("%d losses of %d runs", len(frame), frame["run"].nunique())
