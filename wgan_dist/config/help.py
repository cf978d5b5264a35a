"""The text of `--help`: what a command does, examples, and its settings in groups, as wide as the terminal."""

import dataclasses
import re
import shutil
import textwrap
from collections.abc import Iterable, Iterator
from typing import Any

from wgan_dist.config.fields import show
from wgan_dist.utils.errors import UserError

# The column at which explanations begin, the indent of what is too long for its line, and the narrowest text.
HELP_COLUMN, INDENT, MIN_COLUMNS = 28, 6, 40
# Below this width an explanation stands under its flag.
NARROW = 60
# The width where there is no terminal.
DEFAULT_COLUMNS = 80


def terminal_columns() -> int:
    """Return the width of the terminal in characters."""
    return max(MIN_COLUMNS, shutil.get_terminal_size((DEFAULT_COLUMNS, 0)).columns)


def _fill(text: str, columns: int, indent: int) -> str:
    margin = " " * indent
    return textwrap.fill(
        text, columns, initial_indent=margin, subsequent_indent=margin, break_on_hyphens=False, break_long_words=False
    )


def _command_lines(command: str, columns: int) -> str:
    """Return a command, in several lines for a shell if it is longer than a line."""
    lines = textwrap.wrap(command, columns - INDENT - len(" \\"), break_on_hyphens=False, break_long_words=False)
    return "  " + f" \\\n{'':{INDENT}}".join(lines)


def commands_text(commands: Iterable[tuple[str, str]], columns: int) -> str:
    """Return commands and what they do: in two columns if these fit, otherwise one under the other."""
    commands = list(commands)
    width = max(len(command) for command, _ in commands)
    rows = [f"  {command:<{width}}  {explanation}".rstrip() for command, explanation in commands]
    if max(map(len, rows)) <= columns:
        return "\n".join(rows)
    return "\n".join(
        "\n".join([_command_lines(command, columns), *([_fill(explanation, columns, INDENT)] if explanation else [])])
        for command, explanation in commands
    )


def _usage_text(usage: str, columns: int) -> str:
    """Return the paragraphs of a usage; lines that begin with two spaces are `command  explanation`."""
    paragraphs = []
    for paragraph in usage.strip("\n").split("\n\n"):
        if paragraph.startswith("  "):
            pairs = (re.split(r"\s{2,}", line.strip(), maxsplit=1) for line in paragraph.splitlines())
            paragraphs.append(commands_text(((pair[0], "".join(pair[1:])) for pair in pairs), columns))
        else:
            paragraphs.append(_fill(" ".join(paragraph.split()), columns, 0))
    return "\n\n".join(paragraphs)


def _entry(field: "dataclasses.Field[Any]", columns: int) -> str:
    choices = f" [{' | '.join(map(str, field.metadata['choices']))}]" if field.metadata["choices"] else ""
    default = "" if field.default in ("", ()) or field.default is False else f" (default {show(field.default)})"
    indent = HELP_COLUMN if columns >= NARROW else INDENT
    flag, explanation = f"  --{field.name}", _fill(f"{field.metadata['help']}{choices}{default}", columns, indent)
    if columns < NARROW or len(flag) >= HELP_COLUMN:
        return f"{flag}\n{explanation}"
    return f"{flag:<{HELP_COLUMN}}{explanation[HELP_COLUMN:]}"


def _groups(cls: type[Any]) -> Iterator[tuple[str, list["dataclasses.Field[Any]"]]]:
    """Yield the heading of each group and its settings; a group begins where a setting names it."""
    heading = ""
    fields: list[dataclasses.Field[Any]] = []
    for field in dataclasses.fields(cls):
        if field.metadata["group"]:
            if fields:
                yield heading, fields
            heading, fields = field.metadata["group"], []
        if not field.metadata["positional"]:
            fields.append(field)
    if fields:
        yield heading, fields


def group_name(heading: str) -> str:
    """Return what `--help=NAME` calls a group: the last word of its heading."""
    return heading.rpartition(" ")[2].lower()


def _group_text(heading: str, fields: list["dataclasses.Field[Any]"], columns: int) -> str:
    return "\n".join([f"{heading}:" if heading else "Settings:", *(_entry(field, columns) for field in fields)])


def help_text(cls: type[Any], usage: str) -> str:
    """Return `usage` and, in their groups, an entry for every setting of `cls`: flag, help, choices, default."""
    columns, groups = terminal_columns(), list(_groups(cls))
    names = ", ".join(group_name(heading) for heading, _ in groups)
    hint = [_fill(f"--help=GROUP shows one group of settings: {names}.", columns, 0)] if len(groups) > 1 else []
    return "\n\n".join([_usage_text(usage, columns), *hint, *(_group_text(*group, columns) for group in groups)])


def group_help_text(cls: type[Any], name: str) -> str:
    """Return the help of one group of settings.

    Raises:
        UserError: For a group that does not exist; the message lists those that do.
    """
    groups = {group_name(heading): (heading, fields) for heading, fields in _groups(cls) if heading}
    if name.lower() not in groups:
        expected = f"one of {', '.join(groups)}" if groups else "--help, since this command has no groups"
        raise UserError(f"help={name}: expected {expected}")
    return _group_text(*groups[name.lower()], terminal_columns())
