"""Data sets of Hugging Face `datasets`: from the Hub, written by save_to_disk, or plain parquet and arrow files."""

import itertools
import json
import logging
import os
import re
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import getproxies

from wgan_dist.config.text_lists import HUGGING_FACE, split_reference
from wgan_dist.data.sources.base import (
    BadImageError,
    ImageListing,
    OpenedImage,
    Source,
    open_image_bytes,
    open_image_file,
)
from wgan_dist.data.sources.class_names import ClassNames
from wgan_dist.data.sources.folder import list_files
from wgan_dist.data.sources.paths import (
    error_line,
    expand_home,
    hash_of,
    how_to_download,
    name_of_path,
    size_and_mtime,
)
from wgan_dist.utils.console import escape_unprintable
from wgan_dist.utils.errors import UserError
from wgan_dist.utils.files import MAX_TEXT_BYTES, read_file

HUB, OFFLINE = "huggingface.co", "HF_HUB_OFFLINE"
MISSING = 'needs Hugging Face datasets: pip install "wgan_dist[hf]"'
ACCEPTED = "expected hf:NAME[:SPLIT][#COLUMN], where NAME is a data set of the Hub or a path"
EMPTY = "the data set holds no image"
DEFAULT_SPLIT = "train"
SUFFIXES = (".parquet", ".arrow")
# The files of save_to_disk: one data set, or one for each split.
SAVED_FILES = ("state.json", "dataset_dict.json")
# The types of values that are names or numbers of classes, as the library writes them.
CLASS_TYPES = re.compile("u?int[0-9]+|bool|(large_)?string")
# What the library raises for damaged and hostile files.
LOADING_ERRORS = (OSError, ValueError, TypeError, RuntimeError, LookupError, AttributeError, ImportError)


@dataclass(frozen=True)
class Reference:
    """The parts of `hf:NAME[:SPLIT][#COLUMN]`.

    Attributes:
        data: The whole text, for messages.
        name: The name on the Hub, or the last part of the path.
        path: The folder or file, or None for a data set of the Hub.
        split, column: "" stands for the default.
    """

    data: str
    name: str
    path: Path | None
    split: str
    column: str


def parse(data: str) -> Reference:
    """Return the parts of `hf:NAME[:SPLIT][#COLUMN]`; raise UserError for an invalid text or a missing path."""
    name, split, column = split_reference(data.removeprefix(HUGGING_FACE))
    if not name:
        raise UserError(f"data={data}: {ACCEPTED}")
    is_path = name.startswith(("~", ".", os.sep))
    path = expand_home(name, f"data={data}") if is_path else Path(name)
    if not path.exists():
        if is_path or name.count("/") > 1:
            raise UserError(f"data={data}: there is no such folder")
        return Reference(data, name, None, split, column)
    if path.is_file() and path.suffix not in SUFFIXES:
        raise UserError(f"data={data}: expected a file ending in {' or '.join(SUFFIXES)}, or a folder")
    return Reference(data, name_of_path(path), path, split, column)


@dataclass(frozen=True)
class Table:
    """A data set.

    Attributes:
        rows: All rows and columns.
        images: The rows, reduced to the column of images, not decoded.
        class_columns: The columns of the type ClassLabel.
        folders: The folders whose files the images may name.
    """

    rows: Any
    images: Any
    class_columns: Sequence[str]
    folders: Sequence[str]


def _join(names: Iterable[Any]) -> str:
    return ", ".join(escape_unprintable(str(name)) for name in names)


def _is_offline() -> bool:
    if getproxies():
        return False  # the proxy resolves names
    with suppress(OSError):
        return not socket.getaddrinfo(HUB, 443)
    return True


def _import_library(reference: Reference) -> Any:
    if reference.path is None and _is_offline():
        os.environ.setdefault(OFFLINE, "1")  # the library reads it when it is imported, or else retries for a minute
    try:
        import datasets
    except ImportError:
        raise UserError(f"data={reference.data}: {MISSING}") from None
    return datasets


@contextmanager
def _offline(datasets: Any) -> Iterator[None]:
    """Keep the library from every request; it has no argument for this, and has read its environment already."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE = before


def _check_saved_names(path: Path) -> None:
    """Raise ValueError if a data set of save_to_disk names a file or split outside of its folder."""
    for file in (file for name in SAVED_FILES for file in path.rglob(name)):
        saved = json.loads(read_file(file, MAX_TEXT_BYTES))
        names = [*saved.get("splits", []), *(part["filename"] for part in saved.get("_data_files") or [])]
        for name in names:
            if name != Path(name).name:
                raise ValueError(f"{file.name} names {name!r}, which is not in its folder")


def _check_data_files(files: Mapping[str, Iterable[str]], path: Path) -> None:
    """Raise ValueError if the README.md of a folder names data outside of it, or behind another file system."""
    folders = (os.path.normpath(path.absolute()), str(path.resolve()))
    for name in itertools.chain.from_iterable(files.values()):
        if not any(Path(os.path.normpath(name)).is_relative_to(folder) for folder in folders):
            raise ValueError(f"README.md names {name!r}, which is not in its folder")


def _load_path(datasets: Any, path: Path, cache_dir: Path) -> Any:
    datasets.disable_progress_bars()
    if any((path / name).is_file() for name in SAVED_FILES):
        _check_saved_names(path)
        return datasets.load_from_disk(str(path))
    cache = str(cache_dir / "huggingface")
    if path.is_file():
        return datasets.load_dataset(path.suffix.removeprefix("."), data_files=str(path), cache_dir=cache)
    _check_data_files(datasets.load_dataset_builder(str(path), cache_dir=cache).config.data_files or {}, path)
    return datasets.load_dataset(str(path), cache_dir=cache)


def _load(datasets: Any, reference: Reference, cache_dir: Path) -> Any:
    """Return the rows of the split."""
    if reference.path is None:
        logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it logs every attempt
        return datasets.load_dataset(reference.name, split=reference.split or DEFAULT_SPLIT)
    loaded = _load_path(datasets, reference.path, cache_dir)
    if not isinstance(loaded, dict):
        if reference.split:
            raise UserError(f"data={reference.data}: it has no splits; expected it without :{reference.split}")
        return loaded
    split = reference.split or (DEFAULT_SPLIT if len(loaded) > 1 else next(iter(loaded), ""))
    if split not in loaded:
        raise UserError(f"data={reference.data}: there is no split {split}; expected hf:…:SPLIT of {_join(loaded)}")
    return loaded[split]


def _find_column(features: Any, datasets: Any, reference: Reference) -> str:
    if reference.column in features:
        return reference.column
    if reference.column:
        raise UserError(f"data={reference.data}: there is no column {reference.column}; it has {_join(features)}")
    columns = [name for name, feature in features.items() if isinstance(feature, datasets.Image)]
    # Parquet files of other programs hold the bytes without the type of an image.
    columns = columns or [name for name, kind in features.items() if isinstance(kind, dict) and "bytes" in kind]
    if len(columns) != 1:
        found = f"several columns of images: {_join(columns)}" if columns else "no column of images"
        raise UserError(f"data={reference.data}: {found}; expected hf:…#COLUMN, one of {_join(features)}")
    return columns[0]


def _open_table(reference: Reference, cache_dir: Path, download: bool) -> Table:
    """Load a data set, with `download` false from the disk alone."""
    datasets = _import_library(reference)
    try:
        with nullcontext() if download else _offline(datasets):
            rows = _load(datasets, reference, cache_dir)
        column = _find_column(rows.features, datasets, reference)
        images = rows.select_columns([column]).cast_column(column, datasets.Image(decode=False))
    except IndexError as error:  # load_from_disk of a data set without rows
        raise UserError(f"data={reference.data}: {EMPTY}") from error
    except (*LOADING_ERRORS, datasets.exceptions.DatasetsError) as error:
        instead = "" if download or reference.path else f"; {how_to_download(reference.data, cache_dir)}"
        raise UserError(f"data={reference.data}: cannot be loaded: {error_line(error)}{instead}") from error
    class_columns = [name for name, kind in rows.features.items() if isinstance(kind, datasets.ClassLabel)]
    path = reference.path
    if path is None:
        from huggingface_hub.constants import HF_HUB_CACHE  # reads the environment, so not before _import_library

        return Table(rows, images, class_columns, [HF_HUB_CACHE, str(datasets.config.HF_DATASETS_CACHE)])
    folders = [str(path.absolute()), str(path.resolve())] if path.is_dir() else []
    return Table(rows, images, class_columns, folders)


def _check_path(path: str, folders: Sequence[str]) -> Path:
    """Return the file that a cell names; raise BadImageError for one outside of `folders`, since anyone can name it."""
    for folder in folders:
        file = Path(os.path.normpath(os.path.join(folder, path)))  # noqa: PTH118 a Path keeps its ..
        if file.is_relative_to(os.path.normpath(folder)):
            return file
    raise BadImageError(f"names a file outside of the data set: {path!r}")


def _read_column(table: Table, column: str, reference: Reference) -> ClassNames:
    """Return the classes in a column of texts, whole numbers or class labels; a negative label is none."""
    features = table.rows.features
    if column not in features:
        raise UserError(f"labels={column}: {reference.data} has no such column; expected one of {_join(features)}")
    feature = features[column]
    if not CLASS_TYPES.fullmatch(str(getattr(feature, "dtype", ""))):
        raise UserError(f"labels={column}: a column of {reference.data} that holds no names or whole numbers")
    try:
        values = table.rows.select_columns([column])[:][column]
        if column in table.class_columns:
            classes = [None if value is None or value < 0 else feature.names[value] for value in values]
            return ClassNames(classes, feature.names)
    except LOADING_ERRORS as error:
        raise UserError(f"labels={column}: {reference.data} cannot be read: {error_line(error)}") from error
    are_none = (value in (None, "") or (isinstance(value, int) and value < 0) for value in values)
    return ClassNames([None if is_none else str(value) for value, is_none in zip(values, are_none, strict=True)])


def _find_classes(table: Table, reference: Reference) -> ClassNames | None:
    """Return the classes in the only column of the type ClassLabel, or None if there is none."""
    columns = table.class_columns
    if len(columns) > 1:
        raise UserError(
            f"labels=auto: {reference.data} has several columns of classes; expected one of {_join(columns)}"
        )
    return _read_column(table, columns[0], reference) if columns else None


def _list_images(table: Table, reference: Reference) -> ImageListing:
    rows, folders = table.images, table.folders
    if not len(rows):
        raise UserError(f"data={reference.data}: {EMPTY}")
    (column,) = rows.features

    def open_row(index: int) -> OpenedImage:
        cell = rows[index][column] or {}
        if cell.get("bytes") is not None:
            return open_image_bytes(cell["bytes"])
        if not cell.get("path"):
            raise BadImageError("no image in this row")
        return open_image_file(_check_path(cell["path"], folders))

    return ImageListing(
        [f"{reference.name}[{index}]" for index in range(len(rows))],
        open_row,
        classes=lambda: _find_classes(table, reference),
        column=lambda name: _read_column(table, name, reference),
    )


def hugging_face_source(data: str, cache_dir: Path, download: bool = True) -> Source:
    """Return the source of `hf:NAME[:SPLIT][#COLUMN]`, by default the split train and the only column of images.

    A path is loaded when its images are listed, so that a cached data set does not need the library. A data set of
    the Hub is loaded at once, with `download` false from the library's cache.

    Raises:
        UserError: If the data set is not found or cannot be loaded, or if it has several columns of images.
    """
    reference = parse(data)
    path = reference.path
    if path is None:
        table = _open_table(reference, cache_dir, download)
        # The library has no public name for the hash of a data set's content.
        identity = hash_of([data, next(iter(table.images.features)), table.images._fingerprint])
        return Source(reference.name, identity, lambda: _list_images(table, reference))
    names = list_files(path) if path.is_dir() else [""]
    stamps = [(name, *size_and_mtime(path / name)) for name in names]
    identity = hash_of([str(path.resolve()), reference.split, reference.column, stamps])
    return Source(reference.name, identity, lambda: _list_images(_open_table(reference, cache_dir, False), reference))
