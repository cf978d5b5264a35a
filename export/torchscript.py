"""`python -m export.torchscript`: export a generator as a TorchScript file, for programs built on libtorch."""

from export.settings import TorchScriptSettings
from wgan_dist.config.command_line import run_command

USAGE = """
Export a trained generator as TorchScript: input z float32 [n, latent_dim], output images, any batch size n.

  python -m export.torchscript --ckpt=runs/0001 --out=generator.pt

The command compares the file with the network at several batch sizes, prints the difference, and writes no file if
the difference is too large. --precision=bf16 is for CPUs with bfloat16 instructions (AVX512-BF16, AMX). The file is a
program: open only files that you trust.
"""

if __name__ == "__main__":
    run_command("export.torchscript_file:export_torchscript", TorchScriptSettings, USAGE)
