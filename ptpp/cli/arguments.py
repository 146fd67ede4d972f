"""Types of command-line arguments: what is not accepted is told in one line."""

import argparse

import numpy as np


def positive(text: str) -> float:
    value = number(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{text!r}; accepted is a number above 0")
    return value


def share(text: str) -> float:
    value = number(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r}; accepted is a share from 0 to 1, not percent")
    return value


def count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}; accepted is a whole number, 1 or more")
    return int(text)


def number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not np.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r}; accepted is a finite number")
    return value


def limit(text: str) -> tuple[str, float]:
    domain, equals, nats = (part.strip() for part in text.partition("="))
    if not (domain and equals):
        raise argparse.ArgumentTypeError(f"{text!r}; accepted is DOMAIN=NATS, such as en=0.5")
    return domain, number(nats)
