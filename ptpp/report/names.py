"""What readers call the laws, protocols, choices and parameters that files name in code."""

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


def choice_name(choice: str) -> str:
    """How anchors were chosen."""
    return CHOICES.get(choice, plain_name(choice))


def parameter_name(parameter: str) -> str:
    """The name of a law's parameter, in Greek where the formula has it so."""
    return _GREEK.get(parameter, plain_name(parameter))
