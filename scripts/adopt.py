"""Take over a checkpoint of the user's own, and measure it before any adaptation."""

from ptpp.jobs.job import catch_stop, run_job

with run_job(snakemake.log[0]) as job, catch_stop() as stopping:
    from ptpp.training.adoption import take_checkpoint
    from ptpp.training.launch import train_job
    from ptpp.training.text import Text

    params, resources = snakemake.params, snakemake.resources
    valid = list(snakemake.input.valid)
    take_checkpoint(
        params.given,
        params.model,
        Text.open([], valid, **params.text).of_measurement(),
        tokenizer=snakemake.input.tokenizer,
        directory=snakemake.output.checkpoint,
    )
    order = {
        "job": "measure",
        "model": snakemake.wildcards.model,
        "spec": params.model,
        "code": params.code,
        "ptpp": params.ptpp,
        "text": params.text,
        "train": [],
        "valid": valid,
        "checkpoint": snakemake.output.checkpoint,
        "zero_shot": snakemake.output.zero_shot,
        "cost": snakemake.output.cost,
        "micro_batch_tokens": resources.micro_batch_tokens or None,
    }
    train_job(order, resources.devices, snakemake.threads, resources.jobs_per_gpu, stopping, job)
