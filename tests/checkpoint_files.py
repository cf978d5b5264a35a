"""Checkpoints of contents that tests choose."""

from pathlib import Path

from wgan_dist.checkpoints.checkpoint_folders import prune
from wgan_dist.checkpoints.manifest import write_folder


def save_files(folder: Path, files: dict[str, bytes], keep: int = 99) -> None:
    """Write a checkpoint of these files, by name their content, and keep the newest `keep`."""
    write_folder(folder, files.items())
    prune(folder.parent, keep)
