rule predictions:
    input:
        observations=f"{RESULTS}/observations.csv",
        anchors=f"{RESULTS}/anchors.csv",
        fits=fits(),
        draws=fits("npz"),
    output:
        f"{RESULTS}/tables/predictions.csv",
    log:
        f"{LOGS}/predictions.log",
    benchmark:
        f"{RESULTS}/benchmarks/predictions.tsv"
    conda:
        "../envs/ptpp.yaml"
    params:
        held_out=HELD_OUT,
        code=code_digest("ptpp.laws.experiment"),
    script:
        "../scripts/predictions.py"


rule scores:
    input:
        observations=f"{RESULTS}/observations.csv",
        anchors=f"{RESULTS}/anchors.csv",
        fits=fits(),
    output:
        csv=report(
            f"{RESULTS}/tables/scores.csv",
            caption="../report/scores.rst",
            category="3 Laws",
            labels={"what": "scores at the held-out stage"},
        ),
        md=f"{RESULTS}/tables/scores.md",
        tex=f"{RESULTS}/tables/scores.tex",
    log:
        f"{LOGS}/scores.log",
    benchmark:
        f"{RESULTS}/benchmarks/scores.tsv"
    conda:
        "../envs/ptpp.yaml"
    params:
        held_out=HELD_OUT,
        code=code_digest("ptpp.laws.experiment", "ptpp.report.tables"),
    script:
        "../scripts/scores.py"


rule seed_noise:
    input:
        f"{RESULTS}/observations.csv",
    output:
        seed_noise=report(
            f"{RESULTS}/tables/seed_noise.csv",
            caption="../report/seed_noise.rst",
            category="1 Data",
            labels={"what": "seed noise of every cell"},
        ),
        seed_noise_md=f"{RESULTS}/tables/seed_noise.md",
        seed_noise_tex=f"{RESULTS}/tables/seed_noise.tex",
    log:
        f"{LOGS}/seed_noise.log",
    benchmark:
        f"{RESULTS}/benchmarks/seed_noise.tsv"
    conda:
        "../envs/ptpp.yaml"
    params:
        code=code_digest("ptpp.table.observations", "ptpp.report.tables"),
    script:
        "../scripts/seed_noise.py"


rule comparison:
    input:
        observations=f"{RESULTS}/observations.csv",
        anchors=f"{RESULTS}/anchors.csv",
        fits=fits(),
        draws=fits("npz"),
    output:
        score_intervals=report(
            f"{RESULTS}/tables/score_intervals.csv",
            caption="../report/score_intervals.rst",
            category="3 Laws",
            labels={"what": "scores with intervals"},
        ),
        score_intervals_md=f"{RESULTS}/tables/score_intervals.md",
        score_intervals_tex=f"{RESULTS}/tables/score_intervals.tex",
        coverage=report(
            f"{RESULTS}/tables/coverage.csv",
            caption="../report/coverage.rst",
            category="3 Laws",
            labels={"what": "coverage of prediction intervals"},
        ),
        coverage_md=f"{RESULTS}/tables/coverage.md",
        coverage_tex=f"{RESULTS}/tables/coverage.tex",
        comparison=report(
            f"{RESULTS}/tables/comparison.csv",
            caption="../report/comparison.rst",
            category="3 Laws",
            labels={"what": "which law beats which"},
        ),
        comparison_md=f"{RESULTS}/tables/comparison.md",
        comparison_tex=f"{RESULTS}/tables/comparison.tex",
    log:
        f"{LOGS}/comparison.log",
    benchmark:
        f"{RESULTS}/benchmarks/comparison.tsv"
    conda:
        "../envs/ptpp.yaml"
    params:
        held_out=HELD_OUT,
        code=code_digest("ptpp.laws.comparison", "ptpp.report.tables"),
    script:
        "../scripts/comparison.py"


rule cross_validation:
    input:
        observations=f"{RESULTS}/observations.csv",
        declarations=list(DECLARED.values()),
    output:
        cross_validation=report(
            f"{RESULTS}/tables/cross_validation.csv",
            caption="../report/cross_validation.rst",
            category="3 Laws",
            labels={"what": "cross-validation"},
        ),
        cross_validation_md=f"{RESULTS}/tables/cross_validation.md",
        cross_validation_tex=f"{RESULTS}/tables/cross_validation.tex",
    log:
        f"{LOGS}/cross_validation.log",
    benchmark:
        f"{RESULTS}/benchmarks/cross_validation.tsv"
    conda:
        "../envs/ptpp.yaml"
    params:
        laws=law_sources(),
        protocols=list(config["laws"]["cross_validation"]),
        target=TARGET,
        settings=fit_settings(),
        code=code_digest("ptpp.laws.experiment", "ptpp.report.tables"),
    script:
        "../scripts/cross_validation.py"


rule identifiability:
    input:
        observations=f"{RESULTS}/observations.csv",
        anchors=f"{RESULTS}/anchors.csv",
        fits=fits(),
        draws=fits("npz"),
        verdicts=fits("verdicts.csv"),
    output:
        identifiability=report(
            f"{RESULTS}/tables/identifiability.csv",
            caption="../report/identifiability.rst",
            category="3 Laws",
            labels={"what": "what the rows can say about each parameter"},
        ),
        identifiability_md=f"{RESULTS}/tables/identifiability.md",
        identifiability_tex=f"{RESULTS}/tables/identifiability.tex",
        kappa_bands=report(
            f"{RESULTS}/tables/kappa_bands.csv",
            caption="../report/kappa_bands.rst",
            category="3 Laws",
            labels={"what": "forecasts that the rows cannot tell apart"},
        ),
        kappa_bands_md=f"{RESULTS}/tables/kappa_bands.md",
        kappa_bands_tex=f"{RESULTS}/tables/kappa_bands.tex",
    log:
        f"{LOGS}/identifiability.log",
    benchmark:
        f"{RESULTS}/benchmarks/identifiability.tsv"
    conda:
        "../envs/ptpp.yaml"
    params:
        held_out=HELD_OUT,
        target=TARGET,
        code=code_digest("ptpp.laws.identifiability", "ptpp.report.tables"),
    script:
        "../scripts/identifiability.py"


rule anchor_sweep:
    input:
        observations=f"{RESULTS}/observations.csv",
        declarations=list(DECLARED.values()),
    output:
        anchor_sweep=report(
            f"{RESULTS}/tables/anchor_sweep.csv",
            caption="../report/anchor_sweep_table.rst",
            category="3 Laws",
            labels={"what": "anchors: how many and which"},
        ),
        anchor_sweep_md=f"{RESULTS}/tables/anchor_sweep.md",
        anchor_sweep_tex=f"{RESULTS}/tables/anchor_sweep.tex",
    log:
        f"{LOGS}/anchor_sweep.log",
    benchmark:
        f"{RESULTS}/benchmarks/anchor_sweep.tsv"
    priority: 10
    conda:
        "../envs/ptpp.yaml"
    params:
        laws=law_sources(),
        held_out=HELD_OUT,
        target=TARGET,
        grid=anchor_grid(),
        request=sweep_request(),
        plan={key: config["plan"][key] for key in ("n_params", "ptpp", "max_atpp")},
        settings=fit_settings(),
        code=code_digest("ptpp.laws.anchoring", "ptpp.report.tables"),
    script:
        "../scripts/anchor_sweep.py"
