"""Draw forecasts, residuals, comparisons, profiles and the anchor sweep of the target laws."""

from ptpp.jobs.job import log, run_job

with run_job(snakemake.log[0]):
    import pandas as pd

    from ptpp.laws.identifiability import THRESHOLD
    from ptpp.report import figures
    from ptpp.report.figures.forecast import forecast

    paths, params, output = snakemake.input, snakemake.params, snakemake.output
    target = params.target
    noise = pd.read_csv(paths.scores).groupby("domain").noise_floor.first()[target]
    predictions = pd.read_csv(paths.predictions)
    profiles, verdicts = (
        pd.concat([pd.read_csv(path) for path in group])
        for group in (paths.profiles, paths.verdicts)
    )
    drawn = {
        "forecast": forecast(predictions, params.law, target),
        "calibration": figures.calibration(predictions, noise, target),
        "residuals": figures.residuals(predictions, noise, target),
        "residuals_by_input": figures.residuals_by_input(
            predictions, noise, target, params.protocol
        ),
        "law_comparison": figures.law_comparison(pd.read_csv(paths.intervals), noise, target),
        "profile": figures.profile(profiles, verdicts, params.law, target, THRESHOLD),
        "anchor_sweep": figures.anchor_sweep(pd.read_csv(paths.sweep), noise, target),
    }
    for name, figure in drawn.items():
        figures.save(figure, output[name])
        log.info("figure %s", name)
