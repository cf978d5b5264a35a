"""Feature extractors from files: TorchScript and ONNX agree, and errors name the file."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import TensorProto
from torch import Tensor, nn

from tests.extractors import Projection, onnx_projection, torchscript
from wgan_dist.evaluation.extractors import open_extractor
from wgan_dist.evaluation.inception import as_rgb, open_inception
from wgan_dist.utils.errors import UserError

CPU, SHAPE = torch.device("cpu"), (1, 8, 8)
IMAGES = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (5, *SHAPE), dtype=np.uint8))


def test_torchscript_and_onnx_give_the_features_of_the_module(tmp_path: Path) -> None:
    expected = Projection()(IMAGES)
    files = (torchscript(Projection(), tmp_path / "a.pt"), onnx_projection(tmp_path / "a.onnx"))
    for file in files:
        extractor = open_extractor(file, CPU, SHAPE)
        found = extractor.extract(IMAGES)
        assert found.keys() == {extractor.features}
        torch.testing.assert_close(found[extractor.features], expected)
        assert Path(file).name in extractor.description
    first, second = (open_extractor(file, CPU, SHAPE).sha256 for file in files)
    assert first != second


class Half(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1).half()


def test_features_of_low_precision_are_compared_in_float32(tmp_path: Path) -> None:
    found = open_extractor(torchscript(Half(), tmp_path / "half.pt"), CPU, SHAPE).extract(IMAGES)["features"]
    assert found.dtype == torch.float32


class Spatial(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.float()


class Whole(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)


class Pair(nn.Module):
    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return images.float().flatten(1), images.float()


class OneRow(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.float().flatten(1)[:2]


class Rgb(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 2, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.layer(images.float()).flatten(1)


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (Spatial(), r"uint8 \[2, 1, 8, 8\] to features \[2, d\]: gives \[2, 1, 8, 8\]"),
        (Whole(), "gives torch.uint8"),
        (Pair(), "gives tuple"),
        (OneRow(), r"uint8 \[3, 1, 8, 8\] to features \[3, d\]: gives \[2, 64\]"),
        (Rgb(), "3 channels|to have 3"),
    ],
)
def test_another_signature_is_named(module: nn.Module, said: str, tmp_path: Path) -> None:
    file = torchscript(module, tmp_path / "other.pt")
    with pytest.raises(UserError, match=f"^feature_extractor={file}: expected .*{said}"):
        open_extractor(file, CPU, SHAPE)


def test_an_onnx_graph_that_takes_no_levels_is_named(tmp_path: Path) -> None:
    file = onnx_projection(tmp_path / "float.onnx", TensorProto.FLOAT)
    with pytest.raises(UserError, match=r"float.onnx: not a .* module that takes uint8 images: .*tensor\(float\)"):
        open_extractor(file, CPU, SHAPE)


@pytest.mark.parametrize("name", ["rubbish.pt", "rubbish.onnx"])
def test_a_file_that_is_no_module_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"rubbish" * 100)
    with pytest.raises(UserError, match=f"^feature_extractor={tmp_path / name}: not a TorchScript or ONNX module"):
        open_extractor(str(tmp_path / name), CPU, SHAPE)
    with pytest.raises(UserError, match="^feature_extractor=nowhere.pt: cannot be read: No such file"):
        open_extractor("nowhere.pt", CPU, SHAPE)


class FailsOnWhite(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return (255.0 - images.float().flatten(1)).log()


def test_features_that_are_not_finite_are_named_when_they_come(tmp_path: Path) -> None:
    extractor = open_extractor(torchscript(FailsOnWhite(), tmp_path / "log.pt"), CPU, SHAPE)
    extractor.extract(IMAGES.clamp(max=254))
    with pytest.raises(UserError, match="log.pt: gives features that are not finite"):
        extractor.extract(torch.full((1, *SHAPE), 255, dtype=torch.uint8))


def test_images_become_rgb_as_pillow_makes_them() -> None:
    grey, rgba = torch.arange(2, dtype=torch.uint8).reshape(1, 1, 1, 2), torch.arange(4, dtype=torch.uint8)
    assert as_rgb(grey).tolist() == [[[[0, 1]], [[0, 1]], [[0, 1]]]]
    assert as_rgb(rgba.reshape(1, 4, 1, 1)).flatten().tolist() == [0, 1, 2]


class GlobalBatchOrder:
    """A pickle that runs a program."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


def test_inceptions_weights_are_tensors_and_no_program(tmp_path: Path) -> None:
    torch.save({"weights": GlobalBatchOrder(tmp_path / "done")}, tmp_path / "order.pth")
    torch.save({"conv.weight": torch.ones(3)}, tmp_path / "others.pth")
    (tmp_path / "rubbish.pth").write_bytes(b"rubbish")
    for name in ("order", "others", "rubbish"):
        with pytest.raises(UserError, match=f"^inception_weights={tmp_path}/{name}.pth: not the weights of"):
            open_inception(str(tmp_path / f"{name}.pth"), CPU)
    assert not (tmp_path / "done").exists()
    with pytest.raises(UserError, match="^inception_weights=nowhere.pth: cannot be read: No such file"):
        open_inception("nowhere.pth", CPU)
