"""Score every fit on the held-out rows, as CSV, Markdown and LaTeX."""

from pathlib import Path

from ptpp.jobs import job as jobs

with jobs.logged(snakemake.log[0]):
    from ptpp.laws import Experiment
    from ptpp.laws.experiment import score_table
    from ptpp.report.tables import write_table

    source, out = snakemake.input, snakemake.output
    experiment = Experiment.read(source.observations, snakemake.params.held_out, source.anchors)
    frame = score_table(experiment.load(source.fits), experiment)
    write_table(frame, Path(out.csv).with_suffix(""))
    jobs.log.info("\n%s", Path(out.md).read_text())
