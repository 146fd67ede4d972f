"""Take over a checkpoint that was trained elsewhere, and measure it before any adaptation."""

from ptpp.jobs.job import catch_stop, run_job

with run_job(snakemake.log[0]) as job, catch_stop() as stopping:
    from ptpp.training.adoption import adopt_checkpoint
    from ptpp.training.data import Text
    from ptpp.training.job import MeasureJob, Runtime
    from ptpp.training.run import launch_job

    source, output, params = snakemake.input, snakemake.output, snakemake.params
    record = MeasureJob(
        model=params.model,
        ptpp=params.ptpp,
        text=params.text | {"train": [], "valid": list(source.valid)},
        code=params.code,
        **output,
        runtime=Runtime.of_rule(snakemake.threads, snakemake.resources, job.results),
    )
    text = Text.open(**record.text).of_measurement()
    adopt_checkpoint(params.entry, record.model, text, source.tokenizer, record.checkpoint)
    launch_job(record, stopping, job)
