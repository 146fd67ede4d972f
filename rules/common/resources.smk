# What jobs ask of the machine. Changed resources rerun nothing.


def growing(amount):
    """A resource that grows with every retry."""

    def resource(wildcards, attempt):
        return amount * attempt

    return resource


def training_threads(rule):
    """As many as a size asks for in `rule`; else one for each process on a node."""

    def threads(wildcards):
        size = SIZES[MODELS[wildcards.model][0]]
        return size_resources(size, rule).get("threads", size.get("devices", 1))

    return threads


def training_resources(rule):
    """What `rule` asks for at each size, and how it trains: a changed resource reruns nothing.

    Numbers of memory and time grow with every retry; texts ("23h") stay as they are.
    """
    default = {"mem": 2000, "runtime": 240}
    requests = {
        name: node_request(size, default | gpu_request(size, rule) | size_resources(size, rule))
        for name, size in SIZES.items()
    }

    def resource(name):
        def value(wildcards, attempt):
            amount = requests[MODELS[wildcards.model][0]].get(name)
            return amount * attempt if name in default and isinstance(amount, int) else amount

        return value

    def of_size(key, default):
        return lambda wildcards: SIZES[MODELS[wildcards.model][0]].get(key, default)

    names = {name for resources in requests.values() for name in resources} - {"threads"}
    return {name: resource(name) for name in sorted(names)} | {
        "devices": of_size("devices", 1),
        "jobs_per_gpu": config["jobs_per_gpu"],
        "compile": str(config["compile"]).lower(),
        "save_every": config["save_every"],
        "tensorboard": int(config["tensorboard"]),
    }


def size_resources(size, rule):
    """A size's own `resources`, of which some may be given by rule.

    Memory goes by `mem`, under which Snakemake takes numbers (MB) and texts ("64GB").
    """
    request = {
        "mem" if name == "mem_mb" else name: value.get(rule) if isinstance(value, dict) else value
        for name, value in size.get("resources", {}).items()
    }
    return {name: value for name, value in request.items() if value is not None}


def gpu_request(size, rule):
    """Where training must be on GPUs, one for each device of a node."""
    request = size_resources(size, rule)
    if config["device"] == "cuda" and "gres" not in request:
        request = {"gpu": size.get("devices", 1)} | request
    return {"gpu": request["gpu"], "nodes": 1} if request.get("gpu") else {}


def node_request(size, request):
    """The same request over all nodes of a size.

    With `mpi` the executor starts the job's script once, on the first node, where it starts one
    `srun` for all. SLURM counts `gpu` (--gpus) over the whole job, and `gres` on every node.
    """
    if (nodes := size.get("nodes", 1)) == 1:
        return request
    rest = {key: value for key, value in request.items() if key not in ("gpu", "gpu_model")}
    if request.get("gpu"):
        kind = ["gpu", *filter(None, [request.get("gpu_model")]), str(request["gpu"])]
        rest["gres"] = ":".join(kind)
    return rest | {"nodes": nodes, "mpi": "srun", "tasks": nodes, "tasks_per_gpu": 0}


def check_executor():
    """End before the first job where one asks for several nodes and nothing can give them."""
    for job in workflow.dag.needrun_jobs():
        nodes = job.resources.get("nodes", 1)
        if nodes > 1 and workflow.local_exec and not workflow.touch:
            sys.exit(
                f"error: config: models.sizes: nodes {nodes}, of {job}: accepted is 1 without a "
                "cluster; start Snakemake with --workflow-profile profiles/slurm (docs/slurm.md)"
            )
