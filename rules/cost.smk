localrules:
    cost_estimate,
    cost,
    costs,


rule cost_estimate:
    """Estimate tokens, FLOPs, hours and disk of the configured run."""
    output:
        csv=f"{RESULTS}/tables/cost_estimate.csv",
        md=f"{RESULTS}/tables/cost_estimate.md",
        tex=f"{RESULTS}/tables/cost_estimate.tex",
        text=f"{RESULTS}/tables/cost_estimate.txt",
    log:
        f"{LOGS}/cost_estimate.log",
    benchmark:
        f"{RESULTS}/benchmarks/cost_estimate.tsv"
    conda:
        "../envs/ptpp.yaml"
    params:
        config=cost_request(),
        code=code_digest("ptpp.cost.estimate", "ptpp.report.tables"),
    script:
        "../scripts/cost_estimate.py"


rule cost:
    """Print what the configured run will take, before it starts."""

    # Without an output it always runs, and so always prints.
    input:
        run_beside_others,
        text=f"{RESULTS}/tables/cost_estimate.txt",
    log:
        f"{LOGS}/cost.log",
    conda:
        "../envs/ptpp.yaml"
    shell:
        "cat {input.text} 2> {log}"


rule costs:
    """Sum up what training took."""
    input:
        cost_tables(),
    output:
        **table_files("costs", "what the sweep took", "5 Cost"),
        runs=f"{RESULTS}/costs.csv",
    log:
        f"{LOGS}/costs.log",
    benchmark:
        f"{RESULTS}/benchmarks/costs.tsv"
    conda:
        "../envs/ptpp.yaml"
    params:
        code=code_digest("ptpp.cost.measured", "ptpp.report.tables"),
    script:
        "../scripts/costs.py"
