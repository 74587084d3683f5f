"""Errors that a person can act on: one line, no traceback, an exit code."""


class WhenceError(Exception):
    """A command could not finish. The message, one line, says what happened and what to do."""

    exit_code = 1


class BadInput(WhenceError):  # noqa: N818 (it names what is bad, as `raise BadInput` reads)
    """Input or configuration is wrong.

    The message names the file, row, key or flag, what was expected, and what would fix it.
    """

    exit_code = 2


class Busy(BadInput):
    """Another process writes where this one would; it may be gone in a moment."""
