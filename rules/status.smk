localrules:
    status,


rule status:
    """Print how far the run is, also while it is at work."""

    # Without an output it always runs, and so always prints.
    input:
        run_beside_others,
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
