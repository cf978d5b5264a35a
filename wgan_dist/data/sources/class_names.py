"""The names of the classes of a source's images: from folders, from a dataset.json, and from tables of names."""

import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from wgan_dist.utils.errors import UserError

# The table of StyleGAN's data sets, and its largest size: that of some millions of images.
DATASET_JSON, TABLE_LIMIT = "dataset.json", 1 << 28


@dataclass(frozen=True)
class ClassNames:
    """The class of each image of a source.

    Attributes:
        of_images: The name of each image's class, or None for an image without one.
        order: All classes in the order that the source defines, or None if it defines none.
    """

    of_images: Sequence[str | None]
    order: Sequence[str] | None = None


def folder_classes(names: Sequence[str]) -> ClassNames | None:
    """Return the folders that images lie in as their classes, or None if there are fewer than two.

    The class of a path with `/` is its first folder, not counting the folders that all paths have in common.
    """
    folders = [name.split("/")[:-1] for name in names]
    depth = len(os.path.commonprefix(folders))
    classes = [parts[depth] if len(parts) > depth else None for parts in folders]
    return ClassNames(classes) if len(set(classes) - {None}) > 1 else None


def classes_by_name(rows: Iterable[tuple[str, str]], names: Sequence[str], table: str) -> list[str | None]:
    """Return the class of each of the images `names` by the rows (name, class) of a table, None without a row.

    Raises:
        UserError: For rows of one name, and rows of no image; it begins with `table`.
    """
    rows = list(rows)
    counts, images = Counter(name for name, _ in rows), Counter(names)
    for fault, wrong in (
        ("named more than once", [name for name, count in counts.items() if count > 1]),
        ("none of the images", [name for name in counts if name not in images]),
        ("images of several sources", [name for name in counts if images[name] > 1]),
    ):
        if wrong:
            raise UserError(f"{table}: {len(wrong):,} files are {fault}, the first {wrong[0]!r}; {_expected(names)}")
    classes = dict(rows)
    return [classes.get(name) or None for name in names]


def _expected(names: Sequence[str]) -> str:
    return f"expected one row for each image, by its path within the data, such as {names[0]!r}"


def _rows_of_json(content: bytes) -> list[tuple[str, str]] | None:
    """Return the rows (name, class) of a dataset.json, or None if it says that there are no classes.

    Raises:
        ValueError: If it is not a StyleGAN table, or has classes that are no whole numbers or texts.
    """
    table: Any = json.loads(content)
    labels = table.get("labels") if isinstance(table, dict) else None
    if labels is None:
        return None
    is_table = isinstance(labels, list) and all(isinstance(row, list) and len(row) == 2 for row in labels)
    if not is_table or not all(isinstance(name, str) and type(label) in (int, str) for name, label in labels):
        raise ValueError('expected "labels": [["folder/image.png", 3], …], the numbers or names of classes')
    return [(name, str(label)) for name, label in labels]


def table_classes(content: bytes, names: Sequence[str], data: str) -> ClassNames | None:
    """Return the classes of images by the content of the dataset.json beside them, or None if it has none.

    Raises:
        UserError: If it is damaged or does not fit the images.
    """
    table = f"data={data}: {DATASET_JSON}"
    try:
        rows = _rows_of_json(content)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{table}: {error}") from error
    return None if rows is None else ClassNames(classes_by_name(rows, names, table))
