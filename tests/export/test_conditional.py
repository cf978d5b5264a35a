"""Exports of conditional generators equal the network for every class, in batches of any size and of mixed classes."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from export import network
from export.deploy import fold_batch_norm
from export.loaders import open_generator
from export.metadata import METADATA_FILE
from export.parity import BATCH_SIZES, Inputs, compare, torch_runner
from export.program_file import open_program
from export.sampler import Sampler
from export.settings import ExportSettings
from export.torchscript_file import open_torchscript
from tests.exports import export_onnx, export_program, export_torchscript
from tests.generators import CLASS_SHARES, CLASSES, LATENT_DIM, small_spec, write_generator
from wgan_dist.checkpoints import generator_file
from wgan_dist.models.layers import ConditionalBatchNorm
from wgan_dist.utils.class_draws import sample_classes

COUNT = len(CLASSES)
# A family with each way to take labels.
NETWORKS = [("dcgan", "norm"), ("dcgan", "embedding"), ("resnet", "norm"), ("upsample", "norm"), ("mlp_bn", "norm")]


def written(folder: Path, name: str = "dcgan", labels: str = "norm") -> Path:
    return write_generator(folder, small_spec(name, classes=COUNT, labels=labels))


def batches() -> Iterator[Inputs]:
    """Yield latents with every class alone, and mixed in batches that no export was compared at."""
    for size, start in [*((1, start) for start in range(COUNT)), (3, 1), (9, 0)]:
        assert size == 1 or size not in BATCH_SIZES
        z = np.random.default_rng(10 * size + start).standard_normal((size, LATENT_DIM), dtype=np.float32)
        yield {"z": z, "label": (np.arange(size) * 3 + start) % COUNT}


def expected_samples(path: Path, inputs: Inputs) -> np.ndarray:
    """Return the samples of the network of a file, computed one by one."""
    original = generator_file.load(path).network
    with torch.no_grad():
        samples = [
            original(torch.from_numpy(z[None]), torch.tensor([label]))
            for z, label in zip(inputs["z"], inputs["label"], strict=True)
        ]
    images: np.ndarray = torch.cat(samples).numpy()
    return images


@pytest.mark.parametrize(("name", "labels"), NETWORKS)
def test_onnx_and_torchscript_equal_the_network_for_every_class(name: str, labels: str, tmp_path: Path) -> None:
    path = written(tmp_path, name, labels)
    export_onnx({"ckpt": str(path), "out": str(tmp_path / "g.onnx")})
    export_torchscript({"ckpt": str(path), "out": str(tmp_path / "g.pt")})
    session = onnxruntime.InferenceSession(tmp_path / "g.onnx", providers=["CPUExecutionProvider"])
    assert [(each.name, each.type, each.shape) for each in session.get_inputs()] == [
        ("z", "tensor(float)", ["n", LATENT_DIM]),
        ("label", "tensor(int64)", ["n"]),
    ]
    script = torch.jit.load(str(tmp_path / "g.pt"))
    for inputs in batches():
        expected = expected_samples(path, inputs)
        np.testing.assert_allclose(session.run(None, inputs)[0], expected, atol=1e-5)
        by_name = {key: torch.from_numpy(value) for key, value in inputs.items()}
        np.testing.assert_allclose(script(**by_name).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize(("name", "labels"), [("dcgan", "norm"), ("mlp_bn", "embedding")])
def test_programs_equal_the_network_for_every_class(name: str, labels: str, tmp_path: Path) -> None:
    path = written(tmp_path, name, labels)
    export_program({"ckpt": str(path), "out": str(tmp_path / "g.pt2")})
    assert torch.export.load(tmp_path / "g.pt2").graph_signature.user_inputs == ("z", "label")
    run = torch_runner(open_program(tmp_path / "g.pt2")[1])
    for inputs in batches():
        np.testing.assert_allclose(np.asarray(run(inputs), np.float32), expected_samples(path, inputs), atol=1e-5)


@pytest.mark.parametrize("flags", [{"uint8": "true"}, {"precision": "fp16", "uint8": "true"}, {"opset": "15"}], ids=str)
def test_other_forms_of_onnx_files_take_labels(flags: dict[str, str], tmp_path: Path) -> None:
    path = written(tmp_path)
    export_onnx({"ckpt": str(path), "out": str(tmp_path / "g.onnx"), **flags})
    sampler = Sampler(tmp_path / "g.onnx", provider="cpu")
    for inputs in batches():
        expected = np.rint((expected_samples(path, inputs).transpose(0, 2, 3, 1) + 1) * 127.5)
        assert np.abs(sampler.images(inputs["z"], inputs["label"]) - expected).max() <= 1


@pytest.mark.parametrize("labels", ["norm", "embedding"])
def test_int8_files_keep_the_tables_of_classes_in_float32(labels: str, tmp_path: Path) -> None:
    path = written(tmp_path, labels=labels)
    export_onnx({"ckpt": str(path), "out": str(tmp_path / "g.onnx"), "precision": "int8"})
    graph = onnx.load(tmp_path / "g.onnx").graph
    types = {weight.name: weight.data_type for weight in graph.initializer}
    gathers = [node for node in graph.node if node.op_type == "Gather" and node.input[1] == "label"]
    assert [types[node.input[0]] for node in gathers] == [onnx.TensorProto.FLOAT] * (1 if labels == "embedding" else 2)
    # What is computed from labels, and joined to latents, before it is multiplied by a value or by weights.
    unrounded = {"z", "label", *types}
    for node in graph.node:
        if node.op_type not in ("Gemm", "MatMul") and unrounded.issuperset(node.input):
            unrounded |= set(node.output)
    assert unrounded.issuperset(output for node in gathers for output in node.output)
    assert [node.name for node in graph.node if node.op_type == "QuantizeLinear" and node.input[0] in unrounded] == []
    session = onnxruntime.InferenceSession(tmp_path / "g.onnx", providers=["CPUExecutionProvider"])
    for inputs in batches():
        squared = np.square(session.run(None, inputs)[0] - expected_samples(path, inputs)).mean()
        assert 10 * np.log10(4 / squared) > 25


def test_files_of_every_format_name_the_classes(tmp_path: Path) -> None:
    path = written(tmp_path, "mlp_bn")
    export_onnx({"ckpt": str(path), "out": str(tmp_path / "g.onnx")})
    export_torchscript({"ckpt": str(path), "out": str(tmp_path / "g.pt")})
    export_program({"ckpt": str(path), "out": str(tmp_path / "g.pt2")})
    properties = {each.key: each.value for each in onnx.load(tmp_path / "g.onnx").metadata_props}
    for about in (properties, open_torchscript(tmp_path / "g.pt")[0], open_program(tmp_path / "g.pt2")[0]):
        assert tuple(json.loads(about["wgan_dist.classes"])) == CLASSES
        assert tuple(json.loads(about["wgan_dist.class_shares"])) == CLASS_SHARES
    labels = sample_classes(40, np.array(CLASS_SHARES), 6)
    drawn = [open_generator(path.with_name(name), "", 40, 6).draw for name in (path.name, "g.onnx", "g.pt", "g.pt2")]
    z = Sampler(tmp_path / "g.onnx", provider="cpu").latents(40, 6)
    expected = expected_samples(path, {"z": z[7:40], "label": labels[7:40]})
    for draw in drawn:
        images = draw(slice(7, 40)).numpy()
        if images.dtype == np.uint8:
            assert np.abs(images - np.rint((expected + 1) * 127.5)).max() <= 1
        else:
            np.testing.assert_allclose(images, expected, atol=1e-5)


def test_unconditional_files_have_no_classes(tmp_path: Path) -> None:
    path = write_generator(tmp_path, small_spec("mlp_bn"))
    export_torchscript({"ckpt": str(path), "out": str(tmp_path / "g.pt")})
    extra = {METADATA_FILE: ""}
    script = torch.jit.load(str(tmp_path / "g.pt"), _extra_files=extra)
    assert not {"wgan_dist.classes", "wgan_dist.class_shares"} & json.loads(extra[METADATA_FILE]).keys()
    assert [each.name for each in script.forward.schema.arguments][1:] == ["z"]


@pytest.mark.parametrize("wrong", range(COUNT))
@pytest.mark.parametrize("size", BATCH_SIZES)
def test_a_difference_in_one_class_at_one_batch_size_is_found(wrong: int, size: int, tmp_path: Path) -> None:
    export = network.load(ExportSettings(ckpt=str(written(tmp_path, "mlp_bn"))), ".x")
    original = torch_runner(export.original)

    def run(inputs: Inputs) -> np.ndarray:
        is_wrong = (inputs["label"] == wrong) & (len(inputs["z"]) == size)
        images: np.ndarray = original(inputs) + np.float32(0.25) * is_wrong[:, None, None, None]
        return images

    assert compare(export, original).difference == 0
    assert compare(export, run).difference == pytest.approx(0.25, abs=1e-6)


@pytest.mark.parametrize("name", ["dcgan", "upsample", "mlp_bn"])
def test_batch_norm_within_conditional_batch_norm_is_folded(name: str, tmp_path: Path) -> None:
    original = generator_file.load(written(tmp_path, name)).network.double()
    found = fold_batch_norm(original, LATENT_DIM, COUNT)
    assert sum(isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d) for layer in original.modules()) > 0
    assert sum(isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d) for layer in found.modules()) == 0
    assert sum(isinstance(layer, ConditionalBatchNorm) for layer in found.modules()) > 0
    inputs = torch.randn(COUNT, LATENT_DIM, dtype=torch.float64), torch.arange(COUNT)
    with torch.no_grad():
        torch.testing.assert_close(found(*inputs), original(*inputs), rtol=0, atol=1e-12)


class SkipsNorm(nn.Module):
    """A network whose last class, of many, takes another way than the others."""

    def __init__(self, last: int) -> None:
        super().__init__()
        self.dense, self.norm, self.last = nn.Linear(LATENT_DIM, 3), nn.BatchNorm1d(3), last
        nn.init.constant_(self.norm.weight, 2.0)

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        x: Tensor = self.dense(z)
        return x if self.last in labels else self.norm(x)


def test_a_network_that_one_class_computes_differently_is_not_rewritten() -> None:
    original = SkipsNorm(last=99).eval()
    assert fold_batch_norm(original, LATENT_DIM, 100) is original
    assert fold_batch_norm(original, LATENT_DIM, 99) is not original
