"""The command `python -m wgan_dist.data inspect`: summarise data before training on them."""

from collections.abc import Mapping
from typing import Any

from wgan_dist.config import command_line
from wgan_dist.config.data_choices import check_data_exist
from wgan_dist.config.fields import from_flags
from wgan_dist.config.output_paths import check_file
from wgan_dist.data.inspect_settings import InspectSettings
from wgan_dist.utils.errors import UserError

USAGE = """
Summarise an image folder, list unreadable files and suggest a training command.

  python -m wgan_dist.data inspect photos/  Print a summary and a command.
  python -m wgan_dist.data inspect a/,b.zip --out=contact.png  Also draw images as training sees them.

The command accepts every value that --data of wgan_dist.train accepts.
"""


def inspect_settings(flags: Mapping[str, Any]) -> InspectSettings:
    """Return the settings of an inspection, whose data may stand after the word inspect.

    Raises:
        UserError: For other words, and for settings that do not make an inspection.
    """
    settings = from_flags(InspectSettings, flags)
    if settings.words[:1] != ("inspect",) or len(settings.words) > 2:
        raise UserError(f"{' '.join(settings.words) or 'no argument'}: expected inspect PATH[,PATH]")
    if len(settings.words) == 2:
        settings = from_flags(InspectSettings, {**flags, "data": settings.words[1]})
    if not settings.data:
        raise UserError("inspect: expected a folder, archive or name, as inspect photos/")
    check_data_exist(settings.data)
    if settings.out:
        check_file(settings.out, ".png")
    return settings


if __name__ == "__main__":
    command_line.run_command("wgan_dist.data.inspect:print_summary", InspectSettings, USAGE, inspect_settings)
