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
    """The sweep's own measurements, or the user's finished table."""
    return config["observations"] or run_tables()


def anchor_sources(wildcards):
    """Only the held-out runs of the sizes that anchors are taken from."""
    stage = held_out_stage()
    if config["observations"]:
        return f"{RESULTS}/observations.csv"
    sizes = anchor_sizes(config)
    models = [model for model, (size, _) in MODELS.items() if size in sizes]
    return run_tables([pair for pair in CHECKPOINTS if pair[0] in models and pair[1] == stage])


def anchor_grid():
    """The design anchors are chosen from; a user's table brings its own."""
    if config["observations"]:
        return None
    return {
        "sizes": anchor_sizes(config),
        "replay": list(config["adaptation"]["replay"]),
        "atpp": list(config["adaptation"]["atpp"]),
    }


def fits(suffix="json", without=()):
    return [
        f"{RESULTS}/fits/{law}.{protocol}.{domain}.{suffix}"
        for law, domain in FITS
        if law not in without
        for protocol in config["laws"]["protocols"]
    ]


def declaration(wildcards):
    """The file that declares a law, for laws that are not in the zoo."""
    return DECLARED.get(wildcards.law, [])


def law_sources():
    """Target laws by name or, where declared, by file."""
    return [DECLARED.get(law, law) for law in TARGET_LAWS]


def fit_anchors(wildcards):
    """Only the protocol that may see anchors depends on them."""
    held_out_stage()
    return f"{RESULTS}/anchors.csv" if wildcards.protocol == "with_anchors" else []


def fit_settings():
    keys = {"huber_delta": "delta", "starts": "starts", "seed": "seed"}
    return {new: config["laws"][old] for old, new in keys.items()}


def bootstrap_settings():
    return {"draws": config["laws"]["bootstrap"], "seed": config["laws"]["seed"]}


def sweep_request():
    return dict(config["laws"]["anchor_sweep"]) | {"seed": config["held_out"]["anchors"]["seed"]}
