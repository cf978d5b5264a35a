"""`python -m export.bundle`: write a folder with a generator and everything another program needs to sample from it."""

from export.settings import BundleSettings
from wgan_dist.config.command_line import run_command

USAGE = """
Write a folder that another program can include as it is: the generator as an ONNX file, a sampler that needs only
numpy and onnxruntime, an example, the model card, a grid of samples, the licence, and a checksum of every file.

  python -m export.bundle --ckpt=runs/0001 --out=cats/
  python cats/example.py
"""

if __name__ == "__main__":
    run_command("export.bundle_folder:export_bundle", BundleSettings, USAGE)
