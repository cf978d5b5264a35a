"""Checks of `--out`, whose name says what is written there: a file by its suffix, or a folder."""

import os
from pathlib import Path

from wgan_dist.utils.errors import UserError

# The pictures and arrays that sampling writes. The sampler of exported files, which stands alone, has lists of its own.
ARRAYS = (".npy", ".npz", ".tif", ".tiff")
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".ppm", ".tga")


def is_folder(out: str) -> bool:
    """Return whether `out` names a folder: it ends in a separator, or there is one of that name."""
    return out.endswith(("/", os.sep)) or os.path.isdir(out)  # noqa: PTH112 a Path raises for a long name


def check_file(out: str, *suffixes: str) -> None:
    """Raise UserError unless `out` names a file that ends in one of `suffixes`, which are in lower case."""
    if is_folder(out) or Path(out).suffix.lower() not in suffixes:
        raise UserError(f"out={out}: expected a file ending in {', '.join(suffixes)}")


def check_file_or_folder(out: str, *suffixes: str) -> None:
    """Raise UserError unless `out` names a folder, or a file that ends in one of `suffixes`."""
    if not is_folder(out) and Path(out).suffix.lower() not in suffixes:
        raise UserError(
            f"out={out}: expected a file ending in {', '.join(suffixes)}, or a folder: one that exists, or a name "
            "ending in /"
        )


def check_folder(out: str) -> None:
    """Raise UserError if `out` has the suffix of a file and is no folder."""
    if Path(out).suffix and not is_folder(out):
        raise UserError(f"out={out}: expected a folder; a name with a suffix needs a / at its end")
