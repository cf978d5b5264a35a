"""The command `python -m wgan_dist.data inspect`: summarise data before training on them."""

import pkgutil
from pathlib import Path

from wgan_dist.config import command_line
from wgan_dist.config.fields import from_flags
from wgan_dist.data.inspect_settings import InspectSettings
from wgan_dist.utils.errors import UserError

USAGE = """
Summarise an image folder, list unreadable files and suggest a training command.

  python -m wgan_dist.data inspect photos/                           a summary and a command
  python -m wgan_dist.data inspect a/,b.zip --out=contact.png        also a sheet of images as training sees them

It accepts every value that --data of wgan_dist.train accepts.
"""


def inspect_data(words: list[str], flags: dict[str, str]) -> None:
    """Run `inspect` with the arguments and flags of a command line, as texts."""
    if words[:1] != ["inspect"] or len(words) > 2:
        raise UserError(f"{' '.join(words) or 'no argument'}: expected inspect PATH[,PATH]")
    settings = from_flags(InspectSettings, flags | ({"data": words[1]} if len(words) == 2 else {}))
    if not settings.data:
        raise UserError("inspect: expected a folder, archive or name, as inspect photos/")
    if settings.out and Path(settings.out).suffix.lower() != ".png":
        raise UserError(f"out={settings.out}: expected a file ending in .png")
    pkgutil.resolve_name("wgan_dist.data.inspect:print_summary")(settings)  # imports torch


if __name__ == "__main__":
    command_line.run_on(inspect_data, InspectSettings, USAGE)
