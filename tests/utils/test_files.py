"""Files and folders appear complete or not at all, also on disks that refuse."""

import os
import re
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from wgan_dist.utils import files
from wgan_dist.utils.errors import UserError
from wgan_dist.utils.files import (
    PRIVATE,
    atomic_file,
    atomic_folder,
    copy_file,
    make_private_folder,
    other_writers,
    partial_path,
    read_file,
    remove_folder,
    remove_partial_files,
    remove_partial_folders,
    write_bytes,
    write_text,
)

# Permissions and owners are those of POSIX, and only root may give a folder away.
POSIX = pytest.mark.skipif(os.name != "posix", reason="no POSIX")
ROOT = pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="not root")
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


def test_what_a_killed_process_left_is_no_obstacle(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "target") as left:
        pass
    (tmp_path / "target").rename(left)
    (left / "half").write_bytes(b"")
    with atomic_folder(tmp_path / "target") as partial:
        fill(partial)
    assert tree(tmp_path) == {"target/inside": b"new", f"{left.name}/half": b""}


@pytest.mark.parametrize("whole", [atomic_file, atomic_folder])
def test_a_temporary_name_cannot_be_guessed(
    tmp_path: Path, whole: Callable[[Path], AbstractContextManager[Path]]
) -> None:
    names = []
    for number in range(3):
        with whole(tmp_path / str(number)) as partial:
            names.append(partial.name.replace(f".{number}.", "", 1))
    assert len(set(names)) == 3
    assert str(os.getpid()) not in " ".join(re.sub("-[0-9a-f]{8}", "", name) for name in names)


@pytest.mark.parametrize("whole", [atomic_file, atomic_folder])
def test_what_has_the_temporary_name_already_is_neither_followed_nor_removed(
    tmp_path: Path, whole: Callable[[Path], AbstractContextManager[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").write_bytes(b"precious")
    taken = partial_path(tmp_path / "target")
    taken.symlink_to(tmp_path / "mine")
    monkeypatch.setattr(files, "partial_path", lambda path: taken)
    with pytest.raises(UserError, match="cannot write .*target: File exists"), whole(tmp_path / "target") as partial:
        fill(partial)
    assert (tmp_path / "mine").read_bytes() == b"precious"
    assert taken.is_symlink()


@POSIX
@pytest.mark.parametrize(("umask", "shared"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_permissions_are_those_of_the_umask_or_the_owners_alone(tmp_path: Path, umask: int, shared: int) -> None:
    before = os.umask(umask)
    try:
        write_text(tmp_path / "shared", "")
        write_text(tmp_path / "private", "", PRIVATE)
        write_bytes(tmp_path / "bytes", b"", PRIVATE)
        make_private_folder(tmp_path / "new" / "folder")
    finally:
        os.umask(before)
    found = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("shared", "private", "bytes", "new/folder")]
    assert found == [shared, 0o600, 0o600, 0o700]


def test_a_folder_that_exists_keeps_its_permissions(tmp_path: Path) -> None:
    tmp_path.chmod(0o750)
    make_private_folder(tmp_path)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o750


@POSIX
@pytest.mark.parametrize(
    ("mode", "group", "words"),
    [
        (0o755, os.getgid(), ""),
        (0o775, os.getgid(), ""),  # the user's own group, as Debian and Fedora make it
        (0o777, os.getgid(), "other users can write to"),
        (0o1777, os.getgid(), "other users can write to"),
        pytest.param(0o775, 12345, "other users can write to", marks=ROOT),
        pytest.param(0o755, 12345, "", marks=ROOT),
    ],
)
def test_other_users_who_can_write_to_a_folder_are_known(tmp_path: Path, mode: int, group: int, words: str) -> None:
    os.chown(tmp_path, -1, group)
    tmp_path.chmod(mode)
    assert other_writers(tmp_path) == words
    assert other_writers(tmp_path / "missing") == ""


@ROOT
def test_the_folder_of_another_user_is_written_by_another_user(tmp_path: Path) -> None:
    os.chown(tmp_path, 12345, -1)
    assert other_writers(tmp_path) == "belongs to another user"


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
        for name in (".hidden", ".mine.partial", ".mine.1.partial", "named.partial"):
            (tmp_path / name).write_bytes(b"")
        partial_path(partial.with_name("other")).write_bytes(b"half")
        partial_path(partial.with_name("folder")).mkdir()
    remove_partial_files(tmp_path)
    kept = [".hidden", ".mine.1.partial", ".mine.partial", "file", "named.partial"]
    assert sorted(tree(tmp_path)) == kept
    remove_partial_files(tmp_path / "missing")
    (tmp_path / ".mine.2.partial").mkdir()
    remove_partial_folders(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*kept, ".mine.2.partial"])


def test_removing_a_folder_that_is_a_link_leaves_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "mine").write_bytes(b"precious")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "link").symlink_to(tmp_path / "elsewhere")
    remove_folder(tmp_path / "run" / "link")
    remove_partial_folders(tmp_path / "run")
    assert tree(tmp_path / "elsewhere") == {"mine": b"precious"}


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
