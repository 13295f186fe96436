"""The one exception that means "your input, not our bug"."""


class InputError(Exception):
    """Bad input: a file, a param, a data set. Its text is what the user reads, one line a problem."""
