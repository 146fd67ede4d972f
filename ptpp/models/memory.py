"""Memory of training, counted, not measured. No torch here."""

STATE_BYTES = 16  # a parameter: float32 weights, gradient, AdamW's two moments
TRUNK_BYTES = 12  # and, while a milestone decays, the weights and moments it returns to
TWIN_BYTES = 4  # and, where several devices share a model, float32 weights to evaluate with
LOSS_BYTES = 2 * 2**30  # of a loss in chunks: logits of one chunk and what is made of them
LOGITS_BYTES = 16  # a token and entry of the vocabulary, where all logits are held
# A token, layer and unit of width: what a decoder layer keeps for its backward pass, products in
# bfloat16, sums and norms in float32, attention scores not kept.
ACTIVATION_BYTES = 50
CAPACITY = {"a100": 80e9, "h100": 80e9, "h100_pcie": 80e9, "h200": 141e9}  # bytes of a device
RESERVE = 0.9  # of what is free: allocators cannot use all of it
# Parameters of the largest model of which a GPU trains several runs at once; a larger one fills it.
STACKED = 10e6


def state_bytes(n_params: float, devices: int = 1, nodes: int = 1) -> float:
    """What each device holds of a model in training, the copy during a decay included.

    devices: of one of the `nodes`, each of which holds the whole model.
    """
    shared = TWIN_BYTES if devices * nodes > 1 else 0
    return (STATE_BYTES + TRUNK_BYTES + shared) * n_params / devices


def activation_bytes(n_params: float, width: int | None = None, depth: int | None = None) -> float:
    """A token's activations. Without a shape: of a decoder 100 times as wide as deep (N = 12
    depth width^2), as models of a billion parameters and more about are.
    """
    if width is None or depth is None:
        width = (100 * n_params / 12) ** (1 / 3)
        depth = width / 100
    return ACTIVATION_BYTES * width * depth


def training_bytes(
    n_params: float, tokens: int, token_bytes: float, devices: int = 1, nodes: int = 1
) -> float:
    """What each device needs that computes `tokens` at once."""
    return state_bytes(n_params, devices, nodes) + LOSS_BYTES + tokens * token_bytes


def sequences_that_fit(free: float, n_params: float, sequence_bytes: float) -> int:
    """Sequences at once beside a model of which this device holds `n_params`; 1 at least.

    free: bytes, with weights and moments in place, gradients and the copy of a decay to come.
    """
    left = RESERVE * free - (4 + TRUNK_BYTES) * n_params - LOSS_BYTES
    return max(1, int(left / sequence_bytes))


def run_bytes(n_params: float, tokens: int, token_bytes: float, vocab_size: int) -> float:
    """What each of several runs needs that are trained at once, of `tokens` a step."""
    return state_bytes(n_params) + tokens * (token_bytes + LOGITS_BYTES * vocab_size)


def runs_that_fit(free: float, each: float, count: int) -> int:
    """Of `count` runs that need `each` bytes how many to train at once; 1 at least."""
    return max(1, min(count, int(RESERVE * free / each)))
