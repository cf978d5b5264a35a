import os
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits

from tests.data.files import GREEN, RED, SIZE, files_in, first_pixels, half, opened, save, save_levels
from tests.processes import HANG_SECONDS, REPOSITORY
from wgan_dist.config.image_size import square
from wgan_dist.data import decoding
from wgan_dist.data.datasets import ImageDataset, open_images
from wgan_dist.data.image_settings import ImageSettings
from wgan_dist.utils.errors import UserError


def test_images_are_decoded_into_one_array(tmp_path: Path) -> None:
    expected: NDArray[np.uint8] = np.random.default_rng(0).integers(0, 256, (5, SIZE, SIZE, 3), np.uint8)
    (tmp_path / "photos").mkdir()
    for number, pixels in enumerate(expected):
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{number}.bmp")
    found = opened(tmp_path / "cache", tmp_path / "photos")
    assert (found.pixels == expected.transpose(0, 3, 1, 2)).all()
    assert found.pixels.dtype == np.uint8
    assert (len(found), found.channels, found.name, found.bad) == (5, 3, "photos", ())


def test_the_pixels_are_a_read_only_memory_map(tmp_path: Path) -> None:
    found = opened(tmp_path, "digits", size=8)
    assert isinstance(found.pixels, np.memmap)
    assert not found.pixels.flags.writeable


def test_the_digits_at_their_own_size_are_those_of_scikit_learn(tmp_path: Path) -> None:
    assert (opened(tmp_path, "digits", size=8).pixels[:, 0] == np.rint(load_digits().images * 255 / 16)).all()


def test_several_sources_are_joined_in_the_given_order(tmp_path: Path) -> None:
    first, second = save_levels(tmp_path / "b", [1, 2]), save_levels(tmp_path / "a", [3])
    found = opened(tmp_path / "cache", first, second)
    assert (found.name, first_pixels(found)) == ("b+a", [1, 2, 3])
    assert first_pixels(opened(tmp_path / "cache", second, first)) == [3, 1, 2]


def test_images_are_grey_if_all_of_them_are(tmp_path: Path) -> None:
    folder = save_levels(tmp_path / "photos", [1, 2])
    assert first_pixels(opened(tmp_path, folder)) == [1, 2]
    save(folder / "red.png", RED)
    assert first_pixels(opened(tmp_path, folder)) == [[1] * 3, [2] * 3, list(RED)]


def test_one_coloured_source_makes_all_sources_coloured(tmp_path: Path) -> None:
    grey, red = save_levels(tmp_path / "grey", [1]), save(tmp_path / "red" / "a.png", RED).parent
    assert first_pixels(opened(tmp_path, grey, red)) == [[1] * 3, list(RED)]


def test_an_unreadable_file_does_not_affect_the_channels(tmp_path: Path) -> None:
    folder = save_levels(tmp_path / "photos", [1])
    (folder / "bad.png").write_bytes(b"")
    assert opened(tmp_path, folder, skip=True).channels == 1


@pytest.mark.parametrize(("channels", "expected"), [(1, 150), (3, [0, 255, 0]), (4, [0, 255, 0, 255])])
def test_the_number_of_channels_can_be_chosen(tmp_path: Path, channels: int, expected: object) -> None:
    folder = save(tmp_path / "photos" / "a.png", GREEN).parent
    # Green's share of luminance is 0.587.
    assert first_pixels(opened(tmp_path, folder, channels=channels)) == [expected]


def test_transparent_pixels_show_the_background_or_stay_transparent(tmp_path: Path) -> None:
    folder = save(tmp_path / "photos" / "a.png", (9, 9, 9, 0)).parent
    assert first_pixels(opened(tmp_path, folder, background="102030")) == [[0x10, 0x20, 0x30]]
    assert first_pixels(opened(tmp_path, folder, background="302010")) == [[0x30, 0x20, 0x10]]
    assert first_pixels(opened(tmp_path, folder, channels=4)) == [[9, 9, 9, 0]]


BAD = {"text.jpg": b"not an image", "empty.png": b"", "half.jpg": half("JPEG"), "half.png": half("PNG")}


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """Return a folder of two readable images and one file of each unreadable kind."""
    folder = save_levels(tmp_path / "photos", [1, 2])
    for name, content in BAD.items():
        (folder / name).write_bytes(content)
    return folder


def test_unreadable_files_are_counted_and_named(tmp_path: Path, damaged: Path) -> None:
    with pytest.raises(UserError) as error:
        opened(tmp_path / "cache", damaged)
    assert str(error.value).startswith("4 unreadable images: ")
    assert [name for name in BAD if f"'{name}': " not in str(error.value)] == []
    assert "00" not in str(error.value)
    assert "--skip_bad_images" in str(error.value)


def test_unreadable_files_can_be_left_out(tmp_path: Path, damaged: Path) -> None:
    found = opened(tmp_path / "cache", damaged, skip=True)
    assert first_pixels(found) == [[1] * 3, [2] * 3]  # the header of half.png, still whole, says RGB
    assert [line.split(":")[0] for line in found.bad] == [repr(name) for name in sorted(BAD)]


def test_a_cache_with_unreadable_files_is_refused_without_the_flag(tmp_path: Path, damaged: Path) -> None:
    opened(tmp_path / "cache", damaged, skip=True)
    with pytest.raises(UserError, match="4 unreadable images"):
        opened(tmp_path / "cache", damaged)


def test_at_most_ten_unreadable_files_are_named(tmp_path: Path) -> None:
    for number in range(12):
        save(tmp_path / "photos" / f"{number:02d}.png").write_bytes(b"")
    with pytest.raises(UserError, match="^12 unreadable images: '00.png': .*'09.png': .*; and 2 more") as error:
        opened(tmp_path / "cache", tmp_path / "photos")
    assert "'10.png'" not in str(error.value)


def test_an_unreadable_file_of_any_name_is_named_on_one_line(tmp_path: Path) -> None:
    folder = save_levels(tmp_path / "photos", [1])
    (folder / os.fsdecode(b"new\nline \xff.png")).write_bytes(b"")
    found = opened(tmp_path / "cache", folder, skip=True)
    assert found.bad == (r"'new\nline \udcff.png': not a PNG, JPEG, WebP, BMP, GIF or TIFF image",)


def test_a_folder_of_unreadable_files_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "photos" / "a.png").write_bytes(b"")
    with pytest.raises(UserError, match=f"^data={tmp_path}/photos: no readable image"):
        opened(tmp_path / "cache", tmp_path / "photos", skip=True)


def test_images_are_decoded_once(tmp_path: Path) -> None:
    folder, cache = save_levels(tmp_path / "photos", [1, 2]), tmp_path / "cache"
    reported: list[tuple[int, int]] = []
    first = opened(cache, folder, progress=lambda done, total: reported.append((done, total)))
    before = {file: (file.stat().st_ino, file.stat().st_mtime_ns) for file in cache.iterdir()}
    second = opened(cache, folder, progress=lambda done, total: reported.append((done, total)))
    assert reported == [(2, 2)]
    assert {file: (file.stat().st_ino, file.stat().st_mtime_ns) for file in cache.iterdir()} == before
    assert (second.pixels == first.pixels).all()
    assert (second.name, second.fingerprint, second.bad) == (first.name, first.fingerprint, first.bad)


def test_a_changed_image_is_decoded_again(tmp_path: Path) -> None:
    folder = save_levels(tmp_path / "photos", [1, 2])
    assert first_pixels(opened(tmp_path, folder)) == [1, 2]
    os.utime(save(folder / "001.png", 3), ns=(0, 12345))
    assert first_pixels(opened(tmp_path, folder)) == [1, 3]


def test_added_and_removed_images_are_detected(tmp_path: Path) -> None:
    folder = save_levels(tmp_path / "photos", [1, 2])
    opened(tmp_path, folder)
    save(folder / "003.png", 3)
    assert first_pixels(opened(tmp_path, folder)) == [1, 2, 3]
    (folder / "000.png").unlink()
    assert first_pixels(opened(tmp_path, folder)) == [2, 3]


def test_each_shape_has_its_own_cache(tmp_path: Path) -> None:
    folder = save_levels(tmp_path / "photos", [1, 2])
    assert opened(tmp_path, folder, size=4).pixels.shape == (2, 1, 4, 4)
    assert opened(tmp_path, folder, size=6).pixels.shape == (2, 1, 6, 6)
    assert opened(tmp_path, folder, size=6, channels=3).pixels.shape == (2, 3, 6, 6)


def test_the_fingerprint_depends_on_the_content_only(tmp_path: Path) -> None:
    one, two = save_levels(tmp_path / "one", [1, 2]), save_levels(tmp_path / "two", [1])
    save(two / "sub" / "other name.png", 2)
    assert opened(tmp_path / "a", one).fingerprint == opened(tmp_path / "b", two).fingerprint


def test_one_changed_pixel_changes_the_fingerprint(tmp_path: Path) -> None:
    first, second = save_levels(tmp_path / "1", [1, 2]), save_levels(tmp_path / "2", [1, 2])
    image = Image.open(second / "001.png")
    image.putpixel((SIZE - 1, SIZE - 1), 3)
    image.save(second / "001.png")
    assert opened(tmp_path / "cache", first).fingerprint != opened(tmp_path / "cache", second).fingerprint


def test_the_order_and_the_shape_change_the_fingerprint(tmp_path: Path) -> None:
    first, second = save_levels(tmp_path / "1", [1, 2]), save_levels(tmp_path / "2", [1])
    variants = [(first, second), (second, first), (first,)]
    fingerprints = {opened(tmp_path / "cache", *folders).fingerprint for folders in variants}
    black = save_levels(tmp_path / "3", [0] * 4)  # 4 images of 4×4 have the bytes of 1 of 8×8
    fingerprints |= {opened(tmp_path / "cache", black).fingerprint}
    fingerprints |= {opened(tmp_path / "cache", save_levels(tmp_path / "4", [0]), size=8).fingerprint}
    assert len(fingerprints) == 5


def test_images_are_decoded_in_order_and_progress_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "PROGRESS_EVERY", 3)
    reported: list[tuple[int, int]] = []
    folder = save_levels(tmp_path / "photos", range(0, 80, 10))
    found = opened(tmp_path / "cache", folder, progress=lambda done, total: reported.append((done, total)))
    assert first_pixels(found) == list(range(0, 80, 10))
    assert reported == [(3, 8), (6, 8), (8, 8)]


def test_an_interrupted_decoding_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "PROGRESS_EVERY", 1)
    folder = save_levels(tmp_path / "photos", [1, 2, 3])

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        opened(tmp_path / "cache", folder, progress=interrupt)
    assert files_in(tmp_path / "cache") == []
    assert first_pixels(opened(tmp_path / "cache", folder)) == [1, 2, 3]


def test_unreadable_files_leave_no_partial_cache(tmp_path: Path, damaged: Path) -> None:
    with pytest.raises(UserError):
        opened(tmp_path / "cache", damaged)
    assert files_in(tmp_path / "cache") == [".json", ".pixels"]


@pytest.mark.parametrize("lost", ["*.json", "*.pixels"])
def test_half_a_cache_is_rebuilt(tmp_path: Path, lost: str) -> None:
    """A kill between the two writes leaves one of the files."""
    folder = save_levels(tmp_path / "photos", [1, 2])
    opened(tmp_path / "cache", folder)
    for file in (tmp_path / "cache").glob("*.pixels"):
        file.write_bytes(b"\7" * file.stat().st_size)
    for file in (tmp_path / "cache").glob(lost):
        file.unlink()
    assert first_pixels(opened(tmp_path / "cache", folder)) == [1, 2]


@pytest.mark.parametrize("below", [".", "below/further"])
def test_a_cache_that_cannot_be_written_is_refused(tmp_path: Path, below: str) -> None:
    """A file takes the place of the folder, since root may write into any folder."""
    cache = save(tmp_path / "file.png") / below
    with pytest.raises(UserError, match=f"^cannot write {cache}/"):
        opened(cache, "digits", size=8)


def test_a_tilde_in_the_cache_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    opened(Path("~/cache"), "digits", size=8)
    assert files_in(tmp_path / "cache") == [".json", ".pixels"]


@pytest.mark.parametrize("damage", ["pixels cut short", "index cut short", "index of something else"])
def test_a_damaged_cache_is_rebuilt(tmp_path: Path, damage: str) -> None:
    def load() -> ImageDataset:
        return open_images(("digits",), ImageSettings(square(8)), str(tmp_path))

    fingerprint = load().fingerprint
    pixels, index = next(tmp_path.glob("*.pixels")), next(tmp_path.glob("*.json"))
    if damage.startswith("pixels"):
        pixels.write_bytes(pixels.read_bytes()[:-1])
    else:
        index.write_text(index.read_text()[:-5] if "cut" in damage else "[]")
    assert load().fingerprint == fingerprint
    assert len(load()) == 1797


def test_the_position_of_the_first_coloured_image_is_irrelevant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images that were decoded as grey before it are decoded again."""
    monkeypatch.setattr(decoding, "IMAGES_PER_TASK", 2)
    grey = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 7, 2), np.uint8), "LA")
    for place in (0, 3, 7):
        folder = tmp_path / f"at {place}"
        save_levels(folder, range(0, 80, 10))
        save(folder / f"{place:03d}.png", RED)
        grey.save(folder / "005.png")
        auto = opened(tmp_path / "auto", folder, background="ff8000")
        explicit = opened(tmp_path / "told", folder, channels=3, background="ff8000")
        assert (auto.fingerprint, auto.channels) == (explicit.fingerprint, 3)


BUILDER = """
import sys, time
from pathlib import Path
from tests.processes import HANG_SECONDS, REPOSITORY
from wgan_dist.config.image_size import square
from wgan_dist.data.datasets import open_images
from wgan_dist.data.image_settings import ImageSettings
me, other = Path(sys.argv[1]), Path(sys.argv[2])
def progress(done, total):
    (me / "decoding").touch()
    until = time.monotonic() + 60
    while not (other / "wants").exists() and time.monotonic() < until:
        time.sleep(0.01)
    time.sleep(0.5)
me.mkdir()
(me / "wants").touch()
found = open_images(("photos",), ImageSettings(square(4)), "cache", progress)
(me / "fingerprint").write_text(found.fingerprint)
"""


def build(folder: Path, *arguments: str) -> "subprocess.Popen[bytes]":
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    return subprocess.Popen([sys.executable, "-c", BUILDER, *arguments], cwd=folder, env=environment)


def wait_for(file: Path) -> None:
    until = time.monotonic() + HANG_SECONDS
    while not file.exists():
        assert time.monotonic() < until, file
        time.sleep(0.01)


def test_of_two_processes_one_decodes_and_the_other_waits(tmp_path: Path) -> None:
    save_levels(tmp_path / "photos", [1, 2, 3])
    first = build(tmp_path, "a", "b")
    wait_for(tmp_path / "a" / "decoding")
    second = build(tmp_path, "b", "a")
    assert [process.wait(HANG_SECONDS) for process in (first, second)] == [0, 0]
    assert (tmp_path / "a" / "fingerprint").read_text() == (tmp_path / "b" / "fingerprint").read_text()
    assert not (tmp_path / "b" / "decoding").exists()
    assert files_in(tmp_path / "cache") == [".json", ".pixels"]


def test_after_a_kill_the_cache_is_rebuilt_and_partial_files_are_removed(tmp_path: Path) -> None:
    folder = save_levels(tmp_path / "photos", [1, 2, 3])
    killed = build(tmp_path, "a", "nobody")
    wait_for(tmp_path / "a" / "decoding")
    assert ".partial" in files_in(tmp_path / "cache")
    killed.kill()
    killed.wait(HANG_SECONDS)
    assert first_pixels(opened(tmp_path / "cache", folder)) == [1, 2, 3]
    assert files_in(tmp_path / "cache") == [".json", ".pixels"]


# --- the cache is for its owner ---


@pytest.mark.parametrize("source", ["photos", "photos.tgz"])
def test_decoded_images_are_for_their_owner_alone(tmp_path: Path, source: str) -> None:
    """So is an unpacked archive, which is a file without a name."""
    save_levels(tmp_path / "photos", [0, 255])
    packed = shutil.make_archive(str(tmp_path / "photos"), "gztar", tmp_path / "photos")
    Path(packed).rename(tmp_path / "photos.tgz")
    found = opened(tmp_path / "new" / "cache", tmp_path / source)
    assert not [line for line in found.warnings if "cache_dir" in line]
    assert stat.S_IMODE((tmp_path / "new" / "cache").stat().st_mode) == 0o700
    files = list((tmp_path / "new" / "cache").iterdir())
    assert sorted(file.suffix for file in files) == [".json", ".pixels"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_a_cache_that_others_can_write_to_is_told_and_keeps_its_permissions(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    cache.chmod(0o777)
    found = opened(cache, save_levels(tmp_path / "photos", [1, 2]))
    told = f"cache_dir={cache}, which other users can write to: who writes there decides what the images are"
    assert found.warnings[-1] == told
    assert stat.S_IMODE(cache.stat().st_mode) == 0o777
    assert {stat.S_IMODE(file.stat().st_mode) for file in cache.iterdir()} == {0o600}


def test_what_a_conversion_loses_is_told(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    Image.new("RGBA", (4, 4), (255, 0, 0, 0)).save(tmp_path / "photos" / "clear.png")
    Image.new("RGB", (4, 4), (255, 0, 0)).save(tmp_path / "photos" / "red.png")
    laid = "transparent pictures are laid over the colour ffffff; --channels=4 keeps transparency"
    for channels, expected in ((4, []), (3, [laid]), (1, ["pictures in colour become grey", laid])):
        for _ in range(2):  # decoded, and from the cache
            found = opened(tmp_path / "cache", tmp_path / "photos", channels=channels)
            assert [line for line in found.warnings if line.startswith(("pictures in", "transparent"))] == expected
