"""Write the interactive planner: one HTML file with the fitted laws, their draws and formulas."""

from ptpp.jobs.job import log, run_job

with run_job(snakemake.log[0]):
    from ptpp.jobs.files import write_text
    from ptpp.laws import FittedLaw
    from ptpp.laws.base_loss import BaseLosses
    from ptpp.planning import PlanRequest
    from ptpp.report.planner import REPORT_LIMIT, planner_page
    from ptpp.table.observations import read_observations

    source, headline = snakemake.input, snakemake.params.headline
    fits = [FittedLaw.load(path) for path in source.fits]
    request = PlanRequest.of(snakemake.params.request)
    base_losses = BaseLosses.of(read_observations(source.observations), snakemake.params.target)
    page = planner_page(request, fits, (headline["law"], headline["protocol"]), base_losses)
    write_text(snakemake.output[0], page)
    log.info("%d fits, %.2f MB", len(fits), len(page) / 1e6)
    if len(page) > REPORT_LIMIT:
        log.warning("too large for the report in Chromium; open %s", snakemake.output[0])
