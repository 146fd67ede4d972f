"""Write the interactive planner: one HTML file with the fitted laws, their draws and formulas."""

from ptpp.jobs.job import log, run_job

with run_job(snakemake.log[0]):
    import pandas as pd

    from ptpp.jobs.files import write_text
    from ptpp.laws import FittedLaw
    from ptpp.laws.base_loss import BaseLosses
    from ptpp.planning import make_requests
    from ptpp.report.planner import REPORT_LIMIT, planner_page
    from ptpp.table.observations import read_observations

    source, params = snakemake.input, snakemake.params
    fits = [FittedLaw.load(path) for path in source.fits]
    observations = read_observations(source.observations)
    request, *_ = make_requests(params.wishes, observations)
    base_losses = BaseLosses(observations, params.target)
    headline = params.law, fits[0].record.protocol
    scores = pd.read_csv(source.scores)
    page = planner_page(request, fits, headline, base_losses, scores)
    write_text(snakemake.output[0], page)
    log.info("%d fits, %.2f MB", len(fits), len(page) / 1e6)
    if len(page) > REPORT_LIMIT:
        log.warning("too large for the report in Chromium; open %s", snakemake.output[0])
