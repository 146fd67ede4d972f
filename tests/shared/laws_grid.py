"""A simulated experiment of the default shape, whose laws are known; shared by the law tests."""

from simulation import Design, Truth, simulate

SIZES = {"xs": 16832, "s": 45952, "m": 87360}
REPLAYS = (0.0, 0.05, 0.25, 0.5)
ATPPS = (1.0, 2.0, 4.0, 8.0, 16.0)
HELD_OUT = 279.0
# What anchors come from: every size but the largest.
GRID = {"sizes": ["xs", "s"], "replay": list(REPLAYS), "atpp": list(ATPPS)}
DESIGN = Design(
    sizes=SIZES,
    ptpps=(15.0, 31.0, HELD_OUT),
    replays=(*REPLAYS, 1.0),
    atpps=ATPPS,
    seeds={"xs": (0, 1, 2), "s": (0,), "m": (0,)},
)
REFERENCE = {
    "n_params": 4e4,
    "ptpp": 22.0,
    "share": 0.8,
    "adapt_tokens": 1.6e5,
    "atpp": 4.0,
    "base_loss": 3.5,
    "zero_shot_loss": 3.3,
}
TARGET_PARAMS = {
    "E": 2.0,
    "A": 1.2,
    "alpha": 0.25,
    "B": 1.0,
    "eta": -0.3,
    "beta": 0.25,
    "S": 0.1,
    "gamma": 0.5,
    "eps": 0.05,
    "delta": -0.08,
    "G": 0.15,
    "kappa": 0.4,
    "omega": 0.01,
    "tau": 20.0,
    "pi": 0.2,
    "g_inf": 0.4,
    "lam": 0.5,
    "K": 3.0,
}
FORGETTING_PARAMS = {
    "W": 0.05,
    "w": 0.1,
    "V": 0.4,
    "S": 0.1,
    "gamma": 0.3,
    "b": -0.2,
    "d": 0.2,
    "q": 0.5,
}
WITHOUT_REPLAY_PARAMS = {"W": 0.05, "F": 1.0, "d": 0.1, "q": 0.5, "m": 0.3}
FORGETTING = (
    Truth("forgetting", FORGETTING_PARAMS, REFERENCE),
    Truth("forgetting_without_replay", WITHOUT_REPLAY_PARAMS, REFERENCE),
)
BASE_LOSSES = Truth(
    "chinchilla",
    {"E": 1.5, "A": 1.0, "alpha": 0.3, "B": 0.8, "beta": 0.25},
    {"n_params": 4e4, "adapt_tokens": 1e6},
)
# Their law of one exponent, by which base losses are forecast.
TIED = Truth("tied", {"E": 1.5, "A": 1.0, "alpha": 0.3, "B": 0.8}, BASE_LOSSES.reference)


def target_truth(law="gated_floor"):
    return Truth(law, TARGET_PARAMS, REFERENCE)


_MADE = {}  # tables, by what they were asked for


def observations(law="gated_floor", noise=0.0, seed=0, base_losses=BASE_LOSSES):
    """Observations of the target domain fr, which follow `law`, and of the base domains en, ar,
    which have `base_losses` before adaptation.
    """
    key = repr((law, noise, seed, base_losses))
    if key not in _MADE:
        bases = {"en": FORGETTING, "ar": FORGETTING}
        _MADE[key] = simulate(DESIGN, ("fr", target_truth(law)), bases, base_losses, noise, seed)
    return _MADE[key].copy()
