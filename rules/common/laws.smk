# Observations, anchors, fits and plans.


def held_out_stage():
    """The name of the stage that laws must predict."""
    if HELD_OUT is None:
        raise WorkflowError(
            "config: held_out.ptpp: null measures only; laws and plans need a held-out stage, or "
            "`python -m ptpp fit` on the table"
        )
    return f"{HELD_OUT:g}"


def observation_sources(wildcards):
    """The sweep's own measurements with what `keep_applied` kept, or the finished table."""
    if EXPERIMENT.observations:
        return EXPERIMENT.observations
    return run_tables() + sorted(map(str, Path(KEPT).glob("*.csv")))


def anchor_sources(wildcards):
    """Only the held-out runs of the sizes that anchors are taken from."""
    stage = held_out_stage()
    if not EXPERIMENT.is_trained:
        return f"{RESULTS}/observations.csv"
    sizes = EXPERIMENT.anchor_sizes()
    late = [pair for pair in CHECKPOINTS if pair[1] == stage]
    return run_tables([pair for pair in late if MODELS[pair[0]][0] in sizes])


def anchor_grid():
    """The design anchors are chosen from; a finished table brings its own."""
    if not EXPERIMENT.is_trained:
        return None
    axes = {axis: list(config["adaptation"][axis]) for axis in ("replay", "atpp")}
    return {"sizes": EXPERIMENT.anchor_sizes()} | axes


def fits(suffix="json", protocols=None):
    """Files of every fit, or of those under some protocols."""
    return [path for law in LAWS for path in law_fits(law, suffix, protocols=protocols)]


def judged_fits(suffix="json"):
    """Files of the fits that are scored on the held-out stage."""
    return fits(suffix, PROTOCOLS)


def planning_fits(suffix="json"):
    """Files of the fits that plans are made by, to all rows."""
    return fits(suffix, [ALL_ROWS])


def law_fits(law, suffix="json", domains=None, protocols=None):
    """Files of the fits of one law, by protocol and domain."""
    return [
        f"{RESULTS}/fits/{law}.{protocol}.{domain}.{suffix}"
        for protocol in protocols or FIT_PROTOCOLS
        for domain in domains or LAWS[law]
    ]


def fit_files(law, domains):
    """The outputs of a job that fits one law: four files a fit, in the same order."""
    suffixes = {"fits": "json", "draws": "npz"}
    suffixes |= {"profiles": "profile.csv", "verdicts": "verdicts.csv"}
    return {name: law_fits(law, suffix, domains) for name, suffix in suffixes.items()}


def fit_params(law, domains):
    """The parameters of a job that fits one law, in the order of `fit_files`."""
    modules = ("ptpp.laws.experiment", "ptpp.laws.uncertainty", "ptpp.laws.identifiability")
    modules += ("ptpp.laws.misfit",)
    return {
        "law": law,
        "domains": domains,
        "protocols": FIT_PROTOCOLS,
        "held_out": HELD_OUT,
        "asked": config["plan"]["ptpp"],
        "krige": config["laws"]["krige"],
        "settings": fit_settings(),
        "resampling": {"draws": config["laws"]["bootstrap"], "seed": config["laws"]["seed"]},
        "code": code_digest(*modules),
    }


def fit_settings():
    """How every fit is made, as `ptpp.laws.fitting.FitSettings`."""
    keys = {"huber_delta": "delta", "starts": "starts", "seed": "seed"}
    return {new: config["laws"][old] for old, new in keys.items()}


def plan_wishes():
    """The plan's models and limits, as `ptpp.planning.make_requests` reads them."""
    elsewhere = ("law", "from_scratch")
    return {key: value for key, value in config["plan"].items() if key not in elsewhere}


def plan_fits(wildcards):
    """The headline's target fit, then a forgetting fit for every base domain."""
    pairs = [(PLAN_LAW, TARGET)]
    pairs += [(law, domain) for law in EXPERIMENT.laws.base for domain in LAWS.get(law, [])]
    return [f"{RESULTS}/fits/{law}.{ALL_ROWS}.{domain}.json" for law, domain in pairs]
