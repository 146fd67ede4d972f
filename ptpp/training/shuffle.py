"""A shuffle of 0 .. n - 1 that is computed place by place, so that no array of n is held.

A Feistel network permutes the least even number of bits that holds n; what falls on n or beyond is
sent through it again until it does not, which makes it a permutation of 0 .. n - 1 (cycle walking)
[Black and Rogaway 2002, "Ciphers with arbitrary finite domains"]. Each round mixes one half of the
bits with the finaliser of SplitMix64 [Steele et al. 2014].
"""

from collections.abc import Sequence

import numpy as np

VERSION = 1  # raise it with every change that gives another order
_ROUNDS = 8


def shuffle_places(places: np.ndarray, n: int, seed: Sequence[int]) -> np.ndarray:
    """What the shuffle of `seed` puts at these places, each in 0 .. n - 1, int64 of their shape."""
    keys = np.random.default_rng(seed).integers(0, 1 << 64, _ROUNDS, dtype=np.uint64)
    half = np.uint64(max(1, ((n - 1).bit_length() + 1) // 2))
    values = _permute(np.asarray(places).astype(np.uint64), half, keys)
    while (beyond := values >= n).any():  # at most three in four, so this ends soon
        values[beyond] = _permute(values[beyond], half, keys)
    return values.astype(np.int64)


def _permute(values: np.ndarray, half: np.uint64, keys: np.ndarray) -> np.ndarray:
    """A permutation of all numbers of 2 `half` bits."""
    mask = (np.uint64(1) << half) - np.uint64(1)
    left, right = values >> half, values & mask
    for key in keys:
        left, right = right, left ^ (_mix(right ^ key) & mask)
    return left << half | right


def _mix(values: np.ndarray) -> np.ndarray:
    values = (values ^ values >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ values >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return values ^ values >> np.uint64(31)
