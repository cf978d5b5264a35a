"""The distance command: any two sets of one kind, its files and exit status, and errors that name the set."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.generators import small_spec, write_generator
from tests.processes import PYTHON, run
from wgan_dist.config.fields import from_flags
from wgan_dist.data.datasets import ImageDataset
from wgan_dist.distance import DistanceSettings
from wgan_dist.distance_files import measure
from wgan_dist.train import train
from wgan_dist.utils.errors import UserError
from wgan_dist.utils.levels import Levels

KEYS = {"estimate", "lower", "level", "upper_estimate", "unit", "p_value", "samples", "method", "seed"}


def points(path: Path, shift: float, seed: int, count: int = 300) -> str:
    values = np.random.default_rng(seed).normal(size=(count, 2))
    np.save(path, (values + [shift, 0.0]).astype(np.float32))
    return str(path)


def measured(first: str, second: str, folder: Path, **flags: str) -> dict[str, Any]:
    """Measure, and return the content of the JSON file."""
    out = folder / "distance.json"
    few = {"words": [first, second], "json": str(out), "steps": "60", "critic_features": "16"}
    measure(from_flags(DistanceSettings, few | flags))
    found: dict[str, Any] = json.loads(out.read_text())
    return found


def test_arrays_of_points_keep_their_unit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = points(tmp_path / "a.npy", 0.0, 1), points(tmp_path / "b.npy", 30.0, 2)
    found = measured(first, second, tmp_path, picture=str(tmp_path / "seen.png"), level="0.9", seed="3")
    assert found.keys() >= KEYS
    assert found["estimate"] == pytest.approx(30.0, abs=5 * math.sqrt(2 / 300))
    assert 29.0 < found["lower"] < found["estimate"]
    assert found["upper_estimate"] == pytest.approx(30.0, abs=0.5)
    assert (found["samples"], found["level"], found["seed"], found["p_value"]) == ([300, 300], 0.9, 3, 0.002)
    assert found["unit"] == "Euclidean distance in the unit of the points"
    with Image.open(tmp_path / "seen.png") as picture:
        assert picture.width > 500
    lines = [line for line in capsys.readouterr().out.splitlines() if not line.startswith("step ")]  # of a slow machine
    assert lines[0] == f"{first} and {second}: 300 and 300 samples"
    assert [line[:16].strip() for line in lines[1:4]] == ["estimate", "lower limit", "upper estimate"]


def test_the_exit_status_says_whether_the_lower_limit_is_above_a_distance(tmp_path: Path) -> None:
    for name, seed, shift in (("a.npy", 1, 0.0), ("b.npy", 2, 1.0)):
        points(tmp_path / name, shift, seed, 100)
    command = [*PYTHON, "-m", "wgan_dist.distance", "a.npy", "b.npy", "--steps=20"]
    assert "fail_above" not in run(*command, "--fail_above=1.2", cwd=tmp_path).stdout
    failed = run(*command, "--fail_above=0.5", cwd=tmp_path, fails=1)
    assert "the lower limit is above fail_above=0.5" in failed.stdout


def write_images(folder: Path, digits: ImageDataset, rows: slice, change: int) -> str:
    folder.mkdir()
    for number, pixels in enumerate(np.asarray(digits.pixels[rows, 0])):
        Image.fromarray(np.clip(pixels.astype(int) + change, 0, 255).astype(np.uint8)).save(folder / f"{number}.png")
    return str(folder)


def test_folders_data_sets_and_generators_are_compared(
    run_dir: Path, onnx_file: Path, digits: ImageDataset, cache_dir: Path, tmp_path: Path
) -> None:
    flags = {"cache_dir": str(cache_dir), "count": "60", "steps": "3", "critic_features": "4"}
    folder = write_images(tmp_path / "images", digits, slice(0, 60), 0)
    same = write_images(tmp_path / "others", digits, slice(60, 120), 0)
    brighter = write_images(tmp_path / "brighter", digits, slice(60, 120), 60)
    near = measured(folder, same, tmp_path, **flags)
    far = measured(folder, brighter, tmp_path, **flags, picture=str(tmp_path / "seen.png"))
    assert far["estimate"] > near["estimate"] + 1.0
    assert far["unit"] == "Euclidean distance over all pixel values in [-1, 1] (uint8, 0 to 255)"
    with Image.open(tmp_path / "seen.png") as picture:
        assert picture.width > 500
    by_run, by_file = (measured("digits", str(path), tmp_path, **flags) for path in (run_dir, onnx_file))
    assert by_run["estimate"] == pytest.approx(by_file["estimate"], rel=0.02)  # rounding mixes the halves anew
    assert by_run["estimate"] > 2.0
    with_itself = measured(str(run_dir), str(run_dir), tmp_path, **flags)  # of other latents
    assert with_itself["lower"] == 0.0
    assert 0.0 < with_itself["upper_estimate"] < by_run["upper_estimate"]


def test_arrays_of_values_are_compared_at_the_levels_of_both_sets(tmp_path: Path, cache_dir: Path) -> None:
    values = np.random.default_rng(0).uniform(0.0, 10.0, (80, 1, 8, 8)).astype(np.float32)
    values[0, 0, 0, :2] = 0.0, 10.0
    np.save(tmp_path / "a.npy", values[:40])
    np.save(tmp_path / "b.npy", 0.5 * values[40:])
    flags = {"cache_dir": str(cache_dir), "steps": "30", "critic_features": "4"}
    found = measured(str(tmp_path / "a.npy"), str(tmp_path / "b.npy"), tmp_path, **flags)
    # On average 2.5 of 10 levels less in each of 64 pixels: √64 · 0.5 in [−1, 1].
    assert found["estimate"] == pytest.approx(4.0, rel=0.1)
    assert found["unit"].endswith("(float32, 0 to 10)")
    values[40, 0, 0, 0] = 10.0
    np.save(tmp_path / "c.npy", values[40:] + np.float32(10.0))
    for first, second in ("ac", "ca"):  # 10 of 20 levels in each of 64 pixels, in both directions
        found = measured(str(tmp_path / f"{first}.npy"), str(tmp_path / f"{second}.npy"), tmp_path, **flags)
        assert found["estimate"] == pytest.approx(8.0, rel=0.05)
        assert found["unit"].endswith("(float32, 0 to 20)")


def test_generators_of_other_levels_are_compared_on_one_scale(tmp_path: Path, cache_dir: Path) -> None:
    """The same images at the levels 0 to 10 and 0 to 1 are those of one generator times ten."""
    paths = []
    for high in (10.0, 1.0):
        spec = small_spec("dcgan")
        (tmp_path / f"{high:g}").mkdir()
        path = write_generator(tmp_path / f"{high:g}", spec, levels=Levels("float32", (0.0,), (high,)))
        paths.append(str(path))
    flags = {"cache_dir": str(cache_dir), "count": "40", "steps": "5", "critic_features": "4"}
    found = measured(paths[0], paths[1], tmp_path, **flags)
    assert found["unit"].endswith("(float32, 0 to 10)")
    assert found["lower"] > 1.0


def test_names_with_dollar_signs_and_underscores_are_drawn(tmp_path: Path) -> None:
    first, second = points(tmp_path / "$q^$.npy", 0.0, 1), points(tmp_path / "_b.npy", 1.0, 2)
    measured(first, second, tmp_path, picture=str(tmp_path / "seen.png"), steps="1")
    assert (tmp_path / "seen.png").exists()


def test_a_generator_of_points_is_measured_against_its_data(tiny: dict[str, str], tmp_path: Path) -> None:
    settings = {"data": "8gaussians", "generator": "points", "critic": "lipschitz", "penalty": "none"}
    train(tiny | settings | {"run_dir": str(tmp_path / "run")})
    found = measured("8gaussians", str(tmp_path / "run"), tmp_path, count="200")
    assert 0.5 < found["lower"] <= found["estimate"] <= 1.1 * found["upper_estimate"]


@pytest.mark.parametrize(
    ("words", "flags", "said"),
    [
        (["digits"], {}, "distance digits: expected two sets, as in digits runs/0001"),
        (["digits", "nothing/"], {}, "data=nothing/: there is no such folder or file"),
        (["digits", "8gaussians"], {}, "digits are images, 8gaussians are points: expected two sets of points"),
        (["a.npy", "b.npy"], {}, r"samples of different shapes: a.npy of \[2\] and b.npy of \[3\]"),
        (["8gaussians", "few.npy"], {}, "8gaussians and few.npy: 5 samples in a set: expected at least 20"),
        (["8gaussians", "nan.npy"], {}, "nan.npy: 1 of 40 values are NaN"),
        (["digits", "random_field"], {}, "image_size: digits has images of 8×8 pixels, random_field .*--image_size"),
        (["8gaussians", "swissroll"], {"json": "out.txt"}, "out.txt: expected a file ending in .json"),
        (["8gaussians", "swissroll"], {"json": "/proc/a.json"}, "json=/proc/a.json: /proc takes no file: "),
        (
            ["four.npy", "one.npy"],
            {},
            r"samples of different shapes: four.npy of \[4, 8, 8\] and one.npy of \[1, 8, 8\]",
        ),
        (["8gaussians", "swissroll"], {"picture": "no/a.png"}, "picture=no/a.png: there is no folder no"),
        (["8gaussians", "damaged.onnx"], {}, "damaged.onnx"),
        (["8gaussians", "no.onnx"], {}, "^no.onnx: there is no such file"),
    ],
)
def test_what_cannot_be_compared_is_one_line(
    words: list[str],
    flags: dict[str, str],
    said: str,
    tmp_path: Path,
    cache_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    points(Path("a.npy"), 0.0, 1)
    np.save("b.npy", np.zeros((30, 3), np.float32))
    for name, channels in (("one.npy", 1), ("four.npy", 4)):
        np.save(name, np.random.default_rng(0).integers(0, 256, (30, channels, 8, 8)).astype(np.uint8))
    np.save("few.npy", np.zeros((5, 2), np.float32))
    np.save("nan.npy", np.array([[np.nan, 0.0]] + [[0.0, 0.0]] * 19, np.float32))
    Path("damaged.onnx").write_bytes(b"nothing")
    with pytest.raises(UserError, match=said):
        measure(from_flags(DistanceSettings, {"words": words, "cache_dir": str(cache_dir)} | flags))
    assert not list(tmp_path.glob("*.json"))
