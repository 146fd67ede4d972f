"""Draw what was measured: pre-training curves, adaptation, forgetting."""

from ptpp.jobs.job import log, run_job

with run_job(snakemake.log[0]):
    import pandas as pd

    from ptpp.report import figures
    from ptpp.table.observations import read_observations

    paths, params, output = snakemake.input, snakemake.params, snakemake.output
    observations = read_observations(paths.observations)
    predictions = pd.read_csv(paths.predictions) if paths.predictions else None
    drawn = {"adaptation": figures.adaptation(observations, params.target, predictions, params.law)}
    if paths.curves:
        curves = pd.concat([pd.read_csv(path) for path in paths.curves])
        drawn["pretraining"] = figures.pretraining(curves, observations, params.mix, params.decay)
    if params.base:
        drawn["forgetting"] = figures.forgetting(observations, params.base, params.limits)
    for name, figure in drawn.items():
        figures.save(figure, output[name])
        log.info("figure %s", name)
