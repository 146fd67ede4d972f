"""Progress of long work: how far, how fast, how good, and the time left."""

import logging
import time
from dataclasses import dataclass, replace
from pathlib import Path

from ptpp.jobs.heartbeat import Job

log = logging.getLogger("ptpp")


@dataclass(frozen=True)
class Watch:
    """Where a training run reports to, besides its log.

    job: counts tokens and FLOPs and shows how far it is. events: the folder for TensorBoard's event
    files; None writes none. A job does its runs one after another: this one is called `name`, costs
    `flops_per_token` and is number `part` (from 0) of `parts`.
    """

    job: Job | None = None
    events: Path | None = None
    name: str = ""
    flops_per_token: float = 0.0
    part: int = 0
    parts: int = 1

    def for_run(self, name: str, flops_per_token: float, part: int = 0, parts: int = 1) -> "Watch":
        """The watch of one run of the job."""
        watch = replace(self, name=name, flops_per_token=flops_per_token, part=part, parts=parts)
        watch.count(0)  # a job whose runs are all finished has trained 0 tokens, not None
        if self.job is not None:
            self.job.report(part / parts)
        return watch

    def count(self, tokens: int) -> None:
        """Count tokens that were trained just now."""
        if self.job is not None:
            self.job.count(tokens, tokens * self.flops_per_token)

    def report(self, share: float, run_s: float | None = None, **progress: object) -> None:
        """Show the share of this run that is done; the whole run takes `run_s`, if known."""
        if self.job is not None:
            left = None if run_s is None else round((self.parts - self.part - share) * run_s, 1)
            self.job.report((self.part + share) / self.parts, seconds_left=left, **progress)


NO_WATCH = Watch()


class Progress:
    """Logs at most one line every `every_s` seconds; `done` and `total` are tokens."""

    def __init__(
        self,
        what: str,
        total: int,
        done: int = 0,
        every_s: float = 10.0,
        watch: Watch = NO_WATCH,
    ):
        self.what = what
        self.total = total
        self.first = self.done = done
        self.every_s = every_s
        self.watch = watch
        self.began = self.last = time.monotonic()
        watch.report(done / total, what=what)

    def advance(self, tokens: int, loss: float | None = None) -> None:
        """Count `tokens` more; `loss` (nats/token) is shown, not stored."""
        self.done += tokens
        self.watch.count(tokens)
        now = time.monotonic()
        if now - self.last < self.every_s:
            return
        self.last = now
        rate = (self.done - self.first) / (now - self.began)
        left = (self.total - self.done) / rate if rate else 0.0
        log.info(
            "%s: %.0f %%, %.0f k tokens/s%s, %s left",
            self.what,
            100 * self.done / self.total,
            rate / 1e3,
            "" if loss is None else f", loss {loss:.3f}",
            duration(left),
        )
        self.watch.report(
            self.done / self.total,
            self.total / rate if rate else None,
            what=self.what,
            tokens_per_second=round(rate),
            loss=loss,
        )


def duration(seconds: float) -> str:
    """Seconds as `1 h 02 min`, `3 min 05 s` or `7 s`."""
    seconds = round(seconds)
    if seconds >= 3600:
        return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"
    if seconds >= 60:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds} s"
