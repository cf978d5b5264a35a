"""What every command line shares: flags by fire, help, and errors as one line with exit status 2."""

import functools
import io
import os
import pkgutil
import sys
import time
from collections.abc import Callable
from typing import Any

from wgan_dist.config.fields import from_flags, help_text, needs_value
from wgan_dist.utils import signals
from wgan_dist.utils.errors import LostError, Stopped, UserError
from wgan_dist.utils.process import exit_without_teardown

# What a person waits for begins with the command.
STARTED = time.monotonic()
EXIT_USAGE = 2
EXIT_LOST = 69  # as sysexits.h has it: EX_UNAVAILABLE, what this process needs is not there
EXIT_INTERRUPTED = 130  # as shells have it: 128 + SIGINT
EXIT_STOPPED = 75  # as sysexits.h has it: EX_TEMPFAIL, the same command goes on where this one stopped


def read_words(arguments: list[str], needs_value: Callable[[str], bool]) -> tuple[list[str], dict[str, str]]:
    """The words that are no flags, and `--name=value`, `--name value`, `--name` and `--noname` as a dict of texts.

    Texts, not fire's guesses: `--run_dir=1e5` names a folder, and only the setting's own type knows. `--name` alone
    is true; where `needs_value(name)`, it is a UserError, as are two of a name in a row: elsewhere the last counts.
    """
    import fire
    from fire.decorators import SetParseFn

    for argument, following in zip(arguments, [*arguments[1:], "--"], strict=False):
        name = argument.removeprefix("--")
        if "=" not in argument and argument.startswith("--") and following.startswith("--") and needs_value(name):
            raise UserError(f"{name}: expected a value, as --{name}=…")
        # A shell makes neighbours of --data=a{0..9}.tar, of which fire would take the last.
        flag = argument.partition("=")[0]
        if "=" in argument and following.startswith(f"{flag}=") and needs_value(flag.removeprefix("--")):
            raise UserError(f"{argument} {following}: given twice; braces need quotes in a shell, as '{flag}=…'")
    flags: dict[str, str] = {}
    words: list[str] = []

    @SetParseFn(str)  # type: ignore[untyped-decorator]
    def collect(*positional: str, **named: str) -> None:
        words.extend(positional)
        flags.update(named)

    fire.Fire(collect, command=arguments, name=sys.argv[0])
    return words, flags


def read_flags(arguments: list[str], needs_value: Callable[[str], bool]) -> dict[str, str]:
    """The flags of `read_words`; a word that is none is a UserError."""
    words, flags = read_words(arguments, needs_value)
    if words:
        raise UserError(f"unexpected argument {words[0]}: settings are given as --name=value")
    return flags


def say(words: str, end: str = "\n") -> None:
    """Print at once; to nobody, from then on, where whoever read the words has left: a run goes on without them."""
    try:
        print(words, end=end, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _say(words: str) -> None:
    # Every rank meets the same error; one voice is enough.
    if os.environ.get("LOCAL_RANK", "0") == "0":
        print(words, file=sys.stderr)


def guarded(command: Callable[[], None]) -> None:
    """Run `command`, and end as the outcome asks for.

    A UserError ends as one line on standard error and exit status 2, a run that a signal stopped as one line and 75,
    a process that lost the others as a line of each and 69, Ctrl-C elsewhere as one word and 130; any other exception
    is a bug and keeps its traceback.
    """
    try:
        command()
    except UserError as error:
        _say(f"error: {error}")
        sys.exit(EXIT_USAGE)
    except Stopped as stopped:
        signals.ignore()  # a second one must not interrupt the exit
        _say(str(stopped))
        exit_without_teardown(EXIT_STOPPED)
    except LostError as lost:
        print(f"error: {lost}", file=sys.stderr)
        exit_without_teardown(EXIT_LOST)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(EXIT_INTERRUPTED)


def _prepare(settings: type[Any], usage: str) -> bool:
    """Prepare the streams; print the help and return False if it is asked for."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without ∇ is no reason to end a run
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(help_text(settings, usage))
        return False
    return True


def _run(command: Callable[[list[str]], None], settings: type[Any], usage: str) -> None:
    if _prepare(settings, usage):
        guarded(lambda: command(sys.argv[1:]))


def run_command(target: str, settings: type[Any], usage: str) -> None:
    """Run a command line: print the help, or call `target` with the settings that the flags describe.

    `target` is a function as `package.module:function`. It is imported after the flags are understood, so that the
    help and a wrong flag do not wait for torch. Errors end as `guarded` says.
    """

    def command() -> None:
        values = from_flags(settings, read_flags(sys.argv[1:], functools.partial(needs_value, settings)))
        pkgutil.resolve_name(target)(values)

    if _prepare(settings, usage):
        guarded(command)


def run(command: Callable[[dict[str, str]], None], settings: type[Any], usage: str) -> None:
    """Run a command line, guarded: print the help, or call `command` with its flags."""
    needed = functools.partial(needs_value, settings)
    _run(lambda arguments: command(read_flags(arguments, needed)), settings, usage)


def run_on(command: Callable[[list[str], dict[str, str]], None], settings: type[Any], usage: str) -> None:
    """As `run`, for a command that takes words besides its flags, as folders."""
    needed = functools.partial(needs_value, settings)
    _run(lambda arguments: command(*read_words(arguments, needed)), settings, usage)
