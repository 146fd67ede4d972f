# Observations, anchors and fits.


def held_out_stage():
    """The name of the stage that laws must predict."""
    if HELD_OUT is None:
        raise WorkflowError(
            "config: held_out.ptpp: null measures only; laws and plans need a held-out stage, or "
            "`python -m ptpp fit` on the table"
        )
    return f"{HELD_OUT:g}"


def observation_sources(wildcards):
    """The sweep's own measurements, or the finished table."""
    return EXPERIMENT.observations or run_tables()


def anchor_sources(wildcards):
    """Only the held-out runs of the sizes that anchors are taken from."""
    stage = held_out_stage()
    if not EXPERIMENT.is_trained:
        return f"{RESULTS}/observations.csv"
    sizes = EXPERIMENT.anchor_sizes()
    return run_tables(
        [
            (model, ptpp)
            for model, ptpp in CHECKPOINTS
            if ptpp == stage and MODELS[model][0] in sizes
        ]
    )


def anchor_grid():
    """The design anchors are chosen from; a finished table brings its own."""
    if not EXPERIMENT.is_trained:
        return None
    axes = {axis: list(config["adaptation"][axis]) for axis in ("replay", "atpp")}
    return {"sizes": EXPERIMENT.anchor_sizes()} | axes


def fits(suffix="json"):
    """Files of every fit."""
    return [path for law in LAWS for path in law_fits(law, suffix)]


def law_fits(law, suffix="json", domains=None):
    """Files of the fits of one law, by protocol and domain."""
    return [
        f"{RESULTS}/fits/{law}.{protocol}.{domain}.{suffix}"
        for protocol in PROTOCOLS
        for domain in domains or LAWS[law]
    ]


def fit_files(law, domains):
    """The outputs of a job that fits one law: four files a fit, in the same order."""
    suffixes = {
        "fits": "json",
        "draws": "npz",
        "profiles": "profile.csv",
        "verdicts": "verdicts.csv",
    }
    return {name: law_fits(law, suffix, domains) for name, suffix in suffixes.items()}


def fit_params(law, domains):
    """The parameters of a job that fits one law, in the order of `fit_files`."""
    modules = ("ptpp.laws.experiment", "ptpp.laws.uncertainty", "ptpp.laws.identifiability")
    return {
        "law": law,
        "domains": domains,
        "protocols": PROTOCOLS,
        "held_out": HELD_OUT,
        "settings": fit_settings(),
        "resampling": bootstrap_settings(),
        "code": code_digest(*modules),
    }


def fit_rule(law):
    """The rule that fits a law."""
    return "fit" if law in TARGET_LAWS else "fit_forgetting"


def declaration(wildcards):
    """The file that declares a law; none for laws of the package."""
    return DECLARED.get(wildcards.law, [])


def law_sources():
    """Target laws by name or, where declared, by file."""
    return [DECLARED.get(law, law) for law in TARGET_LAWS]


def fit_settings():
    """How every fit is made, as `ptpp.laws.fitting.FitSettings`."""
    keys = {"huber_delta": "delta", "starts": "starts", "seed": "seed"}
    return {new: config["laws"][old] for old, new in keys.items()}


def bootstrap_settings():
    return {"draws": config["laws"]["bootstrap"], "seed": config["laws"]["seed"]}


def sweep_request():
    return dict(config["laws"]["anchor_sweep"]) | {"seed": config["held_out"]["anchors"]["seed"]}
