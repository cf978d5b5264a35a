"""The one exception a person is meant to read: the command lines print it as one line and exit 2."""


class UserError(Exception):
    """A setting, file or folder that cannot be used; the message names it, its value and what is accepted."""
