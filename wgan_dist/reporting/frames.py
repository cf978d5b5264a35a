"""The fixed noise through training: which pictures of a run are shown, and as an animation."""

import io
import re
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageOps

from wgan_dist.checkpoints.run_dir import SAMPLES
from wgan_dist.reporting.image_files import Picture
from wgan_dist.reporting.runs import Run
from wgan_dist.utils.files import atomic_file
from wgan_dist.utils.images import labelled, write_gif

KINDS = {"ema": "averaged weights", "raw": "last weights"}
MILLISECONDS = 400
_NAME = re.compile(r"step-([0-9]+)-(ema|raw)\.png")


@dataclass(frozen=True)
class Frame:
    """The picture of a run's fixed noise at a generator step."""

    step: int
    picture: Picture


def spread(count: int, most: int) -> list[int]:
    """At most `most` of range(count), evenly apart, the first and the last among them."""
    if count <= most:
        return list(range(count))
    return sorted({round(place * (count - 1) / (most - 1)) for place in range(most)})


def _readable(path: Path) -> bytes:
    """The content of a PNG; raises OSError for a file that is none."""
    content = path.read_bytes()
    with Image.open(io.BytesIO(content), formats=("PNG",)) as picture:
        picture.load()
    return content


def read_frames(run: Run, kind: str, most: int, folder: str) -> tuple[list[Frame], list[str]]:
    """At most `most` pictures of the run's fixed noise, by step, and words for those that cannot be read.

    `kind` is ema or raw; `folder` is where they go beside the page.
    """
    found = sorted(
        (int(match[1]), path)
        for path in (run.folder / SAMPLES).glob(f"step-*-{kind}.png")
        if (match := _NAME.fullmatch(path.name))
    )
    frames, notes = [], []
    for step, path in (found[place] for place in spread(len(found), most)):
        alt = f"Samples of {run.name} from fixed noise after {step:,} generator steps, {KINDS[kind]}"
        try:
            frames.append(Frame(step, Picture(f"{folder}/{path.name}", _readable(path), alt)))
        except (OSError, SyntaxError, ValueError):  # as Pillow has it
            notes.append(f"{SAMPLES}/{path.name} cannot be read")
    return frames, notes


def write_animation(frames: list[Frame], path: Path) -> bytes:
    """The frames, one or more, as an endless GIF, each under its step; its content."""
    pictures = []
    for frame in frames:
        with Image.open(io.BytesIO(frame.picture.content), formats=("PNG",)) as picture:
            # A run may have changed the number of its samples on the way.
            same_size = ImageOps.pad(picture.convert("RGB"), frames[-1].picture.size)
        pictures.append(labelled(same_size, f"step {frame.step:,}"))
    with atomic_file(path) as partial:
        write_gif(pictures, partial, MILLISECONDS)
        return partial.read_bytes()
