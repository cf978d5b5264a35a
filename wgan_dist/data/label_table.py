"""A table of classes in a CSV file, with the columns file and label."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from wgan_dist.data.sources.class_names import TABLE_LIMIT, ClassNames, classes_by_name
from wgan_dist.data.sources.paths import error_line, expand_home
from wgan_dist.utils.errors import UserError
from wgan_dist.utils.files import read_file

FILE, LABEL = "file", "label"


def read_table(labels: str) -> bytes:
    """Return the content of the CSV file that `--labels` names; raise UserError if it cannot be read."""
    path: Path = expand_home(labels, f"labels={labels}")
    try:
        return read_file(path, TABLE_LIMIT)
    except OSError as error:
        raise UserError(f"labels={labels}: cannot be read: {error.strerror}") from error


def _read_rows(content: bytes) -> list[tuple[str, str]]:
    """Return the pairs of a file and its label; raise ValueError or csv.Error for any other table."""
    rows = csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
    if not {FILE, LABEL} <= set(rows.fieldnames or ()):
        raise ValueError(f"expected the header {FILE},{LABEL}")
    pairs = [(row[FILE], row[LABEL]) for row in rows]
    if any(label is None for _, label in pairs):
        raise ValueError("a row is too short; expected a file and a label in each")
    return pairs


def read_classes(content: bytes, names: Sequence[str], labels: str) -> ClassNames:
    """Return the classes of the images `names` by the content of a CSV file.

    An empty label is none.

    Raises:
        UserError: If the content is no such table, or does not fit the images; it begins with labels=`labels`.
    """
    try:
        rows = _read_rows(content)
    except (ValueError, csv.Error) as error:
        raise UserError(f"labels={labels}: {error_line(error)}") from error
    return ClassNames(classes_by_name(rows, names, f"labels={labels}"))
