"""Tell how far the losses of one cell differ between seeds."""

from pathlib import Path

from ptpp.jobs.job import log, run_job

with run_job(snakemake.log[0]):
    from ptpp.report.tables import write_table
    from ptpp.table.observations import read_observations, seed_noise_by_cell

    noise = seed_noise_by_cell(read_observations(snakemake.input[0]))
    write_table(noise, Path(snakemake.output.seed_noise).with_suffix(""))
    for domain, rows in noise.groupby("domain"):
        log.info(
            "%s: %d cells, relative sd %.2g (median), %.2g (largest)",
            domain,
            len(rows),
            rows["relative_sd"].median(),
            rows["relative_sd"].max(),
        )
