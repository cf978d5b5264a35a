"""Shards of WebDataset on a disk: tars of samples, each of which is several files of one name."""

import itertools
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from wgan_dist.config.text_lists import path_exists
from wgan_dist.data.sources.archives import TAR, Member, list_members, read_text, tar_members
from wgan_dist.data.sources.base import ImageListing, Source
from wgan_dist.data.sources.class_names import ClassNames
from wgan_dist.data.sources.other_files import count_by_suffix, may_be_image
from wgan_dist.data.sources.paths import (
    expand_home,
    hash_of,
    is_hidden,
    name_of_path,
    size_and_mtime,
)
from wgan_dist.utils.console import escape_unprintable
from wgan_dist.utils.errors import UserError

# The keys of a sample's image, and of its class, which has at most so many bytes; all other files are left out.
IMAGE_KEYS = ("jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff")
CLASS_KEY, CLASS_LIMIT = "cls", 1024
SHARD_LIMIT, PATTERN_LIMIT = 100_000, 4096
RANGE = re.compile(r"(-?\d+)\.\.(-?\d+)")
KEYS_SHOWN = 10
MISSING = 'needs WebDataset: pip install "wgan_dist[wds]"'

# A function that splits a file's name into its sample, up to the first dot, and its key, the rest.
SplitName = Callable[[str], tuple[str | None, str | None]]


def is_pattern(data: str) -> bool:
    """Return whether `data` names several files by braces, as `shards/{000..099}.tar`."""
    return "{" in data and not path_exists(data)


def expand_pattern(data: str) -> list[str]:
    """Return the names that a brace pattern stands for, in its order; raise UserError for an invalid one."""
    try:
        from braceexpand import braceexpand
    except ImportError:
        raise UserError(f"data={data}: {MISSING}") from None
    if len(data) > PATTERN_LIMIT:
        raise UserError(f"data={data}: expected a pattern of at most {PATTERN_LIMIT:,} letters")
    # braceexpand builds the list of a whole range before it yields the first name.
    is_long = any(abs(float(last) - float(first)) >= SHARD_LIMIT for first, last in RANGE.findall(data))
    try:
        names = [] if is_long else list(itertools.islice(braceexpand(data), SHARD_LIMIT + 1))
    except (ValueError, RecursionError) as error:
        raise UserError(f"data={data}: {error}; expected a pattern as shards/{{000..099}}.tar") from error
    if is_long or len(names) > SHARD_LIMIT:
        raise UserError(f"data={data}: expected at most {SHARD_LIMIT:,} shards")
    return names


def shards_in(folder: Path) -> list[Path]:
    """Return the tars of a folder, sorted by name, or an empty list if it holds anything else that may be an image."""
    with os.scandir(folder) as entries:
        visible = [entry for entry in entries if not is_hidden(entry.name) and may_be_image(entry.name)]
        only_tars = all(entry.name.endswith(TAR) and entry.is_file() for entry in visible)
        return sorted(folder / entry.name for entry in visible) if only_tars else []


def files_beside(folder: Path) -> Counter[str]:
    """Count the files in a folder of shards that are no images, such as an index, by suffix."""
    names = (path.name for path in folder.iterdir() if not is_hidden(path.name))
    return count_by_suffix(name for name in names if not may_be_image(name))


def pattern_name(data: str) -> str:
    """Return the name of the data of a brace pattern: the text before the braces, or the folder's name."""
    prefix = Path(data.partition("{")[0] + "{")
    return prefix.name.rstrip("{").rstrip("-_.0123456789") or name_of_path(prefix.parent)


def pattern_source(data: str) -> Source:
    """Return the source of the shards that a brace pattern names; raise UserError for a shard that does not exist."""
    shards = [expand_home(name, f"data={data}") for name in expand_pattern(data)]
    for shard in shards:
        if shard.suffix != TAR or not shard.is_file():
            raise UserError(f"data={data}: {shard}: expected a file ending in {TAR}")
    return shards_source(pattern_name(data), shards, data, Counter())


def _shard_images(
    members: list[Member], split_name: SplitName, other_keys: Counter[str]
) -> Iterator[tuple[Member, Member | None]]:
    """Yield each image of a shard and the file of its class, and count the keys of all other files in `other_keys`.

    Files of other keys beside a sample's image, such as masks, are left out. In a sample without an image, an image
    under another key most likely has a dot in its name, and is an error.
    """
    parts = [split_name(member.name) for member in members]
    samples, keys = [sample for sample, _ in parts], [(key or "").lower() for _, key in parts]
    complete = {sample for sample, key in zip(samples, keys, strict=True) if key in IMAGE_KEYS}
    classes = {sample: member for member, sample, key in zip(members, samples, keys, strict=True) if key == CLASS_KEY}
    for member, sample, key in zip(members, samples, keys, strict=True):
        if key in IMAGE_KEYS:
            yield member, classes.get(sample)
            continue
        is_dotted = sample not in complete and key.rpartition(".")[2] in IMAGE_KEYS
        other_keys[key] += not is_dotted
        if is_dotted:
            error = f"its key in WebDataset is {key!r}: expected {', '.join(IMAGE_KEYS)}"
            yield replace(member, error=error), None


def _read_classes(files: Sequence[Member | None], data: str) -> ClassNames | None:
    """Return the class in each of the files, None where there is no file; None if there is none at all."""
    if not any(files):
        return None

    def read(file: Member) -> str | None:
        try:
            return read_text(file, CLASS_LIMIT, data).decode().strip() or None
        except ValueError as error:
            raise UserError(f"data={data}: {escape_unprintable(file.name)}: {error}; expected a class") from error

    return ClassNames([None if file is None else read(file) for file in files])


def _list_images(shards: list[Path], data: str, beside: Counter[str]) -> ImageListing:
    try:
        from webdataset.tariterators import base_plus_ext
    except ImportError:
        raise UserError(f"data={data}: {MISSING}") from None
    other_keys = Counter[str]()
    images: list[Member] = []
    class_files: list[Member | None] = []
    for shard in shards:
        setting = data if str(shard) == data else f"{data}: {escape_unprintable(str(shard))}"
        for member, class_file in _shard_images(list(tar_members(shard, setting)), base_plus_ext, other_keys):
            images.append(replace(member, name=f"{shard.name}/{member.name}"))
            class_files.append(class_file)
    if all(member.error for member in images):
        found = ", ".join(map(escape_unprintable, sorted(other_keys)[:KEYS_SHOWN])) or "none"
        raise UserError(f"data={data}: no image under a key of {', '.join(IMAGE_KEYS)}; keys of the samples: {found}")
    left_out = beside + Counter({f".{escape_unprintable(key)}": other_keys[key] for key in other_keys})
    return list_members(images, left_out, lambda: _read_classes(class_files, data))


def shards_source(name: str, shards: list[Path], data: str, beside: Counter[str]) -> Source:
    """Return the source of all samples' images, in the order of the shards and of their files.

    The shards are indexed, not streamed, so that any image can be read at any time. `beside` counts the files beside
    the shards by suffix. Listing raises UserError if a shard is damaged or cut short, or no sample has an image.
    """
    stamps = [(str(shard.resolve()), *size_and_mtime(shard)) for shard in shards]
    identity = hash_of([stamps, sorted(beside.items())])
    return Source(name, identity, lambda: _list_images(shards, data, beside))
