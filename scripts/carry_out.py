"""Adapt the planned model as its plan says, and compare what it measures with the forecast."""

from ptpp.jobs.job import catch_stop, log, run_job

with run_job(snakemake.log[0]) as job, catch_stop() as stopping:
    import pandas as pd

    from ptpp.jobs.files import write_text
    from ptpp.laws.fitted import FittedLaw
    from ptpp.planning.applied import COMPARISON_COLUMNS, choose_plan
    from ptpp.report.tables import write_table
    from ptpp.training.application import OUTPUTS, ApplyJob
    from ptpp.training.job import Runtime
    from ptpp.training.outcome import judge, leave_empty
    from ptpp.training.run import launch_job

    source, output, params = snakemake.input, snakemake.output, snakemake.params
    written = {name: output[name] for name in OUTPUTS}
    tables = {"robust": pd.read_csv(source.robust), "point": pd.read_csv(source.plan)}
    plan = choose_plan(tables, params.law, params.n_params, params.ptpp)
    if plan is None:
        asked = f"by {params.law} for {params.n_params:g} parameters"
        lines = [f"no plan {asked} is feasible, so nothing was adapted"]
        leave_empty(written, lines[0])
        table = pd.DataFrame(columns=list(COMPARISON_COLUMNS))
    else:
        record = ApplyJob(
            model=params.model,
            ptpp=params.ptpp,
            replay=plan.replay,
            atpp=plan.atpp,
            text=params.text | {"train": list(source.train), "valid": list(source.valid)},
            optimiser=params.optimiser,
            code=params.code,
            checkpoint=source.checkpoint,
            tokenizer=source.tokenizer,
            state=params.state,
            finished=params.finished,
            **written,
            runtime=Runtime.of_rule(snakemake.threads, snakemake.resources, job.results),
        )
        launch_job(record, stopping, job)
        fits = [FittedLaw.load(path) for path in source.fits]
        outcome = judge(record, plan, fits)
        lines, table = outcome.lines(), outcome.comparison
        keep = f"snakemake --cores 1 keep_applied{snakemake.config['arguments']}"
        lines.append(f"to make it a row of the next run's table: {keep}")
    write_table(table, output.comparison)
    write_text(output.text, "\n".join(lines) + "\n")
    for line in lines:
        log.info("%s", line)
