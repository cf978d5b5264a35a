"""The command line that looks at data before anything is trained on them."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wgan_dist.config import Config, command_line, parse_background
from wgan_dist.config.fields import from_flags, setting
from wgan_dist.utils.errors import UserError

if TYPE_CHECKING:
    from wgan_dist.data.inspect import Inspection

USAGE = """
Look at data: how many images of which formats and sizes, what is wrong, and with which settings to begin.

  python -m wgan_dist.data inspect photos/                           a summary, and a command to begin with
  python -m wgan_dist.data inspect a/,b.zip --out=contact.png        also a sheet of images and what is made of them

Takes whatever --data of training takes.
"""
# Of the suggestion: without a GPU what a few hours are enough for, as the README begins on a CPU.
CPU_SIZE, GPU_SIZE, BATCH = 32, 64, 64
CPU_FLAGS = ("--generator_features=16", "--critic_features=16", "--max_steps=2000")


@dataclass(frozen=True)
class InspectSettings:
    """What an inspection is told."""

    data: tuple[str, ...] = setting((), "what to look at, instead of the word after inspect")
    image_size: int | None = setting(None, "of the suggestion and the sheet; auto: by the median", least=1)
    background: str = setting(Config.background, "colour under transparent pixels", parse=parse_background)
    out: str = setting("", "PNG of the sheet: each image as it is, and as training sees it")
    count: int = setting(24, "images on the sheet", least=1)
    seed: int = setting(0, "of the choice of these", least=0)
    cache_dir: str = setting(Config.cache_dir, "folder of downloaded images")


def _sizes() -> Sequence[int]:
    """What the default networks make."""
    from wgan_dist.models.registry import GENERATORS

    return GENERATORS[Config.generator].sizes


def _fitting_size(median: float, most: int) -> int:
    """The largest that the default networks make and most pictures have, but at most `most`."""
    return max((size for size in _sizes() if size <= min(median, most)), default=_sizes()[0])


def suggestion(settings: InspectSettings, image_size: int, count: int, any_bad: bool, on_gpu: bool) -> str:
    """A command that trains on `count` readable images, to be pasted into a shell."""
    batch = min(BATCH, 1 << (count.bit_length() - 1))
    flags = [f"--data={','.join(settings.data)}", f"--image_size={image_size}", f"--batch_size={batch}"]
    flags += [f"--background={settings.background}"] * (settings.background != Config.background)
    flags += ["--skip_bad_images"] * any_bad + list(CPU_FLAGS) * (not on_gpu)
    return shlex.join(["python", "-m", "wgan_dist.train", *flags])


def _beginning(settings: InspectSettings, found: "Inspection", size: int, on_gpu: bool) -> list[str]:
    """Lines that say how to begin: at `size`, or at the nearest below that the default networks make."""
    made = _fitting_size(size, size)
    megabytes = len(found.facts) * found.channels * made**2 / 2**20
    other = "" if made == size else f"{Config.generator} makes {', '.join(map(str, _sizes()))}, and not {size}; "
    return [
        f"{other}to begin with, at {made}×{made} in {found.channels} channels ({megabytes:.1f} MiB of cache):",
        f"  {suggestion(settings, made, len(found.facts), bool(found.bad), on_gpu)}",
    ]


def _points(name: str) -> None:
    from wgan_dist.data import open_points

    points = open_points(name)
    low, high = points.values.min(axis=0), points.values.max(axis=0)
    print(f"{name}: {len(points):,} points in the plane, no images")
    print(f"  x {low[0]:.2f} to {high[0]:.2f}, y {low[1]:.2f} to {high[1]:.2f}")
    print(f"  python -m wgan_dist.train --recipe=toy_{name}")


def _images(settings: InspectSettings) -> None:
    import torch

    from wgan_dist.data.datasets import decoding_voice
    from wgan_dist.data.inspect import choose, contact_sheet, describe, inspect
    from wgan_dist.data.sources.base import expanded
    from wgan_dist.data.sources.registry import open_source
    from wgan_dist.utils.files import atomic_file
    from wgan_dist.utils.images import labelled

    cache = expanded(settings.cache_dir, f"cache_dir={settings.cache_dir}")
    sources = [open_source(each, cache) for each in settings.data]
    listed = [source.pictures() for source in sources]
    found = inspect(listed, decoding_voice("looked at"))
    if not found.facts:
        raise UserError(f"data={','.join(settings.data)}: no readable image; the first: {found.bad[0]}")
    on_gpu = torch.cuda.is_available()
    median = sorted(found.shorter_sides)[len(found.facts) // 2]
    size = settings.image_size or _fitting_size(median, GPU_SIZE if on_gpu else CPU_SIZE)
    name = "+".join(source.name for source in sources)
    print("\n".join([name, *describe(found, size), *_beginning(settings, found, size, on_gpu)]))
    if settings.out:
        chosen = choose(found, settings.count, settings.seed)
        sheet = contact_sheet(listed, chosen, size, found.channels, settings.background)
        with atomic_file(settings.out) as partial:
            labelled(sheet, f"as it is | as training sees it, {size} x {size}").save(partial, "PNG")
        print(f"{settings.out}: {len(chosen)} of the images")


def inspect_data(words: list[str], flags: dict[str, str]) -> None:
    """Print what the texts of settings ask for; what the command line does."""
    if words[:1] != ["inspect"] or len(words) > 2:
        raise UserError(f"{' '.join(words) or 'nothing'}: expected inspect PATH[,PATH]")
    settings = from_flags(InspectSettings, flags | ({"data": words[1]} if len(words) == 2 else {}))
    if not settings.data:
        raise UserError("inspect: expected a folder, archive or name, as inspect photos/")
    if settings.out and Path(settings.out).suffix.lower() != ".png":
        raise UserError(f"out={settings.out}: expected a file ending in .png")
    from wgan_dist.data import are_points

    if are_points(settings.data):
        _points(settings.data[0])
    else:
        _images(settings)


if __name__ == "__main__":
    command_line.run_on(inspect_data, InspectSettings, USAGE)
