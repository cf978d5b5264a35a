"""The samples of fixed noise in the course of training, as frames of a slider and as an animation."""

import io
import re
import warnings
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageOps

from wgan_dist.checkpoints.run_dir import SAMPLES, is_inside
from wgan_dist.data.sources.base import DECODING_ERRORS
from wgan_dist.reporting.image_files import Picture
from wgan_dist.reporting.run_data import RunData
from wgan_dist.utils.console import note
from wgan_dist.utils.files import atomic_file, read_file
from wgan_dist.utils.images import LABEL_HEIGHT, labelled, write_gif

WEIGHTS = {"ema": "averaged weights", "raw": "last weights"}
FRAME_MILLISECONDS = 400
_FILE_NAME = re.compile(r"step-([0-9]{1,18})-(ema|raw)\.png")
# What a picture may have: a grid of 64 images of 512×512 has half of these pixels.
MAX_PNG_BYTES, MAX_PIXELS = 1 << 27, 1 << 25
# The greatest width and height of a GIF, and the pixels of an animation, which are all in memory: 800 MB.
MAX_SIDE, MAX_ANIMATION_PIXELS = 65_535, 1 << 28
# What Pillow raises for a file that is no picture, or too large a one.
UNREADABLE = (*DECODING_ERRORS, Image.DecompressionBombWarning)


@dataclass(frozen=True)
class Frame:
    """The picture of a run's fixed noise after a number of generator steps."""

    step: int
    picture: Picture


def evenly_spaced(count: int, limit: int) -> list[int]:
    """Return at most `limit` indices of range(count), evenly spaced, with the first and the last."""
    if count <= limit:
        return list(range(count))
    return sorted({round(number * (count - 1) / (limit - 1)) for number in range(limit)})


def _read_png(path: Path) -> bytes:
    """Return the content of a PNG file. Raises one of UNREADABLE if it is none, or of too many pixels."""
    content = read_file(path, MAX_PNG_BYTES)
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
            if image.width * image.height > MAX_PIXELS or max(image.size) > MAX_SIDE:
                raise ValueError(f"{image.width}×{image.height} pixels")
            image.load()
    return content


def sample_files(run_dir: Path, weights: str) -> list[tuple[int, Path]]:
    """Return the pictures of a run's fixed noise with `ema` or `raw` weights, each with its step, in their order."""
    return sorted(
        (int(match[1]), path)
        for path in (run_dir / SAMPLES).glob(f"step-*-{weights}.png")
        if (match := _FILE_NAME.fullmatch(path.name))
    )


def read_frames(run: RunData, weights: str, limit: int, folder: str) -> tuple[list[Frame], list[str]]:
    """Return at most `limit` pictures of a run's fixed noise in the order of their steps, and notes on unreadable ones.

    Args:
        run: The run.
        weights: `ema` or `raw`.
        limit: The maximum number of frames.
        folder: The folder of the pictures within the report.
    """
    files = sample_files(run.folder, weights)
    frames, notes = [], []
    for step, path in (files[index] for index in evenly_spaced(len(files), limit)):
        if not is_inside(path, run.folder):  # a stranger's run must not show pictures of this machine
            notes.append(f"{SAMPLES}/{path.name} is a link that leads out of the run, and was left out")
            continue
        alt = f"Samples of {run.name} from fixed noise after {step:,} generator steps, {WEIGHTS[weights]}"
        try:
            frames.append(Frame(step, Picture(f"{folder}/{path.name}", _read_png(path), alt)))
        except UNREADABLE:
            notes.append(f"{SAMPLES}/{path.name} cannot be read")
    return frames, notes


def write_animation(frames: list[Frame], path: Path) -> bytes:
    """Write one or more frames as an endless GIF, each labelled with its step, and return the file's content.

    Of more large frames than MAX_ANIMATION_PIXELS it shows fewer, evenly spaced.
    """
    width, height = frames[-1].picture.size
    shown = evenly_spaced(len(frames), MAX_ANIMATION_PIXELS // (width * (height + LABEL_HEIGHT)))
    if len(shown) < len(frames):
        note(f"{path.name}: shows {len(shown)} of {len(frames)} pictures, since they are large")
    images = []
    for frame in (frames[index] for index in shown):
        with Image.open(io.BytesIO(frame.picture.content), formats=("PNG",)) as image:
            # The number of samples may have changed when the run was resumed.
            same_size = ImageOps.pad(image.convert("RGB"), (width, height))
        images.append(labelled(same_size, f"step {frame.step:,}"))
    with atomic_file(path) as partial:
        write_gif(images, partial, FRAME_MILLISECONDS)
        return partial.read_bytes()
