# Which model the plan is carried out on.

# Measured rows of plans that were carried out, kept for the table. No rule's output, so that the
# table follows from them without a cycle.
KEPT = f"{RESULTS}/measured"


def find_planned():
    """The planned model and its stage, named like wildcards, or None and why there is none."""
    if not EXPERIMENT.is_trained:
        return None, "observations names a finished table, and no checkpoint (docs/plan.md)"
    if HELD_OUT is None:
        return None, "held_out.ptpp: null measures only, so there is no plan"
    size = EXPERIMENT.planned_size()
    if size is None:
        return None, "this run has no model of plan.n_params at the stage plan.ptpp"
    model = next(name for name, (of, _) in MODELS.items() if of == size.name)
    return SimpleNamespace(model=model, ptpp=f"{EXPERIMENT.plan.ptpp:g}"), ""


PLANNED, NOT_PLANNED = find_planned()


def of_planned(resource):
    """A resource or parameter of `adapt`, for the planned model."""
    if not callable(resource):
        return resource
    if "attempt" in signature(resource).parameters:
        return lambda wildcards, attempt: resource(PLANNED, attempt)
    return lambda wildcards: resource(PLANNED)


def outcome_text(wildcards):
    """The outcome in words."""
    if PLANNED is None:
        raise WorkflowError(f"apply: {NOT_PLANNED}")
    return f"{RESULTS}/applied/applied.txt"


def outcome_rows(wildcards):
    """What was measured of the adapted model."""
    return [outcome_text(wildcards) and f"{RESULTS}/applied/observations.csv"]
