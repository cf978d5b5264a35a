"""`python -m export.onnx`: export a generator as one ONNX file."""

from export.settings import OnnxSettings
from wgan_dist.config.command_line import run_command

USAGE = """
Export a trained generator as one ONNX file: input z float32 [n, latent_dim], output images, any batch size n.

  python -m export.onnx --ckpt=runs/0001 --out=generator.onnx

The command compares the file with the network at several batch sizes, prints the difference, and writes no file if
the difference is too large. --precision=int8 samples several times faster on a CPU; fp16 is for GPUs.
"""

if __name__ == "__main__":
    run_command("export.onnx_file:export_onnx", OnnxSettings, USAGE)
