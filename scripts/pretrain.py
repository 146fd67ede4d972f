"""Train one model from the previous stage's trunk to a PTPP checkpoint."""

from ptpp.jobs.job import catch_stop, run_job

with run_job(snakemake.log[0]) as job, catch_stop() as stopping:
    from ptpp.training.job import PretrainJob, Runtime
    from ptpp.training.run import launch_job

    source, output, params = snakemake.input, snakemake.output, snakemake.params
    record = PretrainJob(
        model=params.model,
        ptpp=params.ptpp,
        text=params.text | {"train": list(source.train), "valid": list(source.valid)},
        optimiser=params.optimiser,
        code=params.code,
        previous_trunk=source.previous or None,
        tokenizer=source.tokenizer,
        state=params.state,
        finished=params.finished,
        **output,
        runtime=Runtime.of_rule(snakemake.threads, snakemake.resources, job.results),
    )
    launch_job(record, stopping, job)
