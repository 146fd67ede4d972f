# Before anything starts: what the configured experiment will take.
rule cost_estimate:
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


# Without an output it always runs, and so always prints.
rule cost:
    input:
        beside_others,
        text=f"{RESULTS}/tables/cost_estimate.txt",
    log:
        f"{LOGS}/cost.log",
    conda:
        "../envs/ptpp.yaml"
    shell:
        "cat {input.text} 2> {log}"
