"""The command line that all commands share: flags by fire, help, and errors as one line and an exit status."""

import dataclasses
import errno
import functools
import io
import json
import os
import pkgutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import fire
from fire.decorators import SetParseFn

from wgan_dist.config.fields import BOOLEANS, flag_names, from_flags, is_switch, needs_value, unknown_setting
from wgan_dist.config.help import group_help_text, help_text
from wgan_dist.utils import signals
from wgan_dist.utils.console import escape_unprintable, print_lines, print_to_stderr
from wgan_dist.utils.errors import LostError, Stopped, UserError
from wgan_dist.utils.process import exit_without_teardown, is_first_on_machine

SECONDS_FOR_FIRST_PROCESS = 5.0
EXIT_USAGE = 2
EXIT_LOST = 69  # EX_UNAVAILABLE of sysexits.h: another process is gone
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells have it
EXIT_STOPPED = 75  # EX_TEMPFAIL of sysexits.h: the same command continues the run


def _normalised(arguments: list[str], settings: type[Any]) -> Iterator[str]:
    """Yield the arguments with flags as they are in `settings`: underscores for hyphens, switches with a value.

    Raises:
        UserError: For a flag that is not in `settings`.
    """
    known = [field.name for field in dataclasses.fields(settings)]
    flags = flag_names(settings)
    for argument, next_argument in zip(arguments, [*arguments[1:], ""], strict=False):
        if not argument.startswith("--"):
            yield argument
            continue
        flag, equals, value = argument.removeprefix("--").partition("=")
        name = flag.replace("-", "_")
        positive = name.removeprefix("no").removeprefix("_")
        if name not in known and positive in known and is_switch(settings, positive) and not equals:
            yield f"--{positive}=false"
        elif name not in known:
            raise unknown_setting(flag, flags) if flag else UserError("unexpected argument --: expected --name=value")
        elif is_switch(settings, name) and not equals and next_argument.lower() not in BOOLEANS:
            yield f"--{name}=true"
        else:
            yield f"--{name}{equals}{value}"


def _check_values(arguments: list[str], settings: type[Any]) -> None:
    """Refuse a text setting without a value, and one given twice in a row, as a shell expands --data=a{0..9}.tar."""
    for argument, next_argument in zip(arguments, [*arguments[1:], "--"], strict=False):
        flag, equals, _ = argument.partition("=")
        if not flag.startswith("--") or not needs_value(settings, flag.removeprefix("--")):
            continue
        if not equals and next_argument.startswith("--"):
            raise UserError(f"{flag.removeprefix('--')}: expected a value, as {flag}=…")
        if equals and next_argument.startswith(f"{flag}="):
            raise UserError(f"{argument} {next_argument}: given twice; braces need quotes in a shell, as '{flag}=…'")


def read_flags(arguments: list[str], settings: type[Any]) -> dict[str, Any]:
    """Return the flags as texts, and the other arguments under the name of the positional setting.

    Flags are `--name=value`, `--name value`, `--name` for true and `--noname` for false; hyphens in a name stand for
    underscores. Values stay texts, since only a setting's own type tells whether `--run_dir=1e5` is a number. Of a flag
    given several times the last one counts.

    Raises:
        UserError: For an unknown setting, a setting of texts without a value, or twice in a row, and for an argument
            that is not a flag if `settings` has no positional setting.
    """
    arguments = list(_normalised(arguments, settings))
    _check_values(arguments, settings)
    words: list[str] = []
    flags: dict[str, Any] = {}

    @SetParseFn(str)  # type: ignore[untyped-decorator]
    def collect(*positional: str, **named: str) -> None:
        words.extend(positional)
        flags.update(named)

    fire.Fire(collect, command=arguments, name=sys.argv[0])
    names = [field.name for field in dataclasses.fields(settings) if field.metadata["positional"]]
    if words and not names:
        raise UserError(f"unexpected argument {words[0]}: settings are given as --name=value")
    return flags | ({names[0]: words} if words else {})


def _print_once(text: str) -> None:
    """Print a line on the first process of a machine: all its processes have the same help and meet the same errors."""
    if is_first_on_machine():
        print_to_stderr(text)


def _report_to_launcher(text: str) -> None:
    """Write an error where torchrun looks for it: the summary that it prints at the end then shows it.

    The format is that of torch.distributed.elastic's ErrorHandler.
    """
    file = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if file:
        error = {"message": {"message": escape_unprintable(text), "extraInfo": {"timestamp": str(int(time.time()))}}}
        with suppress(OSError):
            Path(file).write_text(json.dumps(error), encoding="utf-8")


def _print_error(text: str) -> None:
    """Print the error that all processes of a machine meet, once.

    A launcher ends all processes as soon as one has failed, so the others leave the first one time to print. A process
    that nobody ends has an error of its own.
    """
    if not is_first_on_machine():
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        time.sleep(SECONDS_FOR_FIRST_PROCESS)
    _report_to_launcher(text)
    print_to_stderr(f"error: {text}")


def _user_text(error: Exception) -> str:
    """Return what an error that ends a command says to its user; raise it if it is a bug.

    Any path and any number may be too long or too large, and only the system knows its limits.
    """
    if isinstance(error, MemoryError):
        return f"the memory does not suffice: {error}"
    if isinstance(error, OSError):
        if error.errno != errno.ENAMETOOLONG:
            raise error
        return f"{error.filename}: {error.strerror}"
    return str(error)


def guarded(command: Callable[[], None]) -> None:
    """Run `command` and turn the errors that are meant for its user into one line and an exit status.

    The status is 2 for a UserError, a path that is too long and a lack of memory, 75 for a run that a signal stopped,
    69 for a process that lost the others (each prints its line) and 130 for Ctrl-C. Any other exception is a bug and
    keeps its traceback.
    """
    try:
        command()
    except (UserError, MemoryError, OSError) as error:
        _print_error(_user_text(error))
        sys.exit(EXIT_USAGE)
    except Stopped as stopped:
        signals.ignore()  # a second one must not interrupt the exit
        _print_once(str(stopped))
        exit_without_teardown(EXIT_STOPPED)
    except LostError as lost:
        signals.ignore()  # the launcher's must not interrupt the exit
        _report_to_launcher(str(lost))
        print_to_stderr(f"error: {lost}")
        exit_without_teardown(EXIT_LOST)
    except KeyboardInterrupt:
        print_to_stderr("interrupted")
        sys.exit(EXIT_INTERRUPTED)


def _requested_help(arguments: list[str]) -> str | None:
    """Return the group of `--help=GROUP`, "" for the whole help, or None if no help is asked for."""
    flags = [argument.partition("=") for argument in arguments]
    return next((group for flag, _, group in flags if flag in ("-h", "--help")), None)


def _help(settings: type[Any], usage: str, group: str) -> str:
    return group_help_text(settings, group) if group else help_text(settings, usage)


def _run(command: Callable[[list[str]], None], settings: type[Any], usage: str) -> None:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that cannot show ∇ does not end a run
    group = _requested_help(sys.argv[1:])
    if group is None:
        guarded(lambda: command(sys.argv[1:]))
    elif is_first_on_machine():
        guarded(lambda: print_lines(_help(settings, usage, group).split("\n")))


def run_command(
    target: str, settings: type[Any], usage: str, parse: Callable[[Mapping[str, Any]], Any] | None = None
) -> None:
    """Run a command line: print the help, or call `target` with the settings that the flags describe.

    `--help` and wrong flags are answered without importing `target`, and so without waiting for torch.

    Args:
        target: The command's function, as `package.module:function`.
        settings: The dataclass that describes the flags. Arguments that are not flags go into its positional setting.
        usage: The text above the flags in `--help`.
        parse: A function from flags to what `target` takes, by default a `settings`.
    """
    parse_flags = parse or functools.partial(from_flags, settings)

    def command(arguments: list[str]) -> None:
        values = parse_flags(read_flags(arguments, settings))
        pkgutil.resolve_name(target)(values)

    _run(command, settings, usage)
