rule plan:
    input:
        fits=planned_fits("json"),
        draws=planned_fits("npz"),
        observations=f"{RESULTS}/observations.csv",
        anchors=f"{RESULTS}/anchors.csv",
        regret=f"{RESULTS}/tables/plan_regret.csv",
        from_scratch=config["plan"]["from_scratch"] or [],
    output:
        plan=report(
            f"{RESULTS}/plan/plan.csv",
            caption="../report/plan_table.rst",
            category="4 Plan",
            labels={"what": "the plan by every law"},
        ),
        plan_md=f"{RESULTS}/plan/plan.md",
        plan_tex=f"{RESULTS}/plan/plan.tex",
        robust=report(
            f"{RESULTS}/plan/robust.csv",
            caption="../report/plan_robust.rst",
            category="4 Plan",
            labels={"what": "robust plans"},
        ),
        robust_md=f"{RESULTS}/plan/robust.md",
        robust_tex=f"{RESULTS}/plan/robust.tex",
        least_loss=report(
            f"{RESULTS}/plan/least_loss.csv",
            caption="../report/plan_least_loss.rst",
            category="4 Plan",
            labels={"what": "the least loss within the limits"},
        ),
        least_loss_md=f"{RESULTS}/plan/least_loss.md",
        least_loss_tex=f"{RESULTS}/plan/least_loss.tex",
        relaxations=report(
            f"{RESULTS}/plan/relaxations.csv",
            caption="../report/plan_relaxations.rst",
            category="4 Plan",
            labels={"what": "what would make a plan feasible"},
        ),
        relaxations_md=f"{RESULTS}/plan/relaxations.md",
        relaxations_tex=f"{RESULTS}/plan/relaxations.tex",
        front=report(
            f"{RESULTS}/plan/front.csv",
            caption="../report/plan_front.rst",
            category="4 Plan",
            labels={"what": "the Pareto front"},
        ),
        front_md=f"{RESULTS}/plan/front.md",
        front_tex=f"{RESULTS}/plan/front.tex",
        break_even=report(
            f"{RESULTS}/plan/break_even.csv",
            caption="../report/plan_break_even.rst",
            category="4 Plan",
            labels={"what": "break-even against training from scratch"},
        ),
        break_even_md=f"{RESULTS}/plan/break_even.md",
        break_even_tex=f"{RESULTS}/plan/break_even.tex",
        next_measurement=report(
            f"{RESULTS}/plan/next_measurement.csv",
            caption="../report/plan_next_measurement.rst",
            category="4 Plan",
            labels={"what": "the next measurement worth buying"},
        ),
        next_measurement_md=f"{RESULTS}/plan/next_measurement.md",
        next_measurement_tex=f"{RESULTS}/plan/next_measurement.tex",
    log:
        f"{LOGS}/plan.log",
    benchmark:
        f"{RESULTS}/benchmarks/plan.tsv"
    priority: 20  # with the fits it waits for, so that the longest chain after training ends first
    conda:
        "../envs/ptpp.yaml"
    params:
        request=plan_request(),
        held_out=HELD_OUT,
        target=TARGET,
        settings=fit_settings(),
        code=code_digest("ptpp.planning", "ptpp.report.tables"),
    script:
        "../scripts/plan.py"


rule plan_regret:
    input:
        observations=f"{RESULTS}/observations.csv",
        anchors=f"{RESULTS}/anchors.csv",
        fits=fits(),
        draws=fits("npz"),
    output:
        regret=report(
            f"{RESULTS}/tables/plan_regret.csv",
            caption="../report/plan_regret.rst",
            category="4 Plan",
            labels={"what": "plans checked against measurements"},
        ),
        regret_md=f"{RESULTS}/tables/plan_regret.md",
        regret_tex=f"{RESULTS}/tables/plan_regret.tex",
        cases=f"{RESULTS}/tables/plan_regret_cases.csv",
    log:
        f"{LOGS}/plan_regret.log",
    benchmark:
        f"{RESULTS}/benchmarks/plan_regret.tsv"
    priority: 20
    conda:
        "../envs/ptpp.yaml"
    params:
        held_out=HELD_OUT,
        confidence=config["plan"]["confidence"],
        code=code_digest("ptpp.planning", "ptpp.report.tables"),
    script:
        "../scripts/plan_regret.py"
