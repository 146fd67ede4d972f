"""What the configured experiment will take, as CSV, Markdown, LaTeX and plain text."""

from ptpp.jobs.job import run_job

with run_job(snakemake.log[0]):
    from ptpp.cost.estimate import cost_estimate, estimate_text
    from ptpp.jobs.files import write_text
    from ptpp.report.tables import write_table

    table = cost_estimate(snakemake.params.config)
    write_table(table, snakemake.output.csv)
    write_text(snakemake.output.text, estimate_text(table, snakemake.params.config["cost"]))
