"""Progress lines for long work: what, how far, how fast, how good, how long still."""

import logging
import time

log = logging.getLogger("ptpp")


class Progress:
    """Logs at most one line every `every_s` seconds; `done` and `total` are tokens."""

    def __init__(self, what: str, total: int, done: int = 0, every_s: float = 10.0):
        self.what = what
        self.total = total
        self.first = self.done = done
        self.every_s = every_s
        self.started = self.last = time.monotonic()

    def advance(self, tokens: int, loss: float | None = None) -> None:
        self.done += tokens
        now = time.monotonic()
        if now - self.last < self.every_s:
            return
        self.last = now
        rate = (self.done - self.first) / (now - self.started)
        left = (self.total - self.done) / rate if rate else 0.0
        shown = "" if loss is None else f", loss {loss:.3f}"
        log.info(
            "%s: %.0f %%, %.0f k tokens/s%s, %s left",
            self.what,
            100 * self.done / self.total,
            rate / 1e3,
            shown,
            duration(left),
        )


def duration(seconds: float) -> str:
    """Seconds as `1 h 02 min`, `3 min 05 s` or `7 s`."""
    seconds = round(seconds)
    if seconds >= 3600:
        return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"
    if seconds >= 60:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds} s"
