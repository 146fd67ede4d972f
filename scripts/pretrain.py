"""Train one model from the previous stage's trunk to a PTPP checkpoint."""

from ptpp import jobs

with jobs.logged(snakemake.log[0]) as job, jobs.stoppable() as stopping:
    from ptpp.progress import Watch
    from ptpp.training.pretraining import pretrain_stage
    from ptpp.training.runs import Run, prepare, settings_for
    from ptpp.training.text import Text

    prepare(snakemake.threads)
    params = snakemake.params
    run = Run.of(snakemake.wildcards.model, params.model, params.code)
    pretrain_stage(
        run,
        params.ptpp,
        settings_for(params.optimiser, run, params.model["size"]["batch_tokens"]),
        Text.open(snakemake.input.train, snakemake.input.valid, **params.text),
        snakemake.input.previous or None,
        tokenizer=snakemake.input.tokenizer,
        checkpoint=snakemake.output.checkpoint,
        trunk=snakemake.output.trunk,
        zero_shot=snakemake.output.zero_shot,
        curve=snakemake.output.curve,
        cost=snakemake.output.cost,
        state=params.state,
        finished=params.finished,
        save_every_s=snakemake.resources.save_every,
        stopping=stopping,
        watch=Watch(job, job.results / "tensorboard" if snakemake.resources.tensorboard else None),
    )
