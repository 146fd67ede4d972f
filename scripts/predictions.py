"""Observed and predicted loss of every cell under every fit."""

from ptpp.jobs.job import run_job

with run_job(snakemake.log[0]):
    from ptpp.laws.comparison import predictions_with_intervals as predictions
    from ptpp.laws.record import Fit
    from ptpp.laws.uncertainty import Draws
    from ptpp.report.tables import write_csv
    from ptpp.table.observations import read_observations

    frame = predictions(
        [Fit.from_json(path) for path in snakemake.input.fits],
        [Draws.from_npz(path) for path in snakemake.input.draws],
        read_observations(snakemake.input.observations),
        snakemake.params.held_out,
        read_observations(snakemake.input.anchors),
    )
    write_csv(frame, snakemake.output[0])
