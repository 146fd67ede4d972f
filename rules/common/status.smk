# What a sweep consists of, for those who ask beside it.


def cost_request():
    """What the cost of an experiment follows from."""
    keys = ["observations", "corpora", "tokenizer", "models", "pretraining", "adaptation"]
    return {key: config[key] for key in [*keys, "replays_per_job", "cost"]}


def beside_others(wildcards):
    """No input. Where only `status` or `cost` is asked for: no lock, no report, few words.

    These two clash with no job at work in this folder, yet Snakemake, once done, removes all locks
    there are. `--nolock` would prevent it, but cannot be said of a rule, so this does the same.
    """
    if set(workflow.dag_settings.targets) in ({"status"}, {"cost"}):
        workflow.persistence.lock = workflow.persistence.noop
        workflow.execution_settings.no_hooks = True
        if not workflow.dryrun:
            logger.setLevel("ERROR")
    return []


def planned(name, what, wildcards=None, **details):
    """A job of a complete run, in the words of `ptpp.jobs.status.PlannedJob`."""
    known = getattr(rules, name)
    log, *outputs = [
        apply_wildcards(path, wildcards or {}) for path in (known.log[0], *known.output)
    ]
    job = Path(log).relative_to(LOGS).with_suffix("").as_posix()
    return {"job": job, "what": what, "outputs": tuple(outputs), **details}


def training_jobs():
    """Text, then each stage's pre-training, then its adaptation."""
    if config["observations"]:
        return []
    jobs = [planned("tokenizer", "text")]
    jobs += [
        planned("tokens", "text", {"language": language, "split": split})
        for language in LANGUAGES
        for split in ("train", "valid")
    ]
    checkpoints = [pair for stage in STAGES for pair in CHECKPOINTS if pair[1] == stage]
    for model, ptpp in checkpoints:
        wildcards = {"model": model, "ptpp": ptpp}
        if model in GIVEN:  # not trained, and done in seconds
            jobs.append(planned("adopt", "adoption", wildcards, ptpp=ptpp))
            continue
        details = wildcards | {"size": MODELS[model][0], "runs": 1}
        jobs.append(planned("pretrain", "pre-training", wildcards, **details))
    for model, ptpp in checkpoints:
        for group in replay_groups():
            wildcards = {"model": model, "ptpp": ptpp}
            details = wildcards | {"size": MODELS[model][0], "runs": group.count("+") + 1}
            wildcards = wildcards | {"replays": group}
            jobs.append(planned("adapt", "adaptation", wildcards, **details))
    return jobs


def law_jobs():
    """Fits, and every rule that is a single job."""
    what = "laws and tables"
    if HELD_OUT is None:
        names = ["observations", "costs", "seed_noise", *(f"figure_{name}" for name in FIGURES)]
        return [planned(name, what) for name in names]
    jobs = [
        planned("fit", what, {"law": law, "protocol": protocol, "domain": domain})
        for law, domain in FITS
        for protocol in config["laws"]["protocols"]
    ]
    names = ["observations", "anchors", "predictions", "scores", "seed_noise", "comparison"]
    names += ["cross_validation", "identifiability", "anchor_sweep", "plan", "plan_regret"]
    names += ["planner_page", *(f"figure_{name}" for name in FIGURES + LAW_FIGURES)]
    names += [] if config["observations"] else ["costs"]
    return jobs + [planned(name, what) for name in names]


def sweep_jobs(wildcards):
    """A function of wildcards, so that only `status` waits for it."""
    return training_jobs() + law_jobs()
