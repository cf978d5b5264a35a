"""`python -m export.program`: export a generator as torch's exported program (.pt2), or compiled for this machine."""

from export.settings import ProgramSettings
from wgan_dist.config.command_line import run_command

USAGE = """
Export a trained generator as torch's exported program: input z float32 [n, latent_dim], output images, any batch size.

  python -m export.program --ckpt=runs/0001 --out=generator.pt2

The command compares the file with the network at several batch sizes, prints the difference, and writes no file if
the difference is too large. --compiled writes an AOTInductor package instead: machine code for this kind of CPU, which
torch and C++ programs load. Both kinds of file can run code when they are opened: open only files that you trust.
"""

if __name__ == "__main__":
    run_command("export.program_file:export_program", ProgramSettings, USAGE)
