"""Adapt one checkpoint at several replay ratios and measure every ATPP."""

from ptpp.jobs.job import catch_stop, run_job

with run_job(snakemake.log[0]) as job, catch_stop() as stopping:
    from ptpp.training.job import AdaptJob, Runtime
    from ptpp.training.run import launch_job

    source, output, params = snakemake.input, snakemake.output, snakemake.params
    record = AdaptJob(
        model=params.model,
        ptpp=params.ptpp,
        text=params.text | {"train": list(source.train), "valid": list(source.valid)},
        replays=params.replays,
        atpp=params.atpp,
        optimiser=params.optimiser,
        code=params.code,
        checkpoint=source.checkpoint,
        zero_shot=source.zero_shot,
        state=params.state,
        finished=params.finished,
        **output,
        runtime=Runtime.of_rule(snakemake.threads, snakemake.resources, job.results),
    )
    launch_job(record, stopping, job)
