"""The registry of sources: from a value of `--data` to the source of its images."""

import os
from pathlib import Path

from wgan_dist.config.fields import unknown_name
from wgan_dist.data.sources.archives import SUFFIXES, archive_source, is_archive
from wgan_dist.data.sources.base import Source
from wgan_dist.data.sources.folder import folder_source
from wgan_dist.data.sources.huggingface import PREFIX, hugging_face_source
from wgan_dist.data.sources.idx import DIGITS, find_idx_files, idx_source
from wgan_dist.data.sources.paths import expand_home, name_of_path
from wgan_dist.data.sources.torchvision_datasets import TORCHVISION, torchvision_source
from wgan_dist.data.sources.webdataset import files_beside, is_pattern, pattern_source, shards_in, shards_source
from wgan_dist.data.synthetic import DRAWS
from wgan_dist.utils.errors import UserError


def _open_folder(path: Path) -> Source:
    if idx_files := find_idx_files(path):
        return idx_source(path, idx_files, name_of_path(path))
    if shards := shards_in(path):
        return shards_source(name_of_path(path), shards, str(path), files_beside(path))
    return folder_source(path)


def _unknown_data(data: str, path: Path) -> UserError:
    if path.exists():
        return UserError(f"data={data}: expected a folder, or a file ending in {', '.join(SUFFIXES)}")
    if os.sep in data or data.startswith((".", "~")) or Path(data).suffix[1:].isalpha():
        return UserError(f"data={data}: there is no such folder or file")
    return unknown_name("data (no folder of that name, and not a data set)", data, ["digits", *DRAWS, *TORCHVISION])


def _open(data: str, cache_dir: Path) -> Source:
    if data == "digits":
        return idx_source(DIGITS, find_idx_files(DIGITS), data)
    if data.startswith(PREFIX):
        return hugging_face_source(data, cache_dir)
    if is_pattern(data):
        return pattern_source(data)
    path = expand_home(data, f"data={data}")
    if path.is_dir():
        return _open_folder(path)
    if data in TORCHVISION:
        return torchvision_source(data, cache_dir)
    if is_archive(path):
        return archive_source(path, data, cache_dir)
    raise _unknown_data(data, path)


def open_source(data: str, cache_dir: Path) -> Source:
    """Return the source that `data` names: a known data set, a path, a brace pattern of paths, or hf:….

    Raises:
        UserError: If there is no such data, or it cannot be read.
    """
    try:
        return _open(data, cache_dir)
    except OSError as error:
        raise UserError(f"data={data}: cannot be read: {error.strerror or error}") from error
