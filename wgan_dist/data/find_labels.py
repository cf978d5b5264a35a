"""The classes of the images of several sources: from what a source knows, a column, or a CSV file; and their cache."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wgan_dist.config.config import AUTO_LABELS, MAX_CLASSES
from wgan_dist.config.text_lists import is_label_table
from wgan_dist.data.label_table import read_classes, read_table
from wgan_dist.data.labels import Labels
from wgan_dist.data.sources.base import ImageListing, Source
from wgan_dist.data.sources.class_names import ClassNames
from wgan_dist.data.sources.paths import hash_of, size_and_mtime
from wgan_dist.utils.errors import UserError
from wgan_dist.utils.files import PRIVATE, write_text

# A part of every key of the cache. Raise it when the choice or the order of the classes changes.
LABELS_VERSION = 1
MAX_NAME = 255
NO_CLASS = -1
WAYS = (
    "expected sub-folders, a dataset.json, labels of idx, torchvision or Hugging Face, .cls files in shards, "
    "or --labels=FILE.csv"
)


class NoClassesError(UserError):
    """A source knows no classes of its images."""


@dataclass(frozen=True)
class FoundLabels:
    """The classes of all images of several sources, of unreadable ones as well.

    Attributes:
        setting: The value of `--labels`.
        classes: The names of the classes in order, of which some may have no image.
        values: The number of each image's class, NO_CLASS for an image without one.
        unlabelled: The names of the images without a class, in order.
    """

    setting: str
    classes: list[str]
    values: list[int]
    unlabelled: list[str]

    def labelled(self, rows: NDArray[np.int64]) -> Labels:
        """Return the labels of those of the images `rows` that have a class; classes without an image are left out."""
        values = np.array(self.values, np.int64)[rows]
        kept, numbers = np.unique(values[values != NO_CLASS], return_inverse=True)
        return Labels(tuple(self.classes[number] for number in kept), numbers.astype(np.int64))

    def of_images(self, rows: NDArray[np.int64]) -> tuple[Labels, list[str]]:
        """Return the labels of the images `rows`, and a line for each thing that looks wrong about them.

        Args:
            rows: The numbers of the images [n] among those of all sources.

        Raises:
            UserError: For an image without a class, a class of one image, and fewer than two classes.
        """
        labels = self.labelled(rows)
        if len(labels.values) < len(rows):
            is_used = np.isin(np.flatnonzero(np.array(self.values) == NO_CLASS), rows)
            missing = [name for name, used in zip(self.unlabelled, is_used, strict=True) if used]
            found = f"{len(missing):,} of {len(rows):,} images without a class, {_first(missing)}"
            raise UserError(f"labels={self.setting}: {found}; expected one for each image")
        single = [labels.classes[number] for number in np.flatnonzero(labels.counts() == 1)]
        if single:
            found = f"{_count(single, 'class')} of one image: {_first(single)}"
            raise UserError(f"labels={self.setting}: {found}; expected at least two images of each class")
        if len(labels.classes) < 2:
            raise UserError(f"labels={self.setting}: {labels.classes[0]!r} is the only class; expected at least two")
        used_classes = set(labels.classes)
        empty = [name for name in self.classes if name not in used_classes]
        left_out = [f"{_count(empty, 'class')} without an image left out: {_first(empty)}"] if empty else []
        return labels, left_out + labels.warnings()


def _count(names: Sequence[str], what: str) -> str:
    return f"{len(names):,} {what}{'es' * (len(names) > 1)}"


def _first(names: Sequence[str]) -> str:
    return f"the first {names[0]!r}" if len(names) > 1 else repr(names[0])


def _find_in(source: Source, listing: ImageListing, labels: str) -> ClassNames:
    """Return the classes that a source knows, or those in a column."""
    if labels != AUTO_LABELS:
        if listing.column is None:
            raise UserError(f"labels={labels}: {source.name} has no columns; expected auto, none or a .csv file")
        return listing.column(labels)
    found = listing.classes()
    if found is None or not any(found.of_images):
        raise NoClassesError(f"labels={labels}: no classes found in {source.name}; {WAYS}")
    return found


def _in_order(names: set[str]) -> list[str]:
    """Return names sorted as numbers if all of them are numbers, as texts otherwise."""
    are_numbers = all(name.isascii() and name.isdigit() for name in names)
    return sorted(names, key=lambda name: (int(name) if are_numbers else 0, name))


def _order_of(found: ClassNames, labels: str) -> Sequence[str]:
    """Return all classes of a source in order; raise UserError for names that cannot be printed on a line."""
    names = found.order or set(filter(None, found.of_images))
    for name in names:
        if len(name) > MAX_NAME or not name.isprintable():
            raise UserError(
                f"labels={labels}: the class {name[:MAX_NAME]!r}: expected printable text of at most {MAX_NAME} letters"
            )
    return found.order or _in_order(set(names))


def find_labels(
    sources: Sequence[Source], listings: Sequence[ImageListing], labels: str, table: bytes = b""
) -> FoundLabels:
    """Return the classes of all images of sources; classes of one name are one class.

    Args:
        sources: The sources of the images.
        listings: The images of each source.
        labels: A value of `--labels` other than none.
        table: The content of the CSV file that `labels` names.

    Raises:
        UserError: If there are no classes, too many, or some that cannot be read.
    """
    names = [name for listing in listings for name in listing.names]
    if is_label_table(labels):
        found = [read_classes(table, names, labels)]
    else:
        found = [_find_in(source, listing, labels) for source, listing in zip(sources, listings, strict=True)]
    numbers = {name: number for number, name in enumerate(_merged([_order_of(each, labels) for each in found]))}
    if len(numbers) > MAX_CLASSES:
        raise UserError(f"labels={labels}: {len(numbers):,} classes; expected at most {MAX_CLASSES:,}")
    classes = [name for each in found for name in each.of_images]
    return FoundLabels(
        setting=labels,
        classes=list(numbers),
        values=[NO_CLASS if name is None else numbers[name] for name in classes],
        unlabelled=[image for image, name in zip(names, classes, strict=True) if name is None],
    )


def _merged(orders: list[Sequence[str]]) -> list[str]:
    """Return each name once, in the order of the sources."""
    return list(dict.fromkeys(chain.from_iterable(orders)))


def cached_labels(folder: Path, sources: Sequence[Source], labels: str) -> FoundLabels:
    """Return the classes of all images of sources, from a file in `folder`, which is written if it is missing.

    Its name depends on the images, on the setting, and on the files that hold the classes.

    Raises:
        UserError: If there are no classes, too many, or some that cannot be read.
    """
    table = read_table(labels) if is_label_table(labels) else b""
    stamps = [(str(file), *size_and_mtime(file)) for source in sources for file in source.label_files]
    key = [LABELS_VERSION, [source.identity for source in sources], stamps, labels, table]
    file = folder / f"{hash_of(key)[:32]}.labels"
    try:
        return FoundLabels(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        found = find_labels(sources, [source.list_images() for source in sources], labels, table)
        write_text(file, json.dumps(vars(found)), PRIVATE)
        return found
