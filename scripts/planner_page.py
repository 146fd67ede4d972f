"""Write the interactive planner: one HTML file with the fitted laws, their draws and formulas."""

from pathlib import Path

from ptpp.jobs.job import log, run_job

with run_job(snakemake.log[0]):
    from ptpp.jobs.files import write_text
    from ptpp.laws.record import Fit
    from ptpp.laws.uncertainty import Draws
    from ptpp.planning import PlanRequest
    from ptpp.report.planner import REPORT_LIMIT, planner_page

    headline = snakemake.params.headline
    # The draws of a fit stand beside it, under the same name.
    fits = [
        (Fit.from_json(path), Draws.from_npz(Path(path).with_suffix(".npz")))
        for path in snakemake.input.fits
    ]
    request = PlanRequest.of(snakemake.params.request)
    page = planner_page(request, fits, (headline["law"], headline["protocol"]))
    write_text(snakemake.output[0], page)
    log.info("%d fits, %.2f MB", len(fits), len(page) / 1e6)
    if len(page) > REPORT_LIMIT:
        log.warning("too large for the report in Chromium; open %s", snakemake.output[0])
