# Who is trained or adopted, how, and in which order; and the tables it leaves.


def model_record(wildcards):
    """Who is trained: the fields of `ptpp.training.job.Model`, in plain values."""
    size, seed = MODELS[wildcards.model]
    return size_record(size) | {"name": wildcards.model, "seed": seed}


def size_record(size):
    """The same of a size's first model."""
    entry = SIZES[size]
    shape = ("n_params",) if is_external(entry) else ("width", "depth", "heads")
    return {
        "name": size,
        "size": size,
        "seed": entry["seeds"][0],
        "context": config["models"]["context"],
        "vocab_size": config["tokenizer"]["vocab_size"],
        "count": config["models"]["count"],
        "device": config["device"],
        "batch_tokens": entry["batch_tokens"],
        "micro_batch_tokens": entry.get("micro_batch_tokens"),
    } | {key: entry[key] for key in shape}


def pretraining_optimiser():
    return {key: value for key, value in config["pretraining"].items() if key != "ptpp"}


def adaptation_optimiser(wildcards):
    """CPT starts from the pre-training peak rate times `rewarm`; a model from elsewhere has its own."""
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


def external_checkpoint(wildcards):
    """The entry of `checkpoints` that stands for a stage, as configured."""
    entries = SIZES[MODELS[wildcards.model][0]]["checkpoints"]
    return dict(next(entry for entry in entries if f"{entry['ptpp']:g}" == wildcards.ptpp))


def external_files(wildcards):
    """Files of a checkpoint from elsewhere; one of the Hub has none here."""
    model = Path(external_checkpoint(wildcards)["model"])
    if not model.is_dir():
        return []
    own = tokenizer_files(model) if (model / "tokenizer.json").is_file() else []
    return sorted({*model_files(model), *own})


def external_declarations():
    """Every checkpoint from elsewhere with what is declared of its size."""
    return [
        {"model": size_record(name), "entry": dict(entry)}
        for name, size in SIZES.items()
        if is_external(size)
        for entry in size["checkpoints"]
    ]


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


def run_tables(checkpoints=CHECKPOINTS):
    """Measured losses of every checkpoint and of every CPT trajectory from it."""
    return [path for pair in checkpoints for path in job_tables("runs", *pair, "zero_shot")]


def cost_tables():
    """What every job took that trained or took over a checkpoint."""
    made = {True: "adopt", False: "pretrain"}
    tables = [job_tables("costs", *pair, made[pair[0] in EXTERNAL]) for pair in CHECKPOINTS]
    return [path for paths in tables for path in paths]


def job_tables(folder, model, ptpp, first):
    """The table `first` of a checkpoint, and one of each job that adapts it."""
    names = [first, *(f"replay{group}" for group in replay_groups())]
    return [f"{RESULTS}/{folder}/{model}.ptpp{ptpp}.{name}.csv" for name in names]


def last_curves():
    """The last stage's curve holds its trunk's whole way."""
    last = list(STAGES)[-1]
    return [f"{RESULTS}/curves/{model}.ptpp{last}.csv" for model in TRAINED]


def trunk_decay():
    """The share of its budget over which a checkpoint leaves the trunk; without a trunk, None."""
    section = config["pretraining"]
    return section["decay_fraction"] if section["schedule"] == "wsd" else None


# Jobs that tokenise check them first. No parameter, since a changed model changes no text.
config["declarations"] = external_declarations()
