rule plan:
    input:
        fits=planned_fits("json"),
        draws=planned_fits("npz"),
        regret=f"{RESULTS}/tables/plan_regret.csv",
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
    log:
        f"{LOGS}/plan.log",
    conda:
        "../envs/ptpp.yaml"
    params:
        request=plan_request(),
        code=code_digest("ptpp.planning", "ptpp.tables"),
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
    conda:
        "../envs/ptpp.yaml"
    params:
        held_out=HELD_OUT,
        confidence=config["plan"]["confidence"],
        code=code_digest("ptpp.planning", "ptpp.tables"),
    script:
        "../scripts/plan_regret.py"
