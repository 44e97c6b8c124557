"""The two ways in which a command ends badly; fronts turn them into a message and an exit code."""


class InputError(Exception):
    """What a person typed, uploaded or pointed at cannot be used (exit code 2).

    The message is for that person: it names the thing, says what is wrong with it and what to do.
    """


class RunError(Exception):
    """The input was fine but the work failed: a full disk, a model that broke (exit code 1)."""


class Stopped(Exception):
    """The person has stopped the work; what was done is kept, and the same call goes on from there."""
