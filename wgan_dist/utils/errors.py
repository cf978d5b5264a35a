"""The exceptions that a person is meant to read: the command lines print them as one line, without a traceback."""


class UserError(Exception):
    """A setting, file or folder that cannot be used; the message names it, its value and what is accepted."""


class LostError(Exception):
    """Another process of the run is gone or silent; the message says which one waited, in what, and what for."""


class Stopped(BaseException):
    """A signal asked the run to stop; the message says what was saved and how to go on.

    Not an Exception, as KeyboardInterrupt is none: it may arrive in the middle of a library that catches those.
    """
