"""A name or a path → the source of its pictures."""

import os
from pathlib import Path

from wgan_dist.config.fields import unknown_name
from wgan_dist.data.sources.archives import SUFFIXES, archive_source, is_archive
from wgan_dist.data.sources.base import (
    DIGITS,
    TORCHVISION,
    Source,
    expanded,
    folder_source,
    idx_files,
    idx_source,
    name_of,
    torchvision_source,
)
from wgan_dist.data.sources.huggingface import PREFIX, hugging_face_source
from wgan_dist.data.sources.webdataset import is_pattern, pattern_name, shards_below, shards_named, shards_source
from wgan_dist.data.synthetic import DRAWS
from wgan_dist.utils.errors import UserError


def _from_folder(path: Path) -> Source:
    if idx := idx_files(path):
        return idx_source(path, idx, name_of(path))
    if shards := shards_below(path):
        return shards_source(name_of(path), shards, str(path))
    return folder_source(path)


def _unknown(data: str, path: Path) -> UserError:
    if path.exists():
        return UserError(f"data={data}: expected a folder, or a file ending in {', '.join(SUFFIXES)}")
    if os.sep in data or data.startswith((".", "~")) or Path(data).suffix[1:].isalpha():
        return UserError(f"data={data}: there is no such folder or file")
    return unknown_name("data (no folder of that name, and not a data set)", data, ["digits", *DRAWS, *TORCHVISION])


def _opened(data: str, cache_dir: Path) -> Source:
    if data == "digits":
        return idx_source(DIGITS, idx_files(DIGITS), data)
    if data.startswith(PREFIX):
        return hugging_face_source(data, cache_dir)
    if is_pattern(data):
        return shards_source(pattern_name(data), shards_named(data), data)
    path = expanded(data, f"data={data}")
    if path.is_dir():
        return _from_folder(path)
    if data in TORCHVISION:
        return torchvision_source(data, cache_dir)
    if is_archive(path):
        return archive_source(path, data, cache_dir)
    raise _unknown(data, path)


def open_source(data: str, cache_dir: Path) -> Source:
    """`data`, a name known here, a path, a pattern of paths or hf:…, as a Source; raises UserError naming it."""
    try:
        return _opened(data, cache_dir)
    except OSError as error:
        raise UserError(f"data={data}: cannot be read: {error.strerror or error}") from error
