rule figure_pretraining:
    input:
        curves=last_curves(),
    output:
        report(
            f"{RESULTS}/figures/pretraining.png",
            caption="../report/pretraining.rst",
            category="2 Sweep",
            labels={"what": "pre-training curves"},
        ),
        f"{RESULTS}/figures/pretraining.pdf",
    log:
        f"{LOGS}/figures/pretraining.log",
    benchmark:
        f"{RESULTS}/benchmarks/figures/pretraining.tsv"
    conda:
        "../envs/ptpp.yaml"
    params:
        stages=list(STAGES.values()),
        code=code_digest("ptpp.report.figures.sweep"),
    script:
        "../scripts/figure_pretraining.py"


rule figure_adaptation:
    input:
        observations=f"{RESULTS}/observations.csv",
    output:
        report(
            f"{RESULTS}/figures/adaptation.png",
            caption="../report/adaptation.rst",
            category="2 Sweep",
            labels={"what": "target loss against ATPP"},
        ),
        f"{RESULTS}/figures/adaptation.pdf",
    log:
        f"{LOGS}/figures/adaptation.log",
    benchmark:
        f"{RESULTS}/benchmarks/figures/adaptation.tsv"
    conda:
        "../envs/ptpp.yaml"
    params:
        target=TARGET,
        code=code_digest("ptpp.report.figures.sweep"),
    script:
        "../scripts/figure_adaptation.py"


rule figure_forgetting:
    input:
        observations=f"{RESULTS}/observations.csv",
    output:
        report(
            f"{RESULTS}/figures/forgetting.png",
            caption="../report/forgetting.rst",
            category="2 Sweep",
            labels={"what": "forgetting against replay"},
        ),
        f"{RESULTS}/figures/forgetting.pdf",
    log:
        f"{LOGS}/figures/forgetting.log",
    benchmark:
        f"{RESULTS}/benchmarks/figures/forgetting.tsv"
    conda:
        "../envs/ptpp.yaml"
    params:
        base=measured_bases(),
        code=code_digest("ptpp.report.figures.sweep"),
    script:
        "../scripts/figure_forgetting.py"


rule figure_calibration:
    input:
        predictions=f"{RESULTS}/tables/predictions.csv",
        scores=f"{RESULTS}/tables/scores.csv",
    output:
        report(
            f"{RESULTS}/figures/calibration.png",
            caption="../report/calibration.rst",
            category="3 Laws",
            labels={"what": "observed against predicted"},
        ),
        f"{RESULTS}/figures/calibration.pdf",
    log:
        f"{LOGS}/figures/calibration.log",
    benchmark:
        f"{RESULTS}/benchmarks/figures/calibration.tsv"
    conda:
        "../envs/ptpp.yaml"
    params:
        target=TARGET,
        code=code_digest("ptpp.report.figures.laws"),
    script:
        "../scripts/figure_calibration.py"


rule figure_residuals:
    input:
        predictions=f"{RESULTS}/tables/predictions.csv",
        scores=f"{RESULTS}/tables/scores.csv",
    output:
        report(
            f"{RESULTS}/figures/residuals.png",
            caption="../report/residuals.rst",
            category="3 Laws",
            labels={"what": "residuals by stage"},
        ),
        f"{RESULTS}/figures/residuals.pdf",
    log:
        f"{LOGS}/figures/residuals.log",
    benchmark:
        f"{RESULTS}/benchmarks/figures/residuals.tsv"
    conda:
        "../envs/ptpp.yaml"
    params:
        target=TARGET,
        code=code_digest("ptpp.report.figures.laws"),
    script:
        "../scripts/figure_residuals.py"


rule figure_plan:
    input:
        fits=plan_fits,
        plan=f"{RESULTS}/plan/plan.csv",
        robust=f"{RESULTS}/plan/robust.csv",
    output:
        report(
            f"{RESULTS}/figures/plan.png",
            caption="../report/plan.rst",
            category="4 Plan",
            labels={"what": "predicted loss and the plan"},
        ),
        f"{RESULTS}/figures/plan.pdf",
    log:
        f"{LOGS}/figures/plan.log",
    benchmark:
        f"{RESULTS}/benchmarks/figures/plan.tsv"
    conda:
        "../envs/ptpp.yaml"
    params:
        request=plan_request(),
        headline=plan_headline(),
        code=code_digest("ptpp.report.figures.planning", "ptpp.planning"),
    script:
        "../scripts/figure_plan.py"


rule figure_residuals_by_input:
    input:
        predictions=f"{RESULTS}/tables/predictions.csv",
        scores=f"{RESULTS}/tables/scores.csv",
    output:
        report(
            f"{RESULTS}/figures/residuals_by_input.png",
            caption="../report/residuals_by_input.rst",
            category="3 Laws",
            labels={"what": "residuals against every input"},
        ),
        f"{RESULTS}/figures/residuals_by_input.pdf",
    log:
        f"{LOGS}/figures/residuals_by_input.log",
    benchmark:
        f"{RESULTS}/benchmarks/figures/residuals_by_input.tsv"
    conda:
        "../envs/ptpp.yaml"
    params:
        target=TARGET,
        protocol=config["plan"]["protocol"],
        code=code_digest("ptpp.report.figures.laws"),
    script:
        "../scripts/figure_residuals_by_input.py"


rule figure_law_comparison:
    input:
        intervals=f"{RESULTS}/tables/score_intervals.csv",
        scores=f"{RESULTS}/tables/scores.csv",
    output:
        report(
            f"{RESULTS}/figures/law_comparison.png",
            caption="../report/law_comparison.rst",
            category="3 Laws",
            labels={"what": "laws compared, with intervals"},
        ),
        f"{RESULTS}/figures/law_comparison.pdf",
    log:
        f"{LOGS}/figures/law_comparison.log",
    benchmark:
        f"{RESULTS}/benchmarks/figures/law_comparison.tsv"
    conda:
        "../envs/ptpp.yaml"
    params:
        target=TARGET,
        code=code_digest("ptpp.report.figures.uncertainty"),
    script:
        "../scripts/figure_law_comparison.py"


rule figure_profile:
    input:
        profiles=headline_fits("profile.csv"),
        verdicts=headline_fits("verdicts.csv"),
    output:
        report(
            f"{RESULTS}/figures/profile.png",
            caption="../report/profile.rst",
            category="3 Laws",
            labels={"what": "profile of every parameter"},
        ),
        f"{RESULTS}/figures/profile.pdf",
    log:
        f"{LOGS}/figures/profile.log",
    benchmark:
        f"{RESULTS}/benchmarks/figures/profile.tsv"
    conda:
        "../envs/ptpp.yaml"
    params:
        target=TARGET,
        law=config["plan"]["law"],
        code=code_digest("ptpp.report.figures.uncertainty"),
    script:
        "../scripts/figure_profile.py"


rule figure_anchor_sweep:
    input:
        sweep=f"{RESULTS}/tables/anchor_sweep.csv",
        scores=f"{RESULTS}/tables/scores.csv",
    output:
        report(
            f"{RESULTS}/figures/anchor_sweep.png",
            caption="../report/anchor_sweep.rst",
            category="3 Laws",
            labels={"what": "error against the number of anchors"},
        ),
        f"{RESULTS}/figures/anchor_sweep.pdf",
    log:
        f"{LOGS}/figures/anchor_sweep.log",
    benchmark:
        f"{RESULTS}/benchmarks/figures/anchor_sweep.tsv"
    conda:
        "../envs/ptpp.yaml"
    params:
        target=TARGET,
        code=code_digest("ptpp.report.figures.uncertainty"),
    script:
        "../scripts/figure_anchor_sweep.py"
