"""Score every fit on the held-out rows, as CSV, Markdown and LaTeX."""

from pathlib import Path

from ptpp.jobs.job import log, run_job

with run_job(snakemake.log[0]):
    from ptpp.laws.experiment import score_table
    from ptpp.laws.record import Fit
    from ptpp.report.tables import write_table
    from ptpp.table.observations import read_observations

    frame = score_table(
        [Fit.from_json(path) for path in snakemake.input.fits],
        read_observations(snakemake.input.observations),
        snakemake.params.held_out,
        read_observations(snakemake.input.anchors),
    )
    write_table(frame, Path(snakemake.output.csv).with_suffix(""))
    log.info("\n%s", Path(snakemake.output.md).read_text())
