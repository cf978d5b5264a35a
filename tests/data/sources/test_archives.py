import gzip
import os
import struct
import tarfile
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.files import (
    RED,
    files_in,
    first_pixels,
    half,
    opened,
    photograph,
    png,
    save,
    save_levels,
    tar_of,
    write,
    write_folder,
    write_zip,
)
from tests.faults.hostile.bombs import PWNED, tar_slip, zip_bomb
from tests.faults.tiny import SETTINGS, assert_same_run, flags
from tests.processes import PYTHON, TORCHRUN_2, run
from wgan_dist.data.sources import archives
from wgan_dist.data.sources.base import BadImageError, ImageListing, read_image
from wgan_dist.data.sources.registry import open_source
from wgan_dist.utils.errors import UserError


def list_images(path: Path) -> ImageListing:
    return open_source(str(path), path.parent / "cache").list_images()


def level(images: ImageListing, index: int) -> object:
    return read_image(images, index, lambda image: image.getpixel((0, 0)))


KINDS = ["a.zip", "a.tar", "a.tar.gz", "a.TGZ"]


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_equals_a_folder_of_its_files(tmp_path: Path, kind: str) -> None:
    files = {f"{name}.jpg": photograph(seed) for seed, name in enumerate(["b/z", "a", "b/c/d", "A"])}
    folder = opened(tmp_path / "one", write_folder(tmp_path / "photos", files), size=8)
    found = opened(tmp_path / "two", write(tmp_path / kind, files), size=8)
    assert found.fingerprint == folder.fingerprint
    assert (found.pixels == folder.pixels).all()
    assert found.name == "a"


@pytest.mark.parametrize("kind", KINDS)
def test_hidden_members_and_those_of_macos_are_left_out(tmp_path: Path, kind: str) -> None:
    names = [
        "./p/a.png",
        "__MACOSX/b.png",
        "p/.b.png",
        "__MACOSX/p/._a.png",
        ".git/c.png",
        "p/.DS_Store",
        "p/__MACOSX.png",
    ]
    assert list_images(write(tmp_path / kind, dict.fromkeys(names, png()))).names == ["p/__MACOSX.png", "p/a.png"]


@pytest.mark.parametrize("kind", KINDS)
def test_of_members_with_one_name_the_last_counts_as_after_unpacking(tmp_path: Path, kind: str) -> None:
    path = tmp_path / kind
    if path.suffix == ".zip":
        write_zip(path, {"a.png": png(1), "./a.png": png(2)})
    else:
        first, second = tar_of({"a.png": png(1)}), tar_of({"./a.png": png(2)})
        content = first[:1024] + second
        path.write_bytes(gzip.compress(content) if kind.lower().endswith("gz") else content)
    images = list_images(path)
    assert (images.names, level(images, 0)) == (["a.png"], 2)


@pytest.mark.parametrize("kind", KINDS)
def test_unreadable_members_are_reported_or_skipped_as_in_a_folder(tmp_path: Path, kind: str) -> None:
    files = {"a.png": png(1), "b": b"not an image", "c.jpg": half("JPEG"), "d.png": png(2)}
    path = write(tmp_path / kind, files)
    with pytest.raises(UserError, match=r"^2 unreadable images: 'b': not a PNG.*; 'c.jpg': "):
        opened(tmp_path / "cache", path)
    found = opened(tmp_path / "cache", path, skip=True)
    assert (len(found), len(found.bad)) == (2, 2)


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_leaves_only_the_decoded_pixels_in_the_cache(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path / kind, {"a.png": png(7)})
    assert first_pixels(opened(tmp_path / "cache", path)) == [7]
    assert files_in(tmp_path / "cache") == [".json", ".pixels"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_cached_archive_is_not_read_again_until_it_changes(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path / kind, {"a.png": png(7)})
    opened(tmp_path / "cache", path)
    before = path.stat()
    path.write_bytes(b"\1" * before.st_size)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert first_pixels(opened(tmp_path / "cache", path)) == [7]
    os.utime(path, ns=(0, 1))
    with pytest.raises(UserError, match="damaged"):
        opened(tmp_path / "cache", path)


def test_archives_and_folders_are_merged_in_the_order_given(tmp_path: Path) -> None:
    folder, red = save_levels(tmp_path / "photos", [1]), save(tmp_path / "red" / "r.png", RED).parent
    packed = write(tmp_path / "b.zip", {"a.png": png(2)})
    found = opened(tmp_path / "cache", folder, packed, red)
    assert (found.name, first_pixels(found)) == ("photos+b+red", [[1] * 3, [2] * 3, list(RED)])


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_archive_is_refused(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path / kind, {".hidden.png": png()})
    with pytest.raises(UserError, match=f"^data={path}: the archive holds no image"):
        list_images(path)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.99])
def test_a_truncated_archive_is_refused(tmp_path: Path, kind: str, share: float) -> None:
    path = write(tmp_path / kind, {f"{seed}.jpg": photograph(seed) for seed in range(20)})
    content = path.read_bytes() if kind != "a.tar" else path.read_bytes().rstrip(b"\0")
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(UserError, match=f"^data={path}: damaged or cut short"):
        list_images(path)


@pytest.mark.parametrize("left", [1, 2, 3])
def test_a_tar_truncated_between_two_members_is_refused(tmp_path: Path, left: int) -> None:
    """tarfile takes the end of the file for the end of the archive, and loses images silently."""
    path = write(tmp_path / "a.tar", {f"{number}.png": png() for number in range(4)})
    path.write_bytes(path.read_bytes()[: left * 1024])
    with pytest.raises(UserError, match=f"damaged or cut short: no end of the archive after {left} files"):
        list_images(path)


def test_a_damaged_header_in_a_tar_is_detected(tmp_path: Path) -> None:
    """tarfile takes it for the end of the archive."""
    path = write(tmp_path / "a.tar", {f"{number}.png": png() for number in range(4)})
    content = bytearray(path.read_bytes())
    content[2 * 1024 + 5] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="damaged or cut short: no end of the archive after 2 files"):
        list_images(path)


def test_a_changed_byte_in_a_zip_makes_only_its_image_unreadable(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip", {"a.jpg": photograph(0), "b.jpg": photograph(1)})
    content = bytearray(path.read_bytes())
    content[200] ^= 0x55
    path.write_bytes(content)
    images = list_images(path)
    with pytest.raises(BadImageError, match="damaged in the archive"):
        read_image(images, 0, lambda image: image.load())
    assert read_image(images, 1, lambda image: image.size) == (30, 20)


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(["zip", "tar", "tgz"]), st.data())
def test_damage_raises_only_user_errors_and_bad_images(
    tmp_path_factory: pytest.TempPathFactory, kind: str, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("damage") / f"a.{kind}"
    content = bytearray(write(path, {"a.png": png(), "b/c.jpg": photograph(0)}).read_bytes())
    for place, byte in data.draw(st.dictionaries(st.integers(0, len(content) - 1), st.integers(0, 255))).items():
        content[place] = byte
    path.write_bytes(content)
    with suppress(UserError):
        images = list_images(path)
        for index in range(len(images.names)):
            with suppress(BadImageError):
                read_image(images, index, lambda image: image.load())


def encrypted(path: Path) -> None:
    """Write a zip whose two headers say that its member is encrypted."""
    content = bytearray(write(path, {"a.png": png()}).read_bytes())
    for magic, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        content[content.index(magic) + place] |= 1
    path.write_bytes(content)


def test_an_encrypted_zip_is_refused(tmp_path: Path) -> None:
    encrypted(tmp_path / "a.zip")
    with pytest.raises(UserError, match=f"^data={tmp_path}/a.zip: the archive is encrypted"):
        list_images(tmp_path / "a.zip")


def test_an_unknown_compression_method_makes_an_image_unreadable(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip", {"a.png": png()})
    content = path.read_bytes()
    for magic, place in ((b"PK\3\4", 8), (b"PK\1\2", 10)):
        start = content.index(magic) + place
        content = content[:start] + struct.pack("<H", 99) + content[start + 2 :]
    path.write_bytes(content)
    with pytest.raises(BadImageError, match="damaged in the archive: .*compression"):
        level(list_images(path), 0)


def link_in_tar(kind: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / "a.tar"
        with tarfile.open(path, "w") as archive:
            member = tarfile.TarInfo("link.png")
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
        return path

    return make


def link_in_zip(folder: Path) -> Path:
    path = folder / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        member = zipfile.ZipInfo("link.png")
        member.create_system, member.external_attr = 3, 0o120777 << 16
        archive.writestr(member, "/etc/passwd")
    return path


LINKS = [link_in_zip, *map(link_in_tar, (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE))]


@pytest.mark.parametrize("make", LINKS)
def test_a_link_or_device_in_an_archive_is_an_unreadable_image(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    with pytest.raises(BadImageError, match="^a link,? .*not followed"):
        level(list_images(make(tmp_path)), 0)


@pytest.mark.parametrize(("name", "content"), [("a.zip", zip_bomb), ("a.tar", tar_slip), ("a.tgz", tar_slip)])
def test_path_traversal_and_bombs_write_no_file(tmp_path: Path, name: str, content: Callable[[Path], bytes]) -> None:
    path = tmp_path / "deep" / "below" / name
    path.parent.mkdir(parents=True)
    bomb = content(tmp_path / PWNED)
    path.write_bytes(gzip.compress(bomb) if name.endswith("gz") else bomb)
    with pytest.raises(UserError, match=r"^[23] unreadable images"):  # data.pkl is no image by its name
        opened(path.parent / "cache", path)
    assert [each.name for each in tmp_path.iterdir()] == ["deep"]
    assert [each.name for each in (tmp_path / "deep").iterdir()] == ["below"]


def long_header(kind: bytes, size: int) -> bytes:
    """A tar whose first member begins with a header of `size` bytes, and has a picture behind it."""
    header = tarfile.TarInfo("long")
    header.type, header.size = kind, size
    field = f" path={'x' * (size - 16)}\n"
    content = f"{len(field) + 7:07}{field}".encode() if kind in (tarfile.XHDTYPE, tarfile.XGLTYPE) else b"x" * size
    return header.tobuf() + content.ljust(-(-size // 512) * 512, b"\0") + tar_of({"a.png": png(1)})


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE])
@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz"])
def test_a_long_header_in_a_tar_is_refused_before_it_is_read(kind: bytes, name: str, tmp_path: Path) -> None:
    def write_tar(size: int) -> Path:
        content = long_header(kind, size)
        (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        return tmp_path / name

    assert len(list_images(write_tar(3000))) == 1
    with pytest.raises(UserError, match="damaged or cut short: a header of more than 1,048,576 bytes$"):
        list_images(write_tar(1 << 20))


def test_the_map_of_a_sparse_file_is_bounded_as_a_header_is(tmp_path: Path) -> None:
    header = bytearray(tarfile.TarInfo("a.png").tobuf(tarfile.GNU_FORMAT))
    header[156:157], header[482] = tarfile.GNUTYPE_SPARSE, 1  # continues in the next block
    header[148:156] = b"%06o\0 " % (256 + sum(header[:148]) + sum(header[156:]))
    (tmp_path / "a.tar").write_bytes(bytes(header) + (bytes(504) + b"\1" + bytes(7)) * 2048)
    with pytest.raises(UserError, match="a header of more than 1,048,576 bytes$"):
        list_images(tmp_path / "a.tar")


def test_many_short_headers_are_accepted(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(tar_of({f"{number}.png": b"" for number in range(2100)}))
    assert len(list_images(tmp_path / "a.tar")) == 2100


@pytest.mark.parametrize("kind", KINDS)
def test_a_member_larger_than_the_limit_is_not_read(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MEMBER_LIMIT", 1000)
    path = write(tmp_path / kind, {"a.png": png() + bytes(2000), "b.png": png(5)})
    images = list_images(path)
    with pytest.raises(BadImageError, match="2,.* bytes: more than 1,000"):
        level(images, 0)
    assert level(images, 1) == 5


def test_a_zip_member_is_read_only_up_to_its_declared_size(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip", {"a.png": png() + bytes(100_000)})
    content = path.read_bytes()
    for magic, place in ((b"PK\3\4", 22), (b"PK\1\2", 24)):
        start = content.index(magic) + place
        content = content[:start] + struct.pack("<I", 50) + content[start + 4 :]
    path.write_bytes(content)
    with pytest.raises(BadImageError, match="damaged in the archive: Bad CRC-32|truncated|broken"):
        read_image(list_images(path), 0, lambda image: image.load())


def test_a_compressed_tar_beyond_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "GZIP_LIMIT", 1 << 20)
    monkeypatch.setattr(archives, "CHUNK", 1 << 16)
    path = write(tmp_path / "a.tgz", {"a.png": bytes(3 << 20)})
    with pytest.raises(UserError, match=f"^data={path}: unpacks to more than 1,048,576 bytes"):
        list_images(path)


def test_a_compressed_tar_whose_cache_cannot_be_written_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tgz", {"a.png": png()})
    (tmp_path / "cache").touch()
    with pytest.raises(UserError, match=f"^cache_dir={tmp_path}/cache: cannot be written"):
        list_images(path)


@pytest.mark.slow
def test_two_processes_train_on_a_zip_as_one_does(tmp_path: Path) -> None:
    write(tmp_path / "photos.zip", {f"{seed:02d}.jpg": photograph(seed) for seed in range(40)})
    given = SETTINGS | {"data": "photos.zip", "dtype": "float64", "cache_dir": "cache", "max_steps": "3"}
    for name, command in (("one", PYTHON), ("two", TORCHRUN_2)):
        run(*command, "-m", "wgan_dist.train", *flags(given | {"run_dir": name}), cwd=tmp_path)
    assert_same_run(tmp_path / "one", tmp_path / "two")
