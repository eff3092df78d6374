"""Exceptions that callers tell apart: a user's files, and another process that is in the way."""


class DataError(ValueError):
    """The user's files or settings cannot be used.

    The message is one line: which path or argument, what was expected, what to do.
    """


class BusyError(ValueError):
    """Another process holds what is needed; the same call may succeed later."""
