"""Errors a user can act on; each ends a job with its one line."""


class InputError(ValueError):
    """Bad input, told in one line: where it stands, what was found, what is accepted."""


class Unwritable(InputError):
    """The disk refused to take a file; what stood there before still does."""


class Interrupted(Exception):
    """A signal asked the job to end. Its state is saved; the same command goes on from there."""


class Diverged(InputError):
    """A loss is not finite, or no better than a guess. Such a run never enters a table."""
