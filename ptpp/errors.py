"""Errors a user can act on."""


class InputError(ValueError):
    """Bad input, told in one line: where it stands, what was found, what is accepted."""
