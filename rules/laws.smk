# A fit, its refits to resampled runs and its profiles take a second together, as long as a process
# takes to start: one job.
rule fit:
    input:
        observations=f"{RESULTS}/observations.csv",
        anchors=fit_anchors,
        declaration=declaration,
    output:
        fit=f"{RESULTS}/fits/{{law}}.{{protocol}}.{{domain}}.json",
        draws=f"{RESULTS}/fits/{{law}}.{{protocol}}.{{domain}}.npz",
        profile=f"{RESULTS}/fits/{{law}}.{{protocol}}.{{domain}}.profile.csv",
        verdicts=f"{RESULTS}/fits/{{law}}.{{protocol}}.{{domain}}.verdicts.csv",
    log:
        f"{LOGS}/fits/{{law}}.{{protocol}}.{{domain}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/fits/{{law}}.{{protocol}}.{{domain}}.tsv"
    priority: 20
    conda:
        "../envs/ptpp.yaml"
    params:
        held_out=HELD_OUT,
        settings=fit_settings(),
        resampling=bootstrap_settings(),
        code=code_digest(
            "ptpp.laws.experiment", "ptpp.laws.uncertainty", "ptpp.laws.identifiability"
        ),
    script:
        "../scripts/fit.py"


rule laws:
    input:
        law_outputs(),
