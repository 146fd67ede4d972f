"""Draw predicted target loss over replay and ATPP, the limits and the headline plan."""

from ptpp.jobs.job import log, run_job

with run_job(snakemake.log[0]):
    import pandas as pd

    from ptpp.laws import FittedLaw
    from ptpp.laws.base_loss import BaseLosses
    from ptpp.planning import PlanRequest, complete_request, forgetting_fits, surface
    from ptpp.report import figures
    from ptpp.table.observations import read_observations

    source, params = snakemake.input, snakemake.params
    law, protocol = (params.headline[key] for key in ("law", "protocol"))
    target, *others = [FittedLaw.load(path) for path in source.fits]
    request = PlanRequest.of(params.request)
    base_losses = BaseLosses.of(read_observations(source.observations), target.record.domain)
    request = complete_request(request, [target, *others], base_losses)
    chosen, robust = (
        pd.read_csv(path).set_index(["law", "protocol"]).loc[(law, protocol)]
        for path in (source.plan, source.robust)
    )
    limits = {"target_loss": chosen["target_loss_limit"]}
    limits |= {f"forgetting_{domain}": most for domain, most in request.forgetting_limits.items()}
    grid = surface(request, target, forgetting_fits(others, protocol))
    figure = figures.plan(grid, chosen, limits, robust)
    figures.save(figure, snakemake.output.plan)
    log.info("figure plan: %s, %s", law, protocol)
