"""The registry of sources: from a value of `--data` to the source of its images."""

import dataclasses
import os
from pathlib import Path

from wgan_dist.config.data_choices import BUILT_IN, DATA_SETS, POINTS, unknown_data
from wgan_dist.config.text_lists import HUGGING_FACE, path_exists, split_reference
from wgan_dist.data.sources.archives import SUFFIXES, archive_source, is_archive
from wgan_dist.data.sources.array_values import AUTO
from wgan_dist.data.sources.arrays import ARRAY_SUFFIXES, array_source, is_array_file
from wgan_dist.data.sources.base import Source
from wgan_dist.data.sources.folder import folder_source
from wgan_dist.data.sources.huggingface import hugging_face_source
from wgan_dist.data.sources.idx import DIGITS, find_idx_files, idx_source
from wgan_dist.data.sources.paths import expand_home, name_of_path
from wgan_dist.data.sources.random_field import random_field_source
from wgan_dist.data.sources.torchvision_datasets import TORCHVISION, torchvision_source
from wgan_dist.data.sources.webdataset import files_beside, is_pattern, pattern_source, shards_in, shards_source
from wgan_dist.utils.errors import UserError


def _open_folder(path: Path, axes: str) -> Source:
    if idx_files := find_idx_files(path):
        return idx_source(path, idx_files, name_of_path(path))
    if shards := shards_in(path):
        return shards_source(name_of_path(path), shards, str(path), files_beside(path))
    return folder_source(path, axes)


def _open_file(path: Path, data: str, cache_dir: Path, axes: str) -> Source:
    if is_archive(path):
        return archive_source(path, data, cache_dir)
    if is_array_file(path):
        return array_source(path, data, axes)
    if path.exists():
        expected = ", ".join((*SUFFIXES, *ARRAY_SUFFIXES))
        raise UserError(f"data={data}: expected a folder, or a file ending in {expected}")
    raise unknown_data(data)


def _open_built_in(name: str) -> Source:
    if name == "digits":
        return idx_source(DIGITS, find_idx_files(DIGITS), name)
    return random_field_source(name)


def _open(data: str, cache_dir: Path, download: bool, axes: str) -> Source:
    if data in BUILT_IN:
        return _open_built_in(data)
    if data.startswith(HUGGING_FACE):
        return hugging_face_source(data, cache_dir, download)
    if is_pattern(data):
        return pattern_source(data)
    path = expand_home(data, f"data={data}")
    if path.is_dir():
        return _open_folder(path, axes)
    if data in TORCHVISION:
        return torchvision_source(data, cache_dir, download)
    return _open_file(path, data, cache_dir, axes)


def absolute_data(data: str) -> str:
    """Return the value of `--data` that names the same data from every folder; names of data sets stay as they are."""
    if data in (*BUILT_IN, *POINTS):
        return data
    prefix = HUGGING_FACE if data.startswith(HUGGING_FACE) else ""
    path = os.path.expanduser(data.removeprefix(prefix))  # noqa: PTH111 a pattern is no Path
    is_path = path_exists(split_reference(path)[0] if prefix else path) or is_pattern(data)
    return prefix + os.path.abspath(path) if is_path else data  # noqa: PTH100 a pattern is no Path


def _is_known(data: str) -> bool:
    """Return whether `data` names a known data set; a folder of that name comes before those of torchvision."""
    return data in DATA_SETS and (data in BUILT_IN or not Path(data).is_dir())


def open_source(data: str, cache_dir: Path, download: bool = True, axes: str = AUTO) -> Source:
    """Return the source that `data` names: a known data set, a path, a brace pattern of paths, or hf:….

    With `download` false, a data set of the Hub or of torchvision is read if it was downloaded before.
    `axes` is the order of the axes of arrays: auto, nchw or nhwc.

    The name of a source that is not the known data set of its name ends in a slash: a folder called mnist is not MNIST.

    Raises:
        UserError: If there is no such data, or it cannot be read.
    """
    try:
        source = _open(data, cache_dir, download, axes)
    except OSError as error:
        raise UserError(f"data={data}: cannot be read: {error.strerror or error}") from error
    if source.name in DATA_SETS and not _is_known(data):
        return dataclasses.replace(source, name=f"{source.name}/")
    return source
