"""Draw target loss over replay and ATPP with limits and the headline plan, and the front."""

from ptpp.jobs.job import log, run_job

with run_job(snakemake.log[0]):
    import pandas as pd

    from ptpp.laws import FittedLaw
    from ptpp.laws.base_loss import BaseLosses
    from ptpp.planning import complete_request, forgetting_fits, make_requests, surface
    from ptpp.report import figures
    from ptpp.report.figures.pareto import pareto
    from ptpp.table.observations import read_observations

    source, params = snakemake.input, snakemake.params
    target, *others = [FittedLaw.load(path) for path in source.fits]
    observations = read_observations(source.observations)
    request, *_ = make_requests(params.wishes, observations)
    base_losses = BaseLosses(observations, target.record.domain)
    request = complete_request(request, [target, *others], base_losses)
    chosen, robust = (
        table[table["n_params"] == request.n_params].set_index("law", drop=False).loc[params.law]
        for table in map(pd.read_csv, (source.plan, source.robust))
    )
    limits = {"target_loss": chosen["target_loss_limit"]}
    limits |= {f"forgetting_{domain}": most for domain, most in request.forgetting_limits.items()}
    grid = surface(request, target, forgetting_fits(others, target.record.protocol))
    drawn = {"plan": figures.plan(grid, chosen, limits, robust)}
    if snakemake.output.get("pareto"):
        tables = map(pd.read_csv, (source.front, source.robust))
        drawn["pareto"] = pareto(*tables, params.law, target.record.domain, params.limit)
    for name, figure in drawn.items():
        figures.save(figure, snakemake.output[name])
        log.info("figure %s: %s", name, params.law)
