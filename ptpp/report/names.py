"""What readers call the laws, protocols, choices and parameters that files name in code, and how
sizes and stages are written.
"""

from collections.abc import Sequence

import pandas as pd

from ptpp.laws.levels import LAST_STAGE

LAWS = {
    "dcpt": "baseline D-CPT",
    "floor": "Form 1 (floor)",
    "gated": "Form 2 (gated)",
    "gated_floor": "Form 3 (gated+floor)",
    LAST_STAGE: "last stage unchanged",
}
PROTOCOLS = {"early_to_late": "without anchors", "with_anchors": "with anchors"}
CHOICES = {"spread": "spread evenly", "random": "at random", "v_optimal": "V-optimal"}
_GREEK = {
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "eps": "ε", "eta": "η", "kappa": "κ",
    "lam": "λ", "omega": "ω", "pi": "π", "tau": "τ",
}  # fmt: skip


def plain_name(name: str) -> str:
    return str(name).replace("_", " ")


def law_name(law: str) -> str:
    return LAWS.get(law, plain_name(law))


def protocol_name(protocol: str) -> str:
    return PROTOCOLS.get(protocol, plain_name(protocol))


def parameter_name(parameter: str) -> str:
    """The name of a law's parameter, in Greek where the formula has it so."""
    return _GREEK.get(parameter, plain_name(parameter))


def short_number(number: float) -> str:
    """Three digits, and thousands as k, M, B and T."""
    for unit, name in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= unit:
            return f"{number / unit:.3g}{name}"
    return f"{number:.3g}"


def power(number: float) -> str:
    """Two digits and a power of ten: 6.1e11."""
    return f"{number:.1e}".replace("e+", "e").replace("e0", "e")


def size_names(frame: pd.DataFrame) -> list[str]:
    """Names of the sizes, smallest first."""
    return list(frame.sort_values(["n_params", "size"])["size"].unique())


def name_stages(stages: Sequence[float]) -> str:
    """The stages in words: "15 and 31", or the first and last of more than three."""
    names = [f"{stage:g}" for stage in stages]
    if len(names) > 3:
        return f"{names[0]} to {names[-1]} ({len(names)} stages)"
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
