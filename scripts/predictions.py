"""Observed and predicted loss of every cell under every fit."""

from ptpp.jobs import job as jobs

with jobs.logged(snakemake.log[0]):
    from ptpp.laws import Experiment
    from ptpp.laws.experiment import predictions
    from ptpp.report.tables import write_csv

    source = snakemake.input
    experiment = Experiment.read(source.observations, snakemake.params.held_out, source.anchors)
    write_csv(predictions(experiment.load(source.fits), experiment), snakemake.output[0])
