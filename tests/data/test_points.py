"""Points of the user's own array: what is read, what is refused, statistics, training, and what is said of them."""

import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from export.onnx_file import export_onnx
from export.sampler import Sampler
from export.settings import OnnxSettings
from tests.processes import metrics
from wgan_dist.checkpoints import generator_file
from wgan_dist.checkpoints.safetensors_io import from_bytes
from wgan_dist.config import Config, load_config
from wgan_dist.config.command_line import read_flags
from wgan_dist.data.__main__ import inspect_settings
from wgan_dist.data.datasets import open_points
from wgan_dist.data.inspect import print_summary
from wgan_dist.data.points import PointStatistics, are_points, point_dimensions
from wgan_dist.train import train
from wgan_dist.utils.errors import UserError

TINY = {"recipe": "toy_8gaussians", "generator_features": "8", "critic_features": "8", "batch_size": "16"} | {
    "max_steps": "4",
    "sample_every": "2",
    "evaluate_every": "2",
    "checkpoint_every": "2",
    "log_every": "1",
    "threads": "1",
}


def draw(count: int, dimensions: int) -> NDArray[np.float32]:
    return np.random.default_rng(dimensions).normal(size=(count, dimensions)).astype(np.float32)


def saved(path: Path, values: Any) -> str:
    np.savez(path, values) if path.suffix == ".npz" else np.save(path, values)
    return str(path)


@pytest.mark.parametrize("dimensions", [1, 2, 3, 16])
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_an_array_of_two_axes_is_points(tmp_path: Path, dimensions: int, suffix: str) -> None:
    values = draw(30, dimensions)
    data = saved(tmp_path / f"8gaussians{suffix}", values)
    assert point_dimensions((data,)) == dimensions
    found = open_points(data)
    assert found.name == f"8gaussians{suffix}"
    assert not found.is_built_in
    assert (found.shape, len(found), found.mixture) == ((dimensions,), 30, None)
    assert (found.values == values).all()
    assert isinstance(found.values, np.memmap) == (suffix == ".npy")
    assert found.fingerprint == open_points(saved(tmp_path / "f.npy", np.asfortranarray(values))).fingerprint
    assert found.fingerprint != open_points(saved(tmp_path / "r.npy", values[::-1])).fingerprint


@pytest.mark.parametrize("dtype", ["float64", "int32", "uint8", ">f4", "float16"])
def test_points_become_float32_as_they_are(tmp_path: Path, dtype: str) -> None:
    values = np.array([[1, 2], [3, 250]], dtype)
    found = open_points(saved(tmp_path / "p.npy", values)).values
    assert found.dtype == np.float32
    assert found.dtype.isnative
    assert found.tolist() == [[1, 2], [3, 250]]


@pytest.mark.parametrize("shape", [(2, 3, 3), (2, 1, 3, 3)])
def test_arrays_of_more_axes_are_images(tmp_path: Path, shape: tuple[int, ...]) -> None:
    assert not are_points((saved(tmp_path / "a.npy", np.zeros(shape)),))


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        (np.array([[1.0, np.nan], [np.inf, 1e300]]), "3 of 4 values are NaN, infinite or too large for float32"),
        (
            np.array([[0.0, 1.7e9], [0.5, 1.7e9 + 30.0], [1.0, 1.7e9 + 60.0]]),
            "float32 has too few digits for dimension 1, with values of 1.7e[+]09 to 1.70000006e[+]09",
        ),
        (np.array([[1.0, None]]), "Python objects"),
        (np.zeros((0, 2)), r"an array of shape \[0, 2\]; expected at least 1 along every axis"),
        (np.zeros((3, 0)), r"an array of shape \[3, 0\]; expected at least 1 along every axis"),
        (np.zeros((2, 1025)), "points of 1,025 dimensions; expected at most 1,024"),
        (np.zeros((2, 2), bool), "values of bool"),
        (np.zeros(3), r"an array of shape \[3\]; expected images \[n, c, h, w\] or \[n, h, w\], or points \[n, d\]"),
    ],
)
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_what_is_no_points_is_one_line(tmp_path: Path, values: Any, complaint: str, suffix: str) -> None:
    data = saved(tmp_path / f"p{suffix}", values)
    networks = {} if values.ndim == 2 else {"recipe": "digits"}
    with pytest.raises(UserError, match=f"^data={data}: {complaint}"):
        train(TINY | networks | {"data": data, "run_dir": str(tmp_path / "run"), "cache_dir": str(tmp_path / "cache")})
    assert not (tmp_path / "run").exists()


def test_two_arrays_in_one_file_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "p.npz", a=draw(3, 2), b=draw(3, 2))
    with pytest.raises(UserError, match="expected one array, found 2: a.npy, b.npy"):
        are_points((str(tmp_path / "p.npz"),))


@pytest.mark.parametrize("others", ["digits", "8gaussians"])
def test_points_are_not_merged(tmp_path: Path, others: str) -> None:
    data = saved(tmp_path / "p.npy", draw(3, 2))
    with pytest.raises(UserError, match=f"^data={data},{others}: {data} are points, which cannot be merged"):
        are_points((data, others))


def test_images_networks_are_refused_for_points(tmp_path: Path) -> None:
    data = saved(tmp_path / "p.npy", draw(30, 2))
    with pytest.raises(UserError, match="^generator=dcgan: is for images, and the data are points; expected points"):
        train({"data": data, "run_dir": str(tmp_path / "run"), "threads": "1"})


def test_statistics_are_those_of_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wgan_dist.data.points.CHUNK", 7)  # several chunks, of which the last is shorter
    scale, shift = np.array([[1, 20, 0.01], [0, 1e4, 0]], np.float32)
    values = draw(50, 3) * scale + shift
    found = PointStatistics.of(values)
    expected = values.astype(np.float64)
    np.testing.assert_allclose(found.mean, expected.mean(axis=0))
    np.testing.assert_allclose(found.std, expected.std(axis=0))
    assert (found.low == values.min(axis=0)).all()
    assert (found.high == values.max(axis=0)).all()


@pytest.mark.parametrize(
    ("scale", "shift", "words"),
    [
        (9.0, 0.0, []),
        (0.11, 0.0, []),
        (11.0, 0.0, ["standard deviation of 1 of 2 dimensions (2: mean 0, standard deviation 11) is not between 0.1"]),
        (0.09, 0.0, ["standard deviation of 1 of 2 dimensions (2: mean 0, standard deviation 0.09)"]),
        (0.0, 7.0, ["standard deviation of 1 of 2 dimensions (2: mean 7, standard deviation 0)"]),
        (1.0, -6.0, ["the mean of 1 of 2 dimensions (2: mean -6, standard deviation 1) is more than 5 standard"]),
        (1.0, 4.0, []),
    ],
)
def test_values_of_another_scale_are_told_and_kept(
    tmp_path: Path, scale: float, shift: float, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    values = np.array([[1.0, shift + scale], [-1.0, shift - scale]] * 8)
    data = saved(tmp_path / "p.npy", values)
    found = open_points(data)
    assert (found.values == values.astype(np.float32)).all()
    assert len(found.warnings) == len(words)
    for output in (["inspect"], []):
        if output:
            print_summary(inspect_settings({"words": [*output, data]}))
        else:
            train(TINY | {"data": data, "run_dir": str(tmp_path / "run"), "dry_run": "true"})
        said = "".join(capsys.readouterr())
        assert all(word in said for word in words)
        assert ("standard deviations from 0" in said or "works well" in said) == bool(words)


def test_only_the_first_dimensions_are_told_one_by_one() -> None:
    (line,) = PointStatistics.of(100 * draw(1000, 20)).warnings()
    assert "20 of 20 dimensions (1: mean" in line
    assert "; 8: mean" in line
    assert "; and 12 more)" in line
    assert "; 9: mean" not in line


@pytest.mark.parametrize("dimensions", [1, 3, 16])
def test_inspect_suggests_a_command_that_trains(
    tmp_path: Path, dimensions: int, capsys: pytest.CaptureFixture[str]
) -> None:
    values = draw(100, dimensions)
    data = saved(tmp_path / "p.npy", values)
    print_summary(inspect_settings({"words": ["inspect", data]}))
    lines = capsys.readouterr().out.splitlines()
    plural = "s" * (dimensions > 1)
    assert lines[0] == f"p.npy: 100 points of {dimensions} dimension{plural}, no images"
    number, *figures = lines[2].split()
    assert number == "1"
    column = values[:, 0].astype(np.float64)
    expected = [column.mean(), column.std(), column.min(), column.max()]
    np.testing.assert_allclose([float(figure) for figure in figures], expected, rtol=1e-3)
    assert ("  and 8 more" in lines) == (dimensions == 16)
    flags = read_flags(shlex.split(lines[-1])[3:], Config)
    config = load_config(flags)
    assert (config.data, config.generator, config.batch_size) == ((data,), "points", 100)
    assert config.latent_dim == max(2, dimensions)


@pytest.mark.parametrize("dimensions", [1, 2, 3, 16])
def test_a_run_on_points_resumes_exports_and_measures(tmp_path: Path, dimensions: int) -> None:
    data = saved(tmp_path / "p.npy", draw(200, dimensions))
    settings = TINY | {"data": data, "holdout": "0.2", "run_dir": str(tmp_path / "run")}
    run = train(settings)
    assert run is not None
    halves = settings | {"run_dir": str(tmp_path / "halves")}
    train(halves | {"max_steps": "2"})
    train({"run_dir": halves["run_dir"], "resume": "true", "max_steps": "4"})
    whole, resumed = (
        from_bytes((Path(folder) / "generator.safetensors").read_bytes(), "") for folder in (run, halves["run_dir"])
    )
    assert all((whole[name] == resumed[name]).all() for name in whole)
    last = metrics(run)[-1]
    assert {"exact_wasserstein", "point_sliced_wasserstein", "wasserstein_holdout"} <= last.keys()
    assert "modes_covered" not in last
    if dimensions == 1:  # in one dimension both are the distance of sorted values
        assert last["point_sliced_wasserstein"] == pytest.approx(last["exact_wasserstein"], rel=1e-4)
    description = generator_file.describe(run / "generator.safetensors")
    assert (description.data, description.channels, description.makes_points) == ("p.npy", dimensions, True)
    assert description.data_fingerprint == open_points(data).fingerprint
    assert len(list((run / "samples").glob("*.png"))) == 4
    export_onnx(OnnxSettings(str(run), str(tmp_path / "g.onnx")))
    sampler = Sampler(tmp_path / "g.onnx")
    assert sampler.sample(5).shape == (5, dimensions)
    assert (sampler.metadata["channels"], sampler.metadata["layout"]) == (str(dimensions), "nc")


def test_other_points_under_the_name_are_another_run(tmp_path: Path) -> None:
    data = saved(tmp_path / "p.npy", draw(100, 3))
    train(TINY | {"data": data, "run_dir": str(tmp_path / "run")})
    saved(tmp_path / "p.npy", draw(100, 3) + 1)
    with pytest.raises(UserError, match="data"):
        train({"run_dir": str(tmp_path / "run"), "resume": "true", "max_steps": "6"})


def test_drawn_points_are_spread_over_the_data_set(tmp_path: Path) -> None:
    data = open_points(saved(tmp_path / "p.npy", np.arange(20.0).reshape(10, 2)))
    assert data.spread(4)[:, 0].tolist() == [0, 6, 12, 18]
    assert (data.spread(99) == data.values).all()


def test_points_have_no_classes(tmp_path: Path) -> None:
    data = saved(tmp_path / "p.npy", draw(64, 2))
    with pytest.raises(UserError, match="labels=auto: .* are points, which have no classes; expected none"):
        train(TINY | {"data": data, "labels": "auto", "run_dir": str(tmp_path / "run")})
