localrules:
    report,


if HELD_OUT is not None:

    localrules:
        figures_forecast,

    rule figures_forecast:
        """Draw loss after adaptation against pre-training: forecast and measured."""
        input:
            predictions=f"{RESULTS}/tables/predictions.csv",
        output:
            **figure_files("forecast", "3 Laws"),
        log:
            f"{LOGS}/figures_forecast.log",
        benchmark:
            f"{RESULTS}/benchmarks/figures_forecast.tsv"
        conda:
            "../envs/ptpp.yaml"
        params:
            target=TARGET,
            law=PLAN_LAW,
            code=code_digest("ptpp.report.figures.forecast"),
        script:
            "../scripts/figures_forecast.py"


if FIGURES["pareto"]:

    localrules:
        figures_pareto,

    rule figures_pareto:
        """Draw what more compute and more forgetting buy."""
        input:
            front=f"{RESULTS}/plan/front.csv",
            robust=f"{RESULTS}/plan/robust.csv",
        output:
            **figure_files("pareto", "4 Plan"),
        log:
            f"{LOGS}/figures_pareto.log",
        benchmark:
            f"{RESULTS}/benchmarks/figures_pareto.tsv"
        conda:
            "../envs/ptpp.yaml"
        params:
            target=TARGET,
            law=PLAN_LAW,
            limit=FORGETTING_LIMITS[0] if len(set(FORGETTING_LIMITS)) == 1 else None,
            code=code_digest("ptpp.report.figures.pareto"),
        script:
            "../scripts/figures_pareto.py"


rule report:
    """Write report.html, a page to read, and provenance.html, every result with its code."""
    input:
        report_outputs(),
        # Captions and page parts, so that the report is made anew when one changes.
        texts=sorted(source_path("report", path.name) for path in (BASE / "report").glob("*.rst")),
        parts=[source_path("ptpp", "report", "page", name) for name in REPORT_PARTS],
    output:
        page=f"{RESULTS}/report.html",
        provenance=f"{RESULTS}/provenance.html",
    log:
        f"{LOGS}/report.log",
    benchmark:
        f"{RESULTS}/benchmarks/report.tsv"
    conda:
        "../envs/ptpp.yaml"
    params:
        targets=report_outputs(),
        law=PLAN_LAW,
        code=code_digest("ptpp.report.page"),
        laws=code_digest("ptpp.laws.experiment", "ptpp.planning"),
    script:
        "../scripts/report.py"
