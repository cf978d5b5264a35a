"""Command that writes a model card."""

from dataclasses import dataclass
from pathlib import Path

import wgan_dist
from wgan_dist.config import command_line
from wgan_dist.config.fields import setting
from wgan_dist.utils.console import print_now
from wgan_dist.utils.errors import UserError

USAGE = """
Write the model card of a run or of a generator file, as README.md beside it. Training writes it at the end of a run.

  python -m wgan_dist.model_card --ckpt=runs/0001  Update the card, for example after an evaluation.
"""


@dataclass(frozen=True)
class CardSettings:
    """The settings of `python -m wgan_dist.model_card`."""

    ckpt: str = setting("", "Run folder or generator.safetensors.", group="Choose the generator")

    def __post_init__(self) -> None:
        if not Path(self.ckpt).exists() or not self.ckpt:
            found = "there is no such file or folder; expected" if self.ckpt else "expected --ckpt=,"
            raise UserError(f"ckpt={self.ckpt}: {found} a run folder or a generator.safetensors")


def main(settings: CardSettings) -> None:
    """Write the model card. Raises UserError if there is a README.md that wgan_dist did not write."""
    written = wgan_dist.write_card(Path(settings.ckpt))
    if written is None:
        raise UserError(f"ckpt={settings.ckpt}: wgan_dist did not write the README.md in its folder, and keeps it")
    print_now(str(written))


if __name__ == "__main__":
    command_line.run_command("wgan_dist.model_card:main", CardSettings, USAGE)
