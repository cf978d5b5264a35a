"""The samples of fixed noise as frames and as an animation."""

import os
import shutil
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageSequence

from export.sampler import write_picture
from tests.faults.hostile.pictures import png
from tests.runs import write_run, write_sample
from wgan_dist.checkpoints.run_dir import SAMPLES
from wgan_dist.reporting import frames
from wgan_dist.reporting.frames import evenly_spaced, read_frames, write_animation
from wgan_dist.reporting.image_files import Picture, to_png
from wgan_dist.reporting.run_data import RunData, read_run
from wgan_dist.utils.images import LABEL_HEIGHT


@given(st.integers(1, 2000), st.integers(2, 100))
def test_frames_are_evenly_spaced_and_include_both_ends(count: int, limit: int) -> None:
    chosen = evenly_spaced(count, limit)
    assert len(chosen) == min(count, limit)
    assert (chosen[0], chosen[-1]) == (0, count - 1)
    gaps = np.diff(chosen)
    assert len(gaps) == 0 or gaps.min() >= 1 and gaps.max() - gaps.min() <= 1


@pytest.fixture
def run(tmp_path: Path) -> RunData:
    folder = write_run(tmp_path / "a", [])
    for step, level in ((100_000_000, 200), (500, 100), (60, 20)):  # nine digits sort before eight as text
        write_sample(folder, step, "ema", level)
    write_sample(folder, 500, "raw", 50)
    (folder / SAMPLES / "step-00000900-ema.npy").touch()
    (folder / SAMPLES / "step-other-ema.png").touch()
    return read_run(folder, "a")


def test_frames_are_in_the_order_of_their_steps(run: RunData) -> None:
    found, notes = read_frames(run, "ema", 25, "1-a")
    assert [frame.step for frame in found] == [60, 500, 100_000_000]
    assert found[1].picture.path == "1-a/step-00000500-ema.png"
    assert found[1].picture.content == (run.folder / SAMPLES / "step-00000500-ema.png").read_bytes()
    assert notes == []
    assert [frame.step for frame in read_frames(run, "raw", 25, "")[0]] == [500]
    assert [frame.step for frame in read_frames(run, "ema", 2, "")[0]] == [60, 100_000_000]


@pytest.mark.parametrize("linked", ["picture", "folder"])
def test_a_run_shows_no_picture_from_elsewhere(run: RunData, tmp_path: Path, linked: str) -> None:
    write_sample(tmp_path / "mine", 60, "ema", 20)
    path = run.folder / SAMPLES / "step-00000060-ema.png"
    if linked == "picture":
        path.unlink()
        path.symlink_to(tmp_path / "mine" / SAMPLES / path.name)
    else:
        shutil.rmtree(run.folder / SAMPLES)
        (run.folder / SAMPLES).symlink_to(tmp_path / "mine" / SAMPLES)
    found, notes = read_frames(run, "ema", 25, "")
    assert [frame.step for frame in found] == ([500, 100_000_000] if linked == "picture" else [])
    assert notes == [f"samples/{path.name} is a link that leads out of the run, and was left out"]


@pytest.mark.parametrize("damage", [b"", b"GIF89a", b"half"])
def test_an_unreadable_picture_is_noted(damage: bytes, run: RunData) -> None:
    path = run.folder / SAMPLES / "step-00000500-ema.png"
    if damage == b"half":
        noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
        write_picture(noise, path)
        damage = path.read_bytes()[:6000]
    path.write_bytes(damage)
    found, notes = read_frames(run, "ema", 25, "")
    assert [frame.step for frame in found] == [60, 100_000_000]
    assert notes == ["samples/step-00000500-ema.png cannot be read"]


def test_a_picture_of_very_many_pixels_is_noted_without_being_decoded(run: RunData) -> None:
    path = run.folder / SAMPLES / "step-00000500-ema.png"
    for side in (5800, 10_000, 20_000):  # beyond the limit, where Pillow warns, and where it refuses
        path.write_bytes(png(side, side, 8, 2, data=zlib.compress(bytes(100), 9)))
        started = time.process_time()
        assert read_frames(run, "ema", 25, "")[1] == ["samples/step-00000500-ema.png cannot be read"]
        assert time.process_time() - started < 1
    write_picture(np.zeros((1, 65_536, 1), np.uint8), path)  # wider than a GIF
    assert read_frames(run, "ema", 25, "")[1] == ["samples/step-00000500-ema.png cannot be read"]
    path.unlink()
    os.mkfifo(path)
    assert read_frames(run, "ema", 25, "")[1] == ["samples/step-00000500-ema.png cannot be read"]


def test_a_picture_that_is_too_wide_for_webp_is_embedded_as_png() -> None:
    for width, mime_type in ((16_383, "image/webp"), (16_384, "image/png")):
        picture = Picture("a.png", to_png(Image.new("L", (width, 1))), "")
        assert picture.uri.startswith(f"data:{mime_type};base64,")


def test_an_animation_shows_every_frame_in_order(run: RunData, tmp_path: Path) -> None:
    found, _ = read_frames(run, "ema", 25, "")
    content = write_animation(found, tmp_path / "a.gif")
    assert (tmp_path / "a.gif").read_bytes() == content
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.info["loop"] == 0
        levels = [
            np.asarray(each.convert("L"))[LABEL_HEIGHT:, :10].mean().round() for each in ImageSequence.Iterator(gif)
        ]
    assert levels == [20, 100, 200]


def test_an_animation_of_large_pictures_shows_as_many_as_fit_into_memory(
    run: RunData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found, _ = read_frames(run, "ema", 25, "")
    width, height = found[0].picture.size
    for count, told in ((3, ""), (2, "note: a.gif: shows 2 of 3 pictures, since they are large\n")):
        monkeypatch.setattr(frames, "MAX_ANIMATION_PIXELS", count * width * (height + LABEL_HEIGHT))
        write_animation(found, tmp_path / "a.gif")
        with Image.open(tmp_path / "a.gif") as gif:
            assert sum(1 for _ in ImageSequence.Iterator(gif)) == count
        assert capsys.readouterr().err == told
