"""The errors that a person at a command line can mend; the scripts print them as one line."""


class UsageError(ValueError):
    """Bad input: the message names the value and the fix."""


class DivergedError(ArithmeticError):
    """The loss is no longer finite: the message names the step and the last good checkpoint."""
