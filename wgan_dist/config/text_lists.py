"""Lists that are written as one text with commas, such as `--data=a/,b.zip`."""

import bisect
import os
from collections.abc import Iterator

# What stands before the path of a data set of Hugging Face; its split and column stand behind : and #.
HUGGING_FACE = "hf:"
# A name in a list has at most this many parts between commas: to try all would take hours for a list of thousands.
MAX_PARTS = 8


def _split_at_commas(text: str) -> list[str]:
    """Split a text at the commas outside brace patterns such as {a,b{0,1}}.tar; an unmatched brace is a letter."""
    open_braces: list[int] = []
    commas: list[int] = []
    for index, letter in enumerate(text):
        if letter == "{":
            open_braces.append(index)
        elif letter == ",":
            commas.append(index)
        elif letter == "}" and open_braces:
            del commas[bisect.bisect(commas, open_braces.pop()) :]
    starts, ends = [0, *(comma + 1 for comma in commas)], [*commas, len(text)]
    return [text[start:end] for start, end in zip(starts, ends, strict=True)]


def path_exists(path: str) -> bool:
    """Return whether a path, in which ~ stands for the home folder, exists; a dangling link does."""
    return bool(path) and os.path.lexists(os.path.expanduser(path))  # noqa: PTH111 a Path raises for an unknown ~user


def split_reference(text: str) -> tuple[str, str, str]:
    """Return the name, the split and the column of `NAME[:SPLIT][#COLUMN]`, the parts that are missing as "".

    A path that exists is the name as it is, whichever of `:` and `#` it has.
    """
    before_column, _, column = text.rpartition("#")
    for rest, behind in ((text, ""), (before_column, column)):
        before_split, _, split = rest.rpartition(":")
        for name, between in ((rest, ""), (before_split, split)):
            if "#" not in between and path_exists(name):
                return name, between, behind
    rest, _, column = text.partition("#")
    name, _, split = rest.partition(":")
    return name, split, column


def _names_existing(text: str) -> bool:
    """Return whether a text, commas included, names one thing on the disk: a path, a data set, or shards."""
    if text.startswith(HUGGING_FACE):
        name, split, column = split_reference(text.removeprefix(HUGGING_FACE))
        return path_exists(name) and "," not in split + column
    folder = text.partition("{")[0].rpartition("/")[0] if "{" in text else ""
    return path_exists(text) or (path_exists(folder) and len(_split_at_commas(text.removeprefix(folder))) == 1)


def _parts(text: str) -> list[str]:
    return _split_at_commas(text[1:-1] if text[:1] + text[-1:] in ("()", "[]") else text)


def _joined(parts: list[str]) -> Iterator[str]:
    """Yield the parts of a text, with those as one that belong to a name on the disk; the longest name wins."""
    start = 0
    while start < len(parts):
        most = min(len(parts), start + MAX_PARTS)
        names = ((end, ",".join(parts[start:end]).strip()) for end in range(most, start + 1, -1))
        start, name = next((each for each in names if _names_existing(each[1])), (start + 1, parts[start].strip()))
        yield name


def split_list(text: str) -> list[str]:
    """Return what the commas of a text separate, without brackets around the list and without empty items.

    Commas within brace patterns separate nothing.
    """
    return [item.strip() for item in _parts(text) if item.strip()]


def split_names(text: str) -> list[str]:
    """Return the names in a text: what exists on disk under the whole text, or else the items of the list.

    Items that are the parts of one name on the disk, which has commas in it, are that name.
    """
    return [text] if _names_existing(text) else [name for name in _joined(_parts(text)) if name]


def is_label_table(labels: str) -> bool:
    """Return whether a value of `--labels` names a CSV file."""
    return labels.lower().endswith(".csv")
