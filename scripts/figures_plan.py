"""Draw predicted target loss over replay and ATPP, the limits and the headline plan."""

from pathlib import Path

import pandas as pd

from ptpp.jobs.job import run_job

with run_job(snakemake.log[0]):
    from ptpp.laws import FittedLaw
    from ptpp.planning import PlanRequest, forgetting_fits, surface
    from ptpp.report import figures

    headline = snakemake.params.headline
    request = PlanRequest.of(snakemake.params.request)
    target, *others = [FittedLaw.load(path) for path in snakemake.input.fits]
    chosen, robust = (
        pd.read_csv(path)
        .set_index(["law", "protocol"])
        .loc[(headline["law"], headline["protocol"])]
        for path in (snakemake.input.plan, snakemake.input.robust)
    )
    limits = {"target_loss": chosen["target_loss_limit"]}
    limits |= {f"forgetting_{domain}": most for domain, most in request.forgetting_limits.items()}
    grid = surface(request, target, forgetting_fits(others, headline["protocol"]))
    figures.save(
        figures.plan(grid, chosen, limits, robust), Path(snakemake.output.plan).with_suffix("")
    )
