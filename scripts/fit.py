"""Fit one law under every protocol to every domain, with bootstrap draws and profiles."""

from ptpp.jobs.job import log, run_job

with run_job(snakemake.log[0]):
    from ptpp.laws import Experiment, FitSettings, bootstrap
    from ptpp.laws.declared import named_law
    from ptpp.laws.identifiability import profile, verdicts
    from ptpp.laws.misfit import krige_where_possible
    from ptpp.report.tables import write_csv

    source, params, output = snakemake.input, snakemake.params, snakemake.output
    experiment = Experiment.read(source.observations, params.held_out, source.anchors)
    law = named_law(params.law, source.get("declaration") or None)
    settings = FitSettings(**params.settings)
    # In the order of the rule's outputs.
    pairs = [(protocol, domain) for protocol in params.protocols for domain in params.domains]
    for place, (protocol, domain) in enumerate(pairs):
        fitted = experiment.fit(law, protocol, domain, settings, params.asked)
        fitted = bootstrap(fitted, **params.resampling)
        if params.krige:
            fitted, problem = krige_where_possible(fitted, params.held_out, settings)
            if problem:
                log.warning("%s: %s", protocol, problem)
        record, draws = fitted.record, fitted.draws
        lines = profile(fitted)
        parameters = verdicts(fitted, lines)
        fitted.save(output.fits[place])
        write_csv(lines, output.profiles[place])
        write_csv(parameters, output.verdicts[place])
        name = f"{record.law}, {protocol}, {domain}"
        log.info("%s: objective %.6g, converged: %s", name, record.objective, record.converged)
        log.info(
            "%s: %d refits; drawn from their band: %s",
            *(name, len(draws.params), draws.drawn or "none"),
        )
        for warning in record.warnings:
            log.warning("%s: %s", name, warning)
        for one in parameters.itertuples():
            log.info("%s: %s: %s", name, one.verdict, one.words)
