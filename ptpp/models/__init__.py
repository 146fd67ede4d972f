"""Models: sizes, weights, the two backends that train them, checkpoints."""
