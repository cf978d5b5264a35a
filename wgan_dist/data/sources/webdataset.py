"""Shards of WebDataset: tars of samples, of which each is a few files of one name, on a disk."""

import itertools
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from wgan_dist.data.sources.archives import TAR, Member, content_of, members_at, tar_pictures
from wgan_dist.data.sources.base import Pictures, Source, digest, expanded, is_hidden, name_of, printable, stamp
from wgan_dist.utils.errors import UserError

# What a sample's picture is called; whatever else it has, as labels, is left where it is.
PICTURE_KEYS = ("jpg", "jpeg", "png", "webp", "bmp")
PATTERN_LIMIT = 100_000
RANGE = re.compile(r"(-?\d+)\.\.(-?\d+)")
KEYS_SHOWN = 10
MISSING = 'needs WebDataset: pip install "wgan_dist[wds]"'


def is_pattern(data: str) -> bool:
    """Whether `data` names several files by braces, as shards/{000..099}.tar."""
    return "{" in data and not os.path.lexists(data)


def _is_long(first: str, last: str) -> bool:
    try:
        return abs(int(last) - int(first)) >= PATTERN_LIMIT
    except ValueError:
        return True  # of more digits than Python reads


def expand(data: str) -> list[str]:
    """The names that a pattern of braces stands for, in its order; raises UserError for one that is none."""
    try:
        from braceexpand import braceexpand
    except ImportError:
        raise UserError(f"data={data}: {MISSING}") from None
    # The library writes out each range before it gives the first name.
    long = any(_is_long(first, last) for first, last in RANGE.findall(data))
    try:
        names = [] if long else list(itertools.islice(braceexpand(data), PATTERN_LIMIT + 1))
    except (ValueError, RecursionError) as error:
        raise UserError(f"data={data}: {error}; expected a pattern as shards/{{000..099}}.tar") from error
    if long or len(names) > PATTERN_LIMIT:
        raise UserError(f"data={data}: expected at most {PATTERN_LIMIT:,} shards")
    return names


def shards_below(folder: Path) -> list[Path]:
    """The tars of a folder in the order of their names, or nothing if it holds anything else."""
    with os.scandir(folder) as entries:
        visible = [entry for entry in entries if not is_hidden(entry.name)]
        only_tars = all(entry.name.endswith(TAR) and entry.is_file() for entry in visible)
        return sorted(folder / entry.name for entry in visible) if only_tars else []


def shards_named(data: str) -> list[Path]:
    """The tars that a pattern names; raises UserError for one that is not there."""
    shards = [expanded(name, f"data={data}") for name in expand(data)]
    for shard in shards:
        if shard.suffix != TAR or not shard.is_file():
            raise UserError(f"data={data}: {shard}: expected a file ending in {TAR}")
    return shards


def pattern_name(data: str) -> str:
    """What the data of a pattern are called: its own words before the braces, or the folder."""
    before = Path(data.partition("{")[0] + "{")
    return before.name.rstrip("{").rstrip("-_.0123456789") or name_of(before.parent)


def _splitter(data: str) -> Callable[[str], tuple[str, str]]:
    """A file's name → its sample's, up to the first dot, and its key, all that follows."""
    try:
        from webdataset.tariterators import base_plus_ext
    except ImportError:
        raise UserError(f"data={data}: {MISSING}") from None

    def split(name: str) -> tuple[str, str]:
        sample, key = base_plus_ext(name)
        return sample or name, (key or "").lower()

    return split


def _of_shard(members: list[Member], split: Callable[[str], tuple[str, str]], keys: set[str]) -> Iterator[Member]:
    """The pictures of a shard. Beside its picture a sample may have others, as masks, which are left alone; where it
    has none, a picture of another key most likely is a name with a dot, and is said to be wrong.
    """
    parts = [split(member.name) for member in members]
    complete = {sample for sample, key in parts if key in PICTURE_KEYS}
    for member, (sample, key) in zip(members, parts, strict=True):
        if key in PICTURE_KEYS:
            yield member
            continue
        keys.add(key)
        if sample not in complete and key.rpartition(".")[2] in PICTURE_KEYS:
            yield replace(member, wrong=f"its key in WebDataset is {key!r}: expected {', '.join(PICTURE_KEYS)}")


def _samples(shards: list[Path], data: str, keys: set[str]) -> Iterator[tuple[Path, Member]]:
    """Every picture in the order of the shards and their files; `keys` gathers what else there is."""
    split = _splitter(data)
    for shard in shards:
        members = members_at(shard, f"{data}: {printable(str(shard))}" if str(shard) != data else data)
        yield from ((shard, member) for member in _of_shard(members, split, keys))


def _pictures(shards: list[Path], data: str) -> Pictures:
    keys: set[str] = set()
    found = list(_samples(shards, data, keys))
    if all(member.wrong for _, member in found):
        there = ", ".join(map(printable, sorted(keys)[:KEYS_SHOWN])) or "none"
        raise UserError(f"data={data}: no picture under {', '.join(PICTURE_KEYS)}; keys of the samples: {there}")
    members = tar_pictures([member for _, member in found], lambda index, member: content_of(found[index][0], member))
    return Pictures([f"{shard.name}/{member.name}" for shard, member in found], members.open)


def shards_source(name: str, shards: list[Path], data: str) -> Source:
    """The pictures of all samples, in the order of the shards and within each as they lie.

    Indexed, not streamed: every file of a tar has its place, so that any picture can be read at any time. Listing
    raises UserError for a shard that is damaged or cut short, and where no sample has a picture.
    """
    identity = digest([(str(shard.resolve()), *stamp(shard)) for shard in shards])
    return Source(name, identity, lambda: _pictures(shards, data))
