localrules:
    fit,
    fit_forgetting,
    law_tables,
    cross_validation,
    anchor_sweep,
    laws,


# One job a law, since a process takes as long to start as a fit with its refits and profiles.
rule fit:
    """Fit one law under every protocol, with bootstrap draws and profiles."""
    input:
        observations=f"{RESULTS}/observations.csv",
        anchors=f"{RESULTS}/anchors.csv",
        declaration=lambda wildcards: DECLARED.get(wildcards.law, []),
    output:
        **fit_files("{law}", [TARGET]),
    log:
        f"{LOGS}/fits/{{law}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/fits/{{law}}.tsv"
    wildcard_constraints:
        law=one_of(TARGET_LAWS),
    priority: 20
    conda:
        "../envs/ptpp.yaml"
    params:
        **fit_params("{law}", [TARGET]),
    script:
        "../scripts/fit.py"


if BASE_LAWS:

    use rule fit as fit_forgetting with:
        input:
            observations=f"{RESULTS}/observations.csv",
            anchors=f"{RESULTS}/anchors.csv",
        output:
            **fit_files("{law}", BASE_DOMAINS),
        log:
            f"{LOGS}/fits/{{law}}.log",
        benchmark:
            f"{RESULTS}/benchmarks/fits/{{law}}.tsv"
        wildcard_constraints:
            law=one_of(BASE_LAWS),
        params:
            **fit_params("{law}", BASE_DOMAINS),


rule law_tables:
    """Score, compare and judge all fits on the held-out stage."""
    input:
        observations=f"{RESULTS}/observations.csv",
        anchors=f"{RESULTS}/anchors.csv",
        fits=judged_fits(),
        draws=judged_fits("npz"),
        verdicts=judged_fits("verdicts.csv"),
    output:
        **table_files("scores", "scores at the held-out stage", "3 Laws"),
        **table_files("score_intervals", "scores with intervals", "3 Laws"),
        **table_files("coverage", "coverage of prediction intervals", "3 Laws"),
        **table_files("comparison", "which law beats which", "3 Laws"),
        **table_files("identifiability", "what the rows can say about each parameter", "3 Laws"),
        **table_files("kappa_bands", "forecasts that the rows cannot tell apart", "3 Laws"),
        predictions=f"{RESULTS}/tables/predictions.csv",
    log:
        f"{LOGS}/law_tables.log",
    benchmark:
        f"{RESULTS}/benchmarks/law_tables.tsv"
    conda:
        "../envs/ptpp.yaml"
    params:
        held_out=HELD_OUT,
        target=TARGET,
        code=code_digest(
            "ptpp.laws.experiment",
            "ptpp.laws.comparison",
            "ptpp.laws.levels",
            "ptpp.laws.identifiability",
            "ptpp.report.tables",
        ),
    script:
        "../scripts/law_tables.py"


rule cross_validation:
    """Leave parts of the table out in turn, and score every target law on them."""
    input:
        observations=f"{RESULTS}/observations.csv",
        declarations=list(DECLARED.values()),
    output:
        **table_files("cross_validation", "cross-validation", "3 Laws"),
    log:
        f"{LOGS}/cross_validation.log",
    benchmark:
        f"{RESULTS}/benchmarks/cross_validation.tsv"
    conda:
        "../envs/ptpp.yaml"
    params:
        laws=LAW_SOURCES,
        protocols=list(config["laws"]["cross_validation"]),
        target=TARGET,
        settings=fit_settings(),
        code=code_digest("ptpp.laws.experiment", "ptpp.report.tables"),
    script:
        "../scripts/cross_validation.py"


rule anchor_sweep:
    """Fit every target law with more and more anchors, chosen in several ways."""
    input:
        observations=f"{RESULTS}/observations.csv",
        declarations=list(DECLARED.values()),
    output:
        **table_files("anchor_sweep", "anchors: how many and which", "3 Laws", "anchor_sweep_table"),
    log:
        f"{LOGS}/anchor_sweep.log",
    benchmark:
        f"{RESULTS}/benchmarks/anchor_sweep.tsv"
    priority: 10
    conda:
        "../envs/ptpp.yaml"
    params:
        laws=LAW_SOURCES,
        held_out=HELD_OUT,
        target=TARGET,
        grid=anchor_grid(),
        request=config["laws"]["anchor_sweep"] | {"seed": config["held_out"]["anchors"]["seed"]},
        plan=plan_wishes(),
        settings=fit_settings(),
        code=code_digest("ptpp.laws.anchoring", "ptpp.report.tables"),
    script:
        "../scripts/anchor_sweep.py"


rule laws:
    """All fits, and everything that says how far they can be trusted."""
    input:
        law_outputs(),
