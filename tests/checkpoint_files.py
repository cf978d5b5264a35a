"""Checkpoints of contents that tests choose."""

from pathlib import Path

from wgan_dist.checkpoints.checkpoint import Draft


def save_files(folder: Path, files: dict[str, bytes], keep: int = 99) -> None:
    """A checkpoint of these files, by name their content."""
    Draft(folder, ((name, [content]) for name, content in files.items())).finish(keep)
