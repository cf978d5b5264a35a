"""The exceptions whose message is for the user: a command prints it as one line, without a traceback."""


class UserError(Exception):
    """A setting, file or folder that cannot be used; the message names it, its value and what is accepted."""


class LostError(Exception):
    """Another process of the run is gone or silent; the message says which process waited, where, and why."""


class Stopped(BaseException):
    """A signal stopped the run; the message says what was saved and how to resume.

    Like KeyboardInterrupt it is no Exception, since it may be raised inside a library that catches those.
    """
