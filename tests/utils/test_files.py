"""Files and folders appear complete or not at all, also on disks that refuse."""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from wgan_dist.utils.errors import UserError
from wgan_dist.utils.files import (
    atomic_file,
    atomic_folder,
    copy_file,
    read_file,
    remove_folder,
    remove_partial_files,
    write_bytes,
    write_text,
)

INTERRUPTIONS = [RuntimeError, KeyboardInterrupt, SystemExit]


def fill(partial: Path, content: bytes = b"new") -> None:
    """Write into what atomic_file or atomic_folder yielded."""
    (partial / "inside" if partial.is_dir() else partial).write_bytes(content)


def interrupt(context: AbstractContextManager[Path], interruption: type[BaseException]) -> None:
    """Raise an exception while writing."""
    with context as partial:
        fill(partial)
        raise interruption


def tree(folder: Path) -> dict[str, bytes]:
    """Return the content of all files in a folder, including hidden ones."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_file_holds_what_was_written(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "new" / "deeper" / "file") as partial:
        fill(partial)
    assert tree(tmp_path) == {"new/deeper/file": b"new"}


def test_the_folder_holds_what_was_written(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "new" / "folder") as partial:
        fill(partial)
    assert tree(tmp_path) == {"new/folder/inside": b"new"}


def test_a_file_replaces_the_one_before(tmp_path: Path) -> None:
    write_bytes(tmp_path / "file", b"a long first content")
    write_bytes(tmp_path / "file", b"\x00\xff")
    assert tree(tmp_path) == {"file": b"\x00\xff"}


def test_a_copy_is_the_whole_content_or_leaves_what_was_there(tmp_path: Path) -> None:
    content = bytes(range(256)) * 5000
    write_bytes(tmp_path / "file", content)
    copy_file(tmp_path / "file", tmp_path / "copy")
    with pytest.raises(OSError, match="gone"):
        copy_file(tmp_path / "gone", tmp_path / "copy")
    assert tree(tmp_path) == {"file": content, "copy": content}


def test_text_is_utf_8_with_line_ends_as_given(tmp_path: Path) -> None:
    write_text(tmp_path / "file", "λ‖∇‖\n−1")
    assert (tmp_path / "file").read_bytes() == b"\xce\xbb\xe2\x80\x96\xe2\x88\x87\xe2\x80\x96\n\xe2\x88\x921"


@pytest.mark.parametrize("whole", [atomic_file, atomic_folder])
def test_nothing_has_the_name_before_the_block_ends(
    tmp_path: Path, whole: Callable[[Path], AbstractContextManager[Path]]
) -> None:
    with whole(tmp_path / "target") as partial:
        fill(partial)
        assert not (tmp_path / "target").exists()
        # On the same file system, or the rename would be a copy.
        assert partial.parent == tmp_path
    assert (tmp_path / "target").exists()


def test_the_file_before_is_there_until_the_block_ends(tmp_path: Path) -> None:
    write_bytes(tmp_path / "target", b"old")
    with atomic_file(tmp_path / "target") as partial:
        fill(partial)
        assert (tmp_path / "target").read_bytes() == b"old"
    assert tree(tmp_path) == {"target": b"new"}


@pytest.mark.parametrize("interruption", INTERRUPTIONS)
@pytest.mark.parametrize("whole", [atomic_file, atomic_folder])
def test_an_exception_in_the_block_leaves_nothing(
    tmp_path: Path, whole: Callable[[Path], AbstractContextManager[Path]], interruption: type[BaseException]
) -> None:
    with pytest.raises(interruption):
        interrupt(whole(tmp_path / "target"), interruption)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("interruption", INTERRUPTIONS)
def test_an_exception_in_the_block_leaves_the_file_before_as_it_was(
    tmp_path: Path, interruption: type[BaseException]
) -> None:
    (tmp_path / "target").write_bytes(b"old")
    with pytest.raises(interruption):
        interrupt(atomic_file(tmp_path / "target"), interruption)
    assert tree(tmp_path) == {"target": b"old"}


def test_a_folder_never_replaces_another(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "precious").write_bytes(b"old")
    with pytest.raises(UserError, match="cannot write .*target"), atomic_folder(tmp_path / "target") as partial:
        fill(partial)
    assert tree(tmp_path) == {"target/precious": b"old"}


def test_a_folder_left_by_a_killed_process_of_the_same_number_is_no_obstacle(tmp_path: Path) -> None:
    # In a container every start has the same process number.
    with atomic_folder(tmp_path / "target") as partial:
        pass
    (tmp_path / "target").rename(partial)
    (partial / "half").write_bytes(b"")
    with atomic_folder(tmp_path / "target") as partial:
        fill(partial)
    assert tree(tmp_path) == {"target/inside": b"new"}


@pytest.mark.parametrize("whole", [atomic_file, atomic_folder])
@pytest.mark.parametrize("below", ["target", "folder/target"])
def test_a_path_through_a_file_is_a_user_error(
    tmp_path: Path, whole: Callable[[Path], AbstractContextManager[Path]], below: str
) -> None:
    (tmp_path / "file").write_bytes(b"old")
    path = tmp_path / "file" / below
    with pytest.raises(UserError, match=f"cannot write {path}: (Not a directory|File exists)"), whole(path) as partial:
        fill(partial)
    assert tree(tmp_path) == {"file": b"old"}


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of 64 KiB with one file."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting a disk is not permitted")
    (place / "file").write_bytes(b"old")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.faults
@pytest.mark.parametrize(("whole", "name"), [(atomic_file, "file"), (atomic_file, "new"), (atomic_folder, "new")])
def test_a_full_disk_is_a_user_error_and_leaves_what_was_there(
    tiny_disk: Path, whole: Callable[[Path], AbstractContextManager[Path]], name: str
) -> None:
    expected = f"cannot write {tiny_disk / name}: No space left on device"
    with pytest.raises(UserError, match=expected), whole(tiny_disk / name) as partial:
        fill(partial, bytes(200_000))
    assert tree(tiny_disk) == {"file": b"old"}
    # And its space is free again.
    write_bytes(tiny_disk / "after", bytes(30_000))


@pytest.mark.faults
@pytest.mark.parametrize("whole", [atomic_file, atomic_folder])
def test_a_read_only_disk_is_a_user_error(
    tiny_disk: Path, whole: Callable[[Path], AbstractContextManager[Path]]
) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(tiny_disk)], check=True)
    expected = f"cannot write {tiny_disk / 'new'}: Read-only file system"
    with pytest.raises(UserError, match=expected), whole(tiny_disk / "new") as partial:
        fill(partial)
    assert tree(tiny_disk) == {"file": b"old"}


def test_a_folder_is_removed_and_what_hinders_it_is_left(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_bytes(b"")
    remove_folder(tmp_path / "one")
    remove_folder(tmp_path / "none")
    assert tree(tmp_path) == {"other/file": b""}


def test_only_halves_of_files_are_removed(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "file") as partial:
        fill(partial)
        (tmp_path / ".hidden").write_bytes(b"")
        partial.with_name(".other.1.partial").write_bytes(b"half")
        (tmp_path / "named.partial").write_bytes(b"")
    remove_partial_files(tmp_path)
    assert sorted(tree(tmp_path)) == [".hidden", "file", "named.partial"]
    remove_partial_files(tmp_path / "missing")


def test_a_file_of_at_most_the_limit_is_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\r\n\x1a\0")
    (tmp_path / "link").symlink_to("a")
    assert read_file(tmp_path / "link", 4) == b"\r\n\x1a\0"
    with pytest.raises(OSError, match="it has 4 bytes, more than 3"):
        read_file(tmp_path / "a", 3)
    with pytest.raises(FileNotFoundError):
        read_file(tmp_path / "no", 3)


def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "terminal").symlink_to("/dev/tty")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "zero", "folder", "terminal"):
        with pytest.raises(OSError, match="not a regular file|Is a directory|No such device"):
            read_file(tmp_path / name, 10)


def test_a_text_with_a_name_in_another_encoding_is_written(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "caf\udce9 é")
    assert (tmp_path / "a").read_text("utf-8") == r"caf\udce9 é"
