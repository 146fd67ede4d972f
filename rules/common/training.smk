# Who is trained or adopted, how, and in which order; and the tables it leaves.


def model_spec(wildcards):
    """Who is trained, in plain values that Snakemake can compare between runs."""
    size, seed = MODELS[wildcards.model]
    shape = ("n_params",) if is_external(SIZES[size]) else ("width", "depth", "heads")
    return {
        "size": {key: SIZES[size][key] for key in ("name", *shape, "batch_tokens")},
        "seed": seed,
        "context": config["models"]["context"],
        "vocab_size": config["tokenizer"]["vocab_size"],
        "count": config["models"]["count"],
        "device": config["device"],
    }


def pretraining_optimiser():
    return {key: value for key, value in config["pretraining"].items() if key != "ptpp"}


def adaptation_optimiser(wildcards):
    """CPT starts from the pre-training peak rate times `rewarm`; a given model has its own."""
    section, before = config["adaptation"], config["pretraining"]
    size = SIZES[MODELS[wildcards.model][0]]
    rate = size["learning_rate"] if is_external(size) else before["learning_rate"]
    keys = ("schedule", "decay_fraction", "warmup", "weight_decay", "betas", "clip")
    return {key: section[key] for key in keys} | {
        "base_width": before["base_width"],
        "learning_rate": rate * section["rewarm"],
    }


def stage(wildcards):
    return STAGES[wildcards.ptpp]


def replay_ratios(wildcards):
    return [REPLAYS[replay] for replay in wildcards.replays.split("+")]


def replay_groups():
    """The replay ratios that share a job, as wildcards: 0+0.05+0.25."""
    names, size = list(REPLAYS), config["replays_per_job"] or len(REPLAYS)
    return ["+".join(names[k : k + size]) for k in range(0, len(names), size)]


def given_checkpoint(wildcards):
    """The checkpoint of the user's own that stands for a stage, as configured."""
    entries = SIZES[MODELS[wildcards.model][0]]["checkpoints"]
    return dict(next(entry for entry in entries if f"{entry['ptpp']:g}" == wildcards.ptpp))


def given_files(wildcards):
    """Files of a checkpoint of the user's own; one of the Hub has none here."""
    model = Path(given_checkpoint(wildcards)["model"])
    if not model.is_dir():
        return []
    brought = tokenizer_files(model) if (model / "tokenizer.json").is_file() else []
    return sorted({*model_files(model), *brought})


def pretraining_priority(wildcards):
    """The longest chain first: what the largest model still has to do decides when all ends."""
    return 1_000_000 + adaptation_priority(wildcards)


def adaptation_priority(wildcards):
    """Large ones first, so that small ones fill the gaps at the end."""
    return EXPERIMENT.n_params(EXPERIMENT.size(MODELS[wildcards.model][0]))


def previous_trunk(wildcards):
    """Each stage goes on from the trunk of the stage before it."""
    names = list(STAGES)
    place = names.index(wildcards.ptpp)
    return f"{RESULTS}/trunks/{wildcards.model}.ptpp{names[place - 1]}.safetensors" if place else []


def run_tables(checkpoints=tuple(CHECKPOINTS)):
    """Measured losses of every checkpoint and of every CPT trajectory from it."""
    return [
        f"{RESULTS}/runs/{model}.ptpp{ptpp}.{what}.csv"
        for model, ptpp in checkpoints
        for what in ["zero_shot", *(f"replay{group}" for group in replay_groups())]
    ]


def cost_tables():
    """What every job took that trained or took over a checkpoint."""
    return [
        f"{RESULTS}/costs/{model}.ptpp{ptpp}.{what}.csv"
        for model, ptpp in CHECKPOINTS
        for what in [
            "adopt" if model in EXTERNAL else "pretrain",
            *(f"replay{group}" for group in replay_groups()),
        ]
    ]


def last_curves():
    """The last stage's curve holds its trunk's whole way."""
    last = list(STAGES)[-1]
    return [f"{RESULTS}/curves/{model}.ptpp{last}.csv" for model in TRAINED]
