"""Train one model from the previous stage's trunk to a PTPP checkpoint."""

from ptpp.jobs.job import catch_stop, run_job

with run_job(snakemake.log[0]) as job, catch_stop() as stopping:
    from ptpp.training.launch import train_job

    params, resources = snakemake.params, snakemake.resources
    order = {
        "job": "pretrain",
        "model": snakemake.wildcards.model,
        "spec": params.model,
        "code": params.code,
        "ptpp": params.ptpp,
        "optimiser": params.optimiser,
        "text": params.text,
        "train": list(snakemake.input.train),
        "valid": list(snakemake.input.valid),
        "previous_trunk": snakemake.input.previous or None,
        "tokenizer": snakemake.input.tokenizer,
        "checkpoint": snakemake.output.checkpoint,
        "trunk": snakemake.output.trunk,
        "zero_shot": snakemake.output.zero_shot,
        "curve": snakemake.output.curve,
        "cost": snakemake.output.cost,
        "state": params.state,
        "finished": params.finished,
        "save_every_s": resources.save_every,
        "micro_batch_tokens": resources.micro_batch_tokens or None,
        "events": str(job.results / "tensorboard") if resources.tensorboard else None,
    }
    train_job(order, resources.devices, snakemake.threads, resources.jobs_per_gpu, stopping, job)
