"""The two ways in which input can be wrong."""


class UserError(Exception):
    """A mistake that the user can mend; the message is one sentence: expected, came, what to do.

    The command line prints it without a traceback and exits with 2.
    """


class SubjectError(Exception):
    """One subject cannot be used; it is recorded with this reason and the others go on."""
