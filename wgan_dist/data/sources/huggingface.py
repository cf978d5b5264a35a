"""Data sets of Hugging Face `datasets`: of the Hub, saved by save_to_disk, or plain parquet and arrow files."""

import io
import logging
import os
import socket
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import getproxies

from PIL import Image

from wgan_dist.data.sources.base import (
    FORMATS,
    BadImageError,
    Pictures,
    Source,
    digest,
    expanded,
    files_below,
    name_of,
    open_file,
    printable,
    said,
    stamp,
)
from wgan_dist.utils.errors import UserError

PREFIX = "hf:"
HUB, OFFLINE = "huggingface.co", "HF_HUB_OFFLINE"
MISSING = 'needs Hugging Face datasets: pip install "wgan_dist[hf]"'
ACCEPTED = "expected hf:NAME, hf:NAME:SPLIT, hf:NAME#COLUMN or hf:NAME:SPLIT#COLUMN, NAME of the Hub or a folder"
EMPTY = "the data set holds no image"
USUAL_SPLIT = "train"
FILES = (".parquet", ".arrow")
# Of save_to_disk: one data set, or several by split.
SAVED = ("state.json", "dataset_dict.json")


@dataclass(frozen=True)
class Place:
    """What `hf:…` names: a folder or file, or if `path` is None a data set of the Hub; "" is what is usual."""

    data: str
    name: str
    path: Path | None
    split: str
    column: str


@dataclass(frozen=True)
class Table:
    """`rows` of the library, of which `column` holds pictures; files that they name lie below one of `roots`."""

    rows: Any
    column: str
    roots: list[str]


def parse(data: str) -> Place:
    """The parts of `hf:NAME[:SPLIT][#COLUMN]`; raises UserError for other texts."""
    rest, _, column = data.removeprefix(PREFIX).partition("#")
    name, _, split = (rest, "", "") if os.path.lexists(rest) else rest.partition(":")
    if not name:
        raise UserError(f"data={data}: {ACCEPTED}")
    path = expanded(name, f"data={data}") if name.startswith(("~", ".", os.sep)) else Path(name)
    if not path.exists():
        if name.startswith(("~", ".", os.sep)) or name.count("/") > 1:
            raise UserError(f"data={data}: there is no such folder")
        return Place(data, name, None, split, column)
    if path.is_file() and path.suffix not in FILES:
        raise UserError(f"data={data}: expected a file ending in {' or '.join(FILES)}, or a folder")
    return Place(data, name_of(path), path, split, column)


def _listed(names: Iterable[Any]) -> str:
    return ", ".join(printable(str(name)) for name in names)


def _is_cut_off() -> bool:
    if getproxies():
        return False  # which looks up names
    with suppress(OSError):
        return not socket.getaddrinfo(HUB, 443)
    return True


def _library(place: Place) -> Any:
    cut_off = place.path is None and OFFLINE not in os.environ and _is_cut_off()
    if cut_off:
        os.environ[OFFLINE] = "1"  # read when the library is imported; else it tries for a minute
    try:
        import datasets
    except ImportError:
        raise UserError(f"data={place.data}: {MISSING}") from None
    finally:
        if cut_off:
            del os.environ[OFFLINE]  # which is not ours to set for the programs that this one starts
    return datasets


def _saved(datasets: Any, place: Place) -> Any:
    try:
        return datasets.load_from_disk(str(place.path))
    except IndexError as error:  # what the library makes of no row at all
        raise UserError(f"data={place.data}: {EMPTY}") from error


def _load(datasets: Any, place: Place, cache_dir: Path) -> Any:
    if place.path is None:
        logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it tells of every attempt
        return datasets.load_dataset(place.name, split=place.split or USUAL_SPLIT)
    datasets.disable_progress_bars()
    if any((place.path / name).is_file() for name in SAVED):
        return _saved(datasets, place)
    cache = str(cache_dir / "huggingface")
    if place.path.is_file():
        kind = place.path.suffix.removeprefix(".")
        return datasets.load_dataset(kind, data_files=str(place.path), cache_dir=cache)
    return datasets.load_dataset(str(place.path), cache_dir=cache)


def _of_split(found: Any, place: Place) -> Any:
    if not isinstance(found, dict):
        if place.path is not None and place.split:
            raise UserError(f"data={place.data}: there are no splits in it; expected it without :{place.split}")
        return found
    split = place.split or (USUAL_SPLIT if len(found) > 1 else next(iter(found)))
    if split not in found:
        raise UserError(f"data={place.data}: there is no split {split}; expected hf:…:SPLIT of {_listed(found)}")
    return found[split]


def _column_of(table: Any, datasets: Any, place: Place) -> str:
    features = table.features
    if place.column:
        if place.column not in features:
            raise UserError(f"data={place.data}: there is no column {place.column}; it has {_listed(features)}")
        return place.column
    # Parquet files of other programs have the bytes and nothing that says what they are.
    pictures = [name for name, kind in features.items() if isinstance(kind, datasets.Image)]
    pictures = pictures or [name for name, kind in features.items() if isinstance(kind, dict) and "bytes" in kind]
    if len(pictures) != 1:
        found = f"several columns of images: {_listed(pictures)}" if pictures else "no column of images"
        raise UserError(f"data={place.data}: {found}; expected hf:…#COLUMN, one of {_listed(features)}")
    return pictures[0]


def _roots(datasets: Any, place: Place) -> list[str]:
    """The folders whose files a data set may name: its own, or what the library downloads into."""
    if place.path is None:
        from huggingface_hub.constants import HF_HUB_CACHE

        return [HF_HUB_CACHE, str(datasets.config.HF_DATASETS_CACHE)]
    return [str(place.path.absolute()), str(place.path.resolve())] if place.path.is_dir() else []


def _open_table(place: Place, cache_dir: Path) -> Table:
    """The rows, of which the named column holds pictures not yet decoded."""
    datasets = _library(place)
    try:
        table = _of_split(_load(datasets, place, cache_dir), place)
        column = _column_of(table, datasets, place)
        rows = table.select_columns([column]).cast_column(column, datasets.Image(decode=False))
        return Table(rows, column, _roots(datasets, place))
    except (OSError, ValueError, TypeError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise UserError(f"data={place.data}: cannot be had: {said(error)}") from error


def _named_file(path: str, roots: list[str]) -> Path:
    """What a cell names; raises BadImageError outside of `roots`: a stranger's table may name any file of ours."""
    for root in roots:
        file = Path(os.path.normpath(os.path.join(root, path)))  # noqa: PTH118 a Path keeps its ..
        if file.is_relative_to(os.path.normpath(root)):
            return file
    raise BadImageError(f"names a file that is not the data set's own: {path!r}")


def _pictures(table: Table, place: Place) -> Pictures:
    if not len(table.rows):
        raise UserError(f"data={place.data}: {EMPTY}")

    def open_row(index: int) -> Image.Image:
        cell = table.rows[index][table.column] or {}
        if cell.get("bytes") is not None:
            return Image.open(io.BytesIO(cell["bytes"]), formats=FORMATS)
        if not cell.get("path"):
            raise BadImageError("no picture in this row")
        return open_file(_named_file(cell["path"], table.roots))

    return Pictures([f"{place.name}[{index}]" for index in range(len(table.rows))], open_row)


def _local_identity(path: Path, place: Place) -> str:
    files = files_below(path) if path.is_dir() else [""]
    stamps = [(name, *stamp(os.path.join(path, name) if name else path)) for name in files]  # noqa: PTH118
    return digest([str(path.resolve()), place.split, place.column, stamps])


def hugging_face_source(data: str, cache_dir: Path) -> Source:
    """`hf:NAME[:SPLIT][#COLUMN]`; the split is train, the column the one of images, unless told.

    A folder is not opened before its pictures are wanted, so that a cached set needs no library. Raises UserError
    where nothing is found or cannot be had, and for several columns of images.
    """
    place = parse(data)
    if place.path is not None:
        identity = _local_identity(place.path, place)
        return Source(place.name, identity, lambda: _pictures(_open_table(place, cache_dir), place))
    table = _open_table(place, cache_dir)
    identity = digest([data, table.column, table.rows._fingerprint])
    return Source(place.name, identity, lambda: _pictures(table, place))
