# What a sweep consists of, and how `status` and `cost` run beside other Snakemakes.


def cost_request():
    """What the cost of an experiment follows from."""
    keys = ["observations", "corpora", "tokenizer", "models", "pretraining", "adaptation"]
    return {key: config[key] for key in [*keys, "replays_per_job", "cost"]}


def only_prints():
    """Whether nothing but `status` or `cost` was asked for."""
    return set(workflow.dag_settings.targets) in ({"status"}, {"cost"})


def run_beside_others(wildcards):
    """No input. Where only `status` or `cost` is asked for: no lock, few words.

    Snakemake removes all locks of a folder when it ends, also those of another Snakemake that is at
    work. `--nolock` prevents it, but a rule cannot set it, and the setting behind it is read before
    any rule is; so this replaces the one method that locks. Nothing else of Snakemake is changed.
    """
    if only_prints():
        workflow.persistence.lock = workflow.persistence.noop
        if not workflow.dryrun:
            logger.setLevel("ERROR")
    return []


def describe_job(rule, what, wildcards=None, **details):
    """A job of a complete run: the fields of `ptpp.jobs.status.PlannedJob`."""
    definition = getattr(rules, rule)
    log, *outputs = [
        apply_wildcards(path, wildcards or {}) for path in (definition.log[0], *definition.output)
    ]
    job = Path(log).relative_to(LOGS).with_suffix("").as_posix()
    return {"job": job, "what": what, "outputs": tuple(outputs), **details}


def training_jobs():
    """Text, then each stage's pre-training, then its adaptation."""
    if not EXPERIMENT.is_trained:
        return []
    jobs = [describe_job("tokenizer", "text")]
    for language in LANGUAGES:
        for split in ("train", "valid"):
            jobs.append(describe_job("tokens", "text", {"language": language, "split": split}))
    pairs = [pair for stage in STAGES for pair in CHECKPOINTS if pair[1] == stage]
    checkpoints = [{"model": model, "ptpp": ptpp} for model, ptpp in pairs]
    for one in checkpoints:
        if one["model"] in EXTERNAL:  # not trained, and done in seconds
            jobs.append(describe_job("adopt", "adoption", one, ptpp=one["ptpp"]))
        else:
            details = one | {"size": MODELS[one["model"]][0], "runs": 1}
            jobs.append(describe_job("pretrain", "pre-training", one, **details))
    for one in checkpoints:
        for group in replay_groups():
            details = one | {"size": MODELS[one["model"]][0], "runs": group.count("+") + 1}
            jobs.append(describe_job("adapt", "adaptation", one | {"replays": group}, **details))
    return jobs


def sweep_jobs(wildcards):
    """Training, fits, tables, figures and the report. Only `status` waits for it."""
    names = ["observations", *["costs"] * EXPERIMENT.is_trained, "figures_sweep"]
    laws = LAWS if HELD_OUT is not None else []
    if laws:
        names += ["anchors", "law_tables", "cross_validation", "anchor_sweep"]
        names += ["plan_regret", "plan", "planner_page", "figures_laws", "figures_plan"]
        names += ["carry_out"] * bool(PLANNED)
    rules_of = [("fit" if law in TARGET_LAWS else "fit_forgetting", {"law": law}) for law in laws]
    jobs = [*rules_of, *((name, None) for name in [*names, "report"])]
    return training_jobs() + [describe_job(rule, "laws and tables", one) for rule, one in jobs]
