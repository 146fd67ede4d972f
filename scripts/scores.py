"""Score every fit on the held-out rows, as CSV, Markdown and LaTeX."""

from pathlib import Path

from ptpp import jobs

with jobs.logged(snakemake.log[0]):
    from ptpp.laws.experiment import score_table
    from ptpp.laws.record import Fit
    from ptpp.observations import read_observations
    from ptpp.tables import write_table

    frame = score_table(
        [Fit.from_json(path) for path in snakemake.input.fits],
        read_observations(snakemake.input.observations),
        snakemake.params.held_out,
        read_observations(snakemake.input.anchors),
    )
    write_table(frame, Path(snakemake.output.csv).with_suffix(""))
    jobs.log.info("\n%s", Path(snakemake.output.md).read_text())
