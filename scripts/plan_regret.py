"""Plans of every law checked against the measured cells of the held-out stage."""

from pathlib import Path

from ptpp.jobs.job import log, run_job

with run_job(snakemake.log[0]):
    from ptpp.laws.experiment import anchored_cells
    from ptpp.laws.record import Fit
    from ptpp.laws.uncertainty import Draws
    from ptpp.planning import Fitted, regret_cases, regret_table
    from ptpp.report.tables import write_csv, write_table
    from ptpp.table.observations import read_observations

    pairs = zip(snakemake.input.fits, snakemake.input.draws, strict=True)
    cases = regret_cases(
        read_observations(snakemake.input.observations),
        [Fitted(Fit.from_json(fit), Draws.from_npz(draws)) for fit, draws in pairs],
        snakemake.params.held_out,
        anchored_cells(read_observations(snakemake.input.anchors)),
        snakemake.params.confidence,
    )
    write_csv(cases, snakemake.output.cases)
    write_table(regret_table(cases), Path(snakemake.output.plan_regret).with_suffix(""))
    log.info("\n%s", Path(snakemake.output.plan_regret_md).read_text())
