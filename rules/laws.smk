rule fit:
    input:
        observations=f"{RESULTS}/observations.csv",
        anchors=fit_anchors,
    output:
        f"{RESULTS}/fits/{{law}}.{{protocol}}.{{domain}}.json",
    log:
        f"{LOGS}/fits/{{law}}.{{protocol}}.{{domain}}.log",
    conda:
        "../envs/ptpp.yaml"
    params:
        held_out=HELD_OUT,
        settings=fit_settings(),
        code=code_digest("ptpp.laws.experiment"),
    script:
        "../scripts/fit.py"


rule laws:
    input:
        fits(),
