# How far the sweep is, at any time, also while another Snakemake works in this folder. Without an
# output it always runs, and so always prints.
rule status:
    input:
        beside_others,
    log:
        f"{LOGS}/status.log",
    conda:
        "../envs/ptpp.yaml"
    params:
        jobs=sweep_jobs,
        config=cost_request(),
        results=RESULTS,
    script:
        "../scripts/status.py"
