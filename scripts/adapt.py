"""Adapt one checkpoint at several replay ratios and measure every ATPP."""

from ptpp import jobs

with jobs.logged(snakemake.log[0]) as job, jobs.stoppable() as stopping:
    from ptpp.progress import Watch
    from ptpp.training.adaptation import adapt
    from ptpp.training.runs import Run, prepare, settings_for
    from ptpp.training.text import Text

    prepare(snakemake.threads)
    params = snakemake.params
    run = Run.of(snakemake.wildcards.model, params.model, params.code)
    adapt(
        run,
        params.ptpp,
        params.replays,
        params.atpp,
        settings_for(params.optimiser, run, params.model["size"]["batch_tokens"]),
        Text.open(snakemake.input.train, snakemake.input.valid, **params.text),
        checkpoint=snakemake.input.checkpoint,
        zero_shot=snakemake.input.zero_shot,
        observations=snakemake.output.observations,
        costs=snakemake.output.costs,
        state=params.state,
        finished=params.finished,
        save_every_s=snakemake.resources.save_every,
        stopping=stopping,
        watch=Watch(job, job.results / "tensorboard" if snakemake.resources.tensorboard else None),
    )
