"""The measured cost of a sweep: tokens, FLOPs and time, by size and kind of run."""

import pandas as pd

COLUMNS = (
    "run", "size", "seed", "device", "devices", "tokens", "flops", "seconds", "peak_memory_mib"
)  # fmt: skip


def cost_summary(costs: pd.DataFrame) -> pd.DataFrame:
    """Sums over runs, a row per size and kind of run, and the total last.

    `costs` has the columns `COLUMNS`, a row per run: a run named with a replay ratio is a CPT
    trajectory, one named "adopted" an external checkpoint, any other a pre-training stage. Tokens
    and seconds of a resumed run are those of all its starts. Returns columns size, kind, runs,
    tokens, flops (6 N D, branches included), share_of_flops, device_hours, tokens_per_second (of
    one device) and peak_memory_mib (the largest).
    """
    kind = costs["run"].map(_kind)
    groups = {
        (size, name): costs[(costs["size"] == size) & (kind == name)]
        for size in costs["size"].unique()
        for name in ("pre-training", "adoption", "adaptation")
    } | {("all", "all"): costs}
    table = pd.DataFrame(
        {"size": size, "kind": name} | _sums(part)
        for (size, name), part in groups.items()
        if len(part)
    )
    share = table["flops"] / costs["flops"].sum()
    table.insert(table.columns.get_loc("flops") + 1, "share_of_flops", share)
    return table


def _kind(run: str) -> str:
    if ".replay" in run:
        return "adaptation"
    return "adoption" if run.endswith(".adopted") else "pre-training"


def _sums(part: pd.DataFrame) -> dict:
    seconds = (part["seconds"] * part["devices"]).sum()
    return {
        "runs": len(part),
        "tokens": int(part["tokens"].sum()),
        "flops": part["flops"].sum(),
        "device_hours": seconds / 3600,
        "tokens_per_second": part["tokens"].sum() / seconds,
        "peak_memory_mib": int(part["peak_memory_mib"].max()),
    }
