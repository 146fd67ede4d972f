"""Check what is declared of every model from elsewhere against its configuration."""

from ptpp.jobs.job import run_job

with run_job(snakemake.log[0]):
    from ptpp.training.adoption import check_declarations

    check_declarations(snakemake.params.models, snakemake.input.tokenizer, snakemake.output[0])
