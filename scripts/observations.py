"""Gather all measurements, or check a finished table, into one observation table."""

from ptpp.jobs.job import log, run_job

with run_job(snakemake.log[0]):
    from ptpp.report.tables import write_table
    from ptpp.table.noise import seed_noise_by_cell
    from ptpp.table.observations import gather_observations, write_observations

    params, output = snakemake.params, snakemake.output
    frame = gather_observations(
        snakemake.input, held_out=params.held_out, target=params.target, **params.table
    )
    noise = seed_noise_by_cell(frame)
    write_observations(frame, output.observations)
    write_table(noise, output.seed_noise)
    log.info("%d losses of %d runs", len(frame), frame["run"].nunique())
    for domain, rows in noise.groupby("domain"):
        log.info(
            "%s: %d cells with several seeds, relative sd %.2g (median), %.2g (largest)",
            *(domain, len(rows), rows["relative_sd"].median(), rows["relative_sd"].max()),
        )
