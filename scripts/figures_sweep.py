"""Draw what was measured: pre-training curves, adaptation, forgetting."""

from ptpp.jobs.job import log, run_job

with run_job(snakemake.log[0]):
    import pandas as pd

    from ptpp.report import figures
    from ptpp.table.observations import read_observations

    paths, params, output = snakemake.input, snakemake.params, snakemake.output
    observations = read_observations(paths.observations)
    drawn = {"adaptation": figures.adaptation(observations, params.target)}
    if paths.curves:
        curves = pd.concat([pd.read_csv(path) for path in paths.curves])
        drawn["pretraining"] = figures.pretraining(curves, params.stages)
    if params.base:
        drawn["forgetting"] = figures.forgetting(observations, params.base)
    for name, figure in drawn.items():
        figures.save(figure, output[name])
        log.info("figure %s", name)
