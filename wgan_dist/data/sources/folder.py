"""Images in a folder, nested or flat."""

import os
from pathlib import Path

from wgan_dist.data.sources.arrays import open_npy_image
from wgan_dist.data.sources.base import ImageListing, OpenedImage, Source, open_image_file
from wgan_dist.data.sources.class_names import DATASET_JSON, TABLE_LIMIT, ClassNames, folder_classes, table_classes
from wgan_dist.data.sources.other_files import NPY, count_by_suffix, may_be_in_folder, only_others, suffix_of
from wgan_dist.data.sources.paths import hash_of, is_hidden, name_of_path, size_and_mtime
from wgan_dist.utils.errors import UserError
from wgan_dist.utils.files import read_file


def list_files(folder: Path) -> list[str]:
    """Return the sorted paths of all visible files below `folder`, relative to it, with `/`.

    Linked folders are followed once each. A folder that cannot be read is listed like a file, so that reading it
    reports the error. The paths are texts, since a Path for each of 100,000 files takes seconds.

    Raises:
        OSError: If `folder` itself cannot be read.
    """
    root, files, visited = os.fspath(folder), [], set()

    def relative(path: str) -> str:
        return path[len(root) :].replace(os.sep, "/").strip("/")

    def list_unreadable(error: OSError) -> None:
        if error.filename == root:
            raise error
        files.append(relative(error.filename))

    for path, folders, names in os.walk(root, onerror=list_unreadable, followlinks=True):
        real_path = os.path.realpath(path)
        if real_path in visited:
            folders.clear()
            continue
        visited.add(real_path)
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        prefix = relative(path) and f"{relative(path)}/"
        files += [f"{prefix}{name}" for name in names if not is_hidden(name)]
    return sorted(files)


def _of_one_kind(names: list[str]) -> tuple[list[str], set[str]]:
    """Return the pictures or the .npy files among files, whichever are more, and a note on the others if there are any.

    Other files of numbers often lie beside pictures, such as features or labels.
    """
    arrays = [name for name in names if suffix_of(name) == NPY]
    pictures = [name for name in names if suffix_of(name) != NPY]
    kinds = [("pictures", pictures), (f"{NPY} files", arrays)]
    (kind, kept), (other, left_out) = sorted(kinds, key=lambda each: len(each[1]), reverse=True)
    if not left_out:
        return kept, set()
    return kept, {f"{other} left out: {len(left_out):,}; the folder is read as one of {kind}"}


def folder_source(folder: Path, axes: str) -> Source:
    """Return the source of the visible files below `folder` that may be images: of its pictures or of its .npy files.

    Those are read of which there are more, arrays in the order `axes`.

    Raises:
        UserError: If there is none.
    """
    files = list_files(folder)
    names, notes = _of_one_kind([name for name in files if may_be_in_folder(name)])
    left_out = count_by_suffix(name for name in files if not may_be_in_folder(name))
    if not names:
        raise UserError(f"data={folder}: the folder holds no image{only_others(left_out)}")
    stamps = [(name, *size_and_mtime(os.path.join(folder, name))) for name in names]  # noqa: PTH118

    def open_file(index: int) -> OpenedImage:
        path = folder / names[index]
        return open_npy_image(path, axes) if suffix_of(names[index]) == NPY else open_image_file(path)

    table = [folder / DATASET_JSON] if DATASET_JSON in files else []

    def classes() -> ClassNames | None:
        if not table:
            return folder_classes(names)
        try:
            content = read_file(table[0], TABLE_LIMIT)
        except OSError as error:
            raise UserError(f"data={folder}: {DATASET_JSON} cannot be read: {error.strerror}") from error
        return table_classes(content, names, str(folder))

    listing = ImageListing(names, open_file, left_out, notes, classes)
    identity = hash_of([str(folder.resolve()), stamps, sorted(left_out.items()), sorted(notes)])
    folders = None if table else folder_classes(names)
    class_folders = sorted(set(filter(None, folders.of_images))) if folders else ()
    return Source(name_of_path(folder), identity, lambda: listing, table, class_folders)
