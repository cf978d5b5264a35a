"""The list of all commands, as `python -m wgan_dist` and `python -m export` print it."""

import sys

from wgan_dist.config.command_line import guarded
from wgan_dist.config.help import commands_text, terminal_columns
from wgan_dist.utils.console import print_lines
from wgan_dist.utils.errors import UserError

COMMANDS = {
    "wgan_dist.train": "Train a generator, or resume a run.",
    "wgan_dist.data inspect": "Summarise images and suggest a training command.",
    "wgan_dist.recipes": "List the recipes, or show one.",
    "wgan_dist.summary": "Show the layers and sizes of both networks.",
    "wgan_dist.sample": "Draw images from a trained generator.",
    "wgan_dist.evaluate": "Measure generators, or images of any program.",
    "wgan_dist.distance": "Measure how far two sets of samples are apart.",
    "wgan_dist.report": "Compare runs on one HTML page.",
    "wgan_dist.model_card": "Write the model card of a run.",
    "export.onnx": "Export a generator as an ONNX file.",
    "export.sampler": "Draw images from an ONNX file without torch.",
    "export.bundle": "Export a folder for another Python program.",
    "export.web": "Export a web page that draws images.",
    "export.torchscript": "Export a generator as TorchScript.",
    "export.program": "Export a generator as torch's exported program.",
}
HELP = ("-h", "--help")


def list_commands(arguments: list[str]) -> None:
    """Print every command as it is typed.

    Raises:
        UserError: For any argument but --help; a command's name is answered with how it is typed.
    """
    wrong = [argument for argument in arguments if argument not in HELP]
    if wrong:
        names = [name.split()[0] for name in COMMANDS]
        typed = next((name for name in names if wrong[0] in (name, name.rpartition(".")[2])), None)
        expected = f"python -m {typed}" if typed else "no argument, which lists the commands"
        raise UserError(f"unexpected argument {wrong[0]}: expected {expected}")
    commands = [(f"python -m {name}", explanation) for name, explanation in COMMANDS.items()]
    text = commands_text(commands, terminal_columns())
    print_lines([*text.split("\n"), "", "Each command explains its settings with --help."])


def main() -> None:
    """Run the command line."""
    guarded(lambda: list_commands(sys.argv[1:]))
