"""Loaders refuse pickles, and readers of graphs refuse hostile graphs; `python -m tests.faults` has more cases."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from export.sampler import Sampler, SamplerError
from tests.faults.hostile.arrays import arrays
from tests.faults.hostile.bombs import PWNED, pickle_bomb, tar_slip, zip_bomb
from tests.faults.hostile.graphs import ABOUT, WEIGHT, graph, graphs
from tests.faults.hostile.pictures import pictures
from wgan_dist.checkpoints import generator_file, manifest, safetensors_io, state_file
from wgan_dist.config import load_config
from wgan_dist.config.image_size import square
from wgan_dist.data.datasets import open_images, open_points
from wgan_dist.data.image_settings import ImageSettings
from wgan_dist.data.points import are_points
from wgan_dist.data.sources.idx import read_idx
from wgan_dist.sample import SampleSettings
from wgan_dist.sampling import sample
from wgan_dist.tracking.logger import drop_records_after
from wgan_dist.train import train
from wgan_dist.utils.errors import UserError


def test_the_bomb_is_one(tmp_path: Path) -> None:
    pickle.loads(pickle_bomb(tmp_path / PWNED))
    assert (tmp_path / PWNED).is_dir()


def read_checkpoint(path: Path) -> Any:
    path.rename(path.with_name(manifest.MANIFEST))
    return manifest.read_folder(path.parent)


def read_metrics(path: Path) -> Any:
    drop_records_after(path, 1)


def look(folder: Path) -> Any:
    return open_images((str(folder),), ImageSettings(square(8)), str(folder / "cache"))


NEW_RUN = {"run_dir": "no/such/run", "threads": "1"}
LOADERS: dict[str, Callable[[Path], Any]] = {
    "artifact": generator_file.load,
    "weights": lambda path: safetensors_io.from_bytes(path.read_bytes(), "bomb"),
    "checkpoint": read_checkpoint,
    "state": lambda path: state_file.from_bytes(path.read_bytes(), "bomb"),
    "recipe": lambda path: load_config({"recipe": str(path.rename(path.with_suffix(".yaml")))}),
    "folder of pictures": lambda path: open_images(
        (str(path.parent),), ImageSettings(square(8)), str(path.parent / "x")
    ),
    "idx": read_idx,
    "idx.gz": lambda path: read_idx(path.rename(path.with_suffix(".gz"))),
    "metrics": read_metrics,
    "sampler": Sampler,
    "sample --ckpt": lambda path: sample(SampleSettings(ckpt=str(path), out=str(path.parent / "grid.png"))),
    "train --init_from": lambda path: train(
        {"init_from": str(path), "run_dir": str(path.parent / "run"), "threads": "1"}
    ),
    "train --data": lambda path: train({"data": str(path), "run_dir": str(path.parent / "run"), "threads": "1"}),
}
BOMBS = {"pickle": pickle_bomb, "zip": zip_bomb, "tar": tar_slip}


@pytest.mark.parametrize("load", LOADERS.values(), ids=LOADERS.keys())
@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS.keys())
def test_no_loader_runs_or_unpacks_what_it_is_given(
    load: Callable[[Path], Any], bomb: Callable[[Path], bytes], tmp_path: Path
) -> None:
    file = tmp_path / "deep" / "below" / "bomb"
    file.parent.mkdir(parents=True)
    file.write_bytes(bomb(tmp_path / PWNED) + b"\n")
    with pytest.raises((UserError, SamplerError)):
        load(file)
    assert [path.name for path in tmp_path.iterdir()] == ["deep"]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["below"]


def test_a_hostile_graph_is_an_error_of_the_sampler(tmp_path: Path) -> None:
    """Give the sampler foreign weights, unknown operators and values that are no numbers."""
    folder = tmp_path / "in"
    (folder / "inside").mkdir(parents=True)
    (tmp_path / "secret").write_bytes(bytes(32))
    (folder / "beside").write_bytes(bytes(32))
    (folder / "link").symlink_to("../secret")
    (folder / "good.onnx").write_bytes(graph([WEIGHT]))
    assert Sampler(folder / "good.onnx").sample(2).shape == (2, 2, 2, 1)
    for name, content in graphs(tmp_path / PWNED):
        (folder / "hostile.onnx").write_bytes(content)
        with pytest.raises(SamplerError):  # the name below is of the case that was taken
            pytest.fail(f"{name}: {Sampler(folder / 'hostile.onnx').sample(2)}")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "secret"]


@pytest.mark.parametrize("missing", sorted(ABOUT))
def test_a_graph_that_does_not_say_all_is_refused(missing: str, tmp_path: Path) -> None:
    (tmp_path / "graph.onnx").write_bytes(
        graph([WEIGHT]).replace(f"wgan_dist.{missing}".encode(), b"x" * (10 + len(missing)))
    )
    with pytest.raises(SamplerError, match=f"not a generator written by export.onnx: '{missing}'"):
        Sampler(tmp_path / "graph.onnx")


def test_hostile_pictures_are_unreadable_ones(tmp_path: Path) -> None:
    contents = list(pictures())
    (tmp_path / "data").mkdir()
    for number, (_, content) in enumerate(contents):
        (tmp_path / "data" / f"{number}.png").write_bytes(content)
    with pytest.raises(UserError, match=f"^{len(contents)} unreadable images: "):
        open_images((str(tmp_path / "data"),), ImageSettings(square(8)), str(tmp_path / "cache"))


def test_hostile_arrays_are_one_line_and_leave_nothing(tmp_path: Path) -> None:
    def read(data: Path) -> object:
        if are_points((str(data),)):
            return open_points(str(data))
        return open_images((str(data),), ImageSettings(square(8)), str(tmp_path / "cache"))

    for name, file, content in arrays(tmp_path / PWNED):
        data = tmp_path / file
        data.write_bytes(content)
        with pytest.raises(UserError) as error:
            pytest.fail(f"{name}: {read(data)}")
        assert "\n" not in str(error.value), name
        data.unlink()
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]
    assert sum(path.stat().st_size for path in (tmp_path / "cache").iterdir() if path.suffix == ".pixels") < 10_000


def test_a_folder_of_something_else_is_given_up_early(tmp_path: Path) -> None:
    for number in range(1200):
        (tmp_path / f"{number}.weird").touch()
    with pytest.raises(UserError, match="^1000 unreadable images: "):
        open_images((str(tmp_path),), ImageSettings(square(8), channels=3), str(tmp_path / ".cache"))
    with pytest.raises(UserError, match="no readable image"):
        open_images(
            (str(tmp_path),), ImageSettings(square(8), channels=3, skip_bad_images=True), str(tmp_path / ".cache")
        )
