"""Feature extractors for tests, as files and as torch-fidelity registers them, and folders of images."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from torch import Tensor, nn
from torch_fidelity import register_feature_extractor
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

LENGTH, SIDE = 12, 8
WEIGHTS = np.random.default_rng(5).normal(size=(SIDE * SIDE, LENGTH)) / 300


class Projection(nn.Module):
    """A fixed random linear layer with ReLU, in float64, on one channel of the first 8×8 pixels."""

    weights: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weights", torch.from_numpy(WEIGHTS))

    def forward(self, images: Tensor) -> Tensor:
        """Map images uint8 [n, c, h, w] to features float64 [n, 12]."""
        return (images[:, 0, :8, :8].flatten(1).double() @ self.weights).relu()


def torchscript(module: nn.Module, path: Path) -> str:
    """Write the module as a TorchScript file; return its path."""
    torch.jit.save(torch.jit.script(module.eval()), str(path))
    return str(path)


def onnx_projection(path: Path, input_type: int = TensorProto.UINT8) -> str:
    """Write `Projection` of images [n, 1, 8, 8] as an ONNX file; return its path."""
    nodes = [
        helper.make_node("Cast", ["images"], ["levels"], to=TensorProto.DOUBLE),
        helper.make_node("Flatten", ["levels"], ["rows"], axis=1),
        helper.make_node("MatMul", ["rows", "weights"], ["product"]),
        helper.make_node("Relu", ["product"], ["features"]),
    ]
    graph = helper.make_graph(
        nodes,
        "projection",
        [helper.make_tensor_value_info("images", input_type, ["n", 1, SIDE, SIDE])],
        [helper.make_tensor_value_info("features", TensorProto.DOUBLE, ["n", LENGTH])],
        [numpy_helper.from_array(WEIGHTS, "weights")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return str(path)


class RegisteredProjection(FeatureExtractorBase):  # type: ignore[misc]
    """`Projection` with the interface of torch-fidelity's extractors."""

    def __init__(self, name: str, features_list: list[str], **_: Any) -> None:
        super().__init__(name, features_list)
        self.projection = Projection()

    @staticmethod
    def get_provided_features_list() -> tuple[str, ...]:
        return ("all",)

    @staticmethod
    def get_default_feature_layer_for_metric(metric: str) -> str:
        return "all"

    @staticmethod
    def can_be_compiled() -> bool:
        return False

    @staticmethod
    def get_dummy_input_for_compile() -> Tensor:
        raise NotImplementedError

    def forward(self, images: Tensor) -> tuple[Tensor]:
        """Map images uint8 [n, 3, h, w] to features."""
        return (self.projection(images),)


register_feature_extractor("projection", RegisteredProjection)


class _FreshInception(FeatureExtractorInceptionV3):  # type: ignore[misc]
    def load_state_dict(self, *_: Any, **__: Any) -> None:
        """Load nothing: the weights stay random."""


def inception_weights(path: Path) -> str:
    """Write seeded random weights for torch-fidelity's Inception, with features of about 1; return the path."""
    empty = io.BytesIO()
    torch.save({}, empty)
    empty.seek(0)
    network = _FreshInception("inception", ["2048"], feature_extractor_weights_path=empty)
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
    torch.save(network.state_dict(), path)
    return str(path)


def write_images(pixels: np.ndarray, folder: Path) -> str:
    """Write images uint8 [n, 1 or 3, h, w] as PNG files; return the folder."""
    folder.mkdir()
    for number, image in enumerate(pixels):
        Image.fromarray(image.squeeze(0) if len(image) == 1 else image.transpose(1, 2, 0)).save(
            folder / f"{number:04d}.png"
        )
    return str(folder)


def noisy(pixels: np.ndarray) -> np.ndarray:
    """Return the images with noise."""
    levels = pixels + np.random.default_rng(0).normal(scale=40, size=pixels.shape)
    return levels.clip(0, 255).astype(np.uint8)
