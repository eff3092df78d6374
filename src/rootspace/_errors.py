"""The one exception that tells of a user's files."""


class DataError(ValueError):
    """The user's files or settings cannot be used.

    The message is one line: which path or argument, what was expected, what to do.
    """
