rule plan:
    input:
        fits=planned_fits(),
    output:
        csv=report(
            f"{RESULTS}/plan/plan.csv",
            caption="../report/plan_table.rst",
            category="4 Plan",
            labels={"what": "the plan by every law"},
        ),
        md=f"{RESULTS}/plan/plan.md",
        tex=f"{RESULTS}/plan/plan.tex",
    log:
        f"{LOGS}/plan.log",
    conda:
        "../envs/ptpp.yaml"
    params:
        request=plan_request(),
        code=code_digest("ptpp.plan", "ptpp.tables"),
    script:
        "../scripts/plan.py"
