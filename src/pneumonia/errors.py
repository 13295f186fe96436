"""The one exception that means "your input, not our bug"."""


class InputError(Exception):
    """Bad input: a file, a param, a data set. Its text is for the user, one line a problem."""
