rule fit:
    input:
        observations=f"{RESULTS}/observations.csv",
        anchors=fit_anchors,
        declaration=declaration,
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


rule bootstrap:
    input:
        observations=f"{RESULTS}/observations.csv",
        anchors=fit_anchors,
        fit=f"{RESULTS}/fits/{{law}}.{{protocol}}.{{domain}}.json",
    output:
        f"{RESULTS}/fits/{{law}}.{{protocol}}.{{domain}}.npz",
    log:
        f"{LOGS}/bootstrap/{{law}}.{{protocol}}.{{domain}}.log",
    conda:
        "../envs/ptpp.yaml"
    params:
        held_out=HELD_OUT,
        settings=bootstrap_settings(),
        code=code_digest("ptpp.laws.uncertainty"),
    script:
        "../scripts/bootstrap.py"


rule profile:
    input:
        observations=f"{RESULTS}/observations.csv",
        anchors=fit_anchors,
        fit=f"{RESULTS}/fits/{{law}}.{{protocol}}.{{domain}}.json",
    output:
        profile=f"{RESULTS}/fits/{{law}}.{{protocol}}.{{domain}}.profile.csv",
        verdicts=f"{RESULTS}/fits/{{law}}.{{protocol}}.{{domain}}.verdicts.csv",
    log:
        f"{LOGS}/profile/{{law}}.{{protocol}}.{{domain}}.log",
    conda:
        "../envs/ptpp.yaml"
    params:
        held_out=HELD_OUT,
        code=code_digest("ptpp.laws.identifiability"),
    script:
        "../scripts/profile.py"


rule laws:
    input:
        law_outputs(),
