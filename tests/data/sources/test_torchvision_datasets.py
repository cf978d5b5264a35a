from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.data.sources.listings import all_levels, idx, save, write_idx
from wgan_dist.data.sources.class_names import ClassNames
from wgan_dist.data.sources.registry import open_source
from wgan_dist.data.sources.torchvision_datasets import classes_of
from wgan_dist.utils.errors import UserError


@pytest.fixture
def fashion(tmp_path: Path) -> Path:
    """Return a cache with a tiny Fashion-MNIST where torchvision expects it."""
    raw = tmp_path / "torchvision" / "FashionMNIST" / "raw"
    write_idx(raw / "train-images-idx3-ubyte", 7, 8, 9)
    write_idx(raw / "t10k-images-idx3-ubyte", 1)
    for part, count in (("train", 3), ("t10k", 1)):
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(idx(np.zeros(count, np.uint8)))
    return tmp_path


def test_torchvision_reads_downloaded_files(fashion: Path) -> None:
    source = open_source("fashion_mnist", fashion).list_images()
    assert all_levels(source) == [7, 8, 9]
    assert source.names == ["fashion_mnist[0]", "fashion_mnist[1]", "fashion_mnist[2]"]


@pytest.mark.parametrize("part", ["images-idx3", "labels-idx1"])
@pytest.mark.parametrize("left", [0, 9])
def test_a_truncated_file_of_torchvision_is_refused(fashion: Path, part: str, left: int) -> None:
    """An interrupted download leaves such files, and torchvision only checks that they exist."""
    file = fashion / "torchvision" / "FashionMNIST" / "raw" / f"train-{part}-ubyte"
    file.write_bytes(file.read_bytes()[:left])
    with pytest.raises(UserError, match=f"^data=fashion_mnist: .*{fashion}/torchvision"):
        open_source("fashion_mnist", fashion)


def test_a_download_that_cannot_be_stored_is_refused(tmp_path: Path) -> None:
    file = save(tmp_path / "a.png")
    with pytest.raises(UserError, match="^data=mnist: cannot be loaded"):
        open_source("mnist", file)


def test_what_only_a_file_names_is_read_if_it_is_there_and_not_downloaded(
    fashion: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr("torchvision.datasets.mnist.download_and_extract_archive", lambda *_, **__: asked.append(1))
    assert len(open_source("fashion_mnist", fashion, download=False).list_images()) == 3
    told = f"python -m wgan_dist.data inspect --data=kmnist --cache_dir={fashion} downloads it$"
    with pytest.raises(UserError, match=f"^data=kmnist: cannot be loaded: .*; what only a file names .*; {told}"):
        open_source("kmnist", fashion, download=False)
    assert not asked
    with pytest.raises(UserError, match="put downloaded files into"):
        open_source("kmnist", fashion)
    assert asked


@pytest.mark.parametrize("name", ["targets", "labels", "_labels"])
def test_classes_of_torchvision_are_found_under_its_names(name: str) -> None:
    """SVHN has numbers without names, and the unlabelled part of STL-10 has −1 for every image."""
    assert classes_of(SimpleNamespace()) is None
    assert classes_of(SimpleNamespace(**{name: np.array([2, 0, -1])})) == ClassNames(["2", "0", None])
    named = SimpleNamespace(**{name: torch.tensor([1, 0, 2])}, classes=["a", "b"])
    assert classes_of(named) == ClassNames(["b", "a", None], ["a", "b"])
