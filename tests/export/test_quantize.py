"""ONNX files in int8 and fp16 compute in that format, and are refused if they are not near the network."""

import re
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from export import network
from export.parity import Inputs, check_psnr, verdict
from export.quantize import TANH_RANGE, to_int8
from export.sampler import Sampler
from export.settings import ExportSettings
from tests.exports import export_onnx, unsqueezes_of_several_axes
from tests.generators import LATENT_DIM, small_spec, write_generator
from wgan_dist.checkpoints import generator_file
from wgan_dist.config.image_size import square
from wgan_dist.config.network_choices import GENERATORS
from wgan_dist.models.registry import generator_spec
from wgan_dist.utils.errors import UserError


def latents(count: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((count, LATENT_DIM), dtype=np.float32)


def optimised(path: Path) -> onnx.ModelProto:
    """Return the graph that onnxruntime computes on a CPU, after its optimisations."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(path.with_suffix(".optimised"))
    options.log_severity_level = 3
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return onnx.load(path.with_suffix(".optimised"))


def test_all_layers_but_the_first_compute_in_integers(int8_file: Path) -> None:
    found = optimised(int8_file)
    kinds = Counter(node.op_type for node in found.graph.node)
    assert kinds["QLinearConv"] == 5  # four phases of the second layer, and the last at once
    assert not {"Conv", "ConvTranspose", "FusedConv", "MatMul"} & set(kinds)
    assert kinds["Gemm"] + kinds["FusedGemm"] == 1
    assert (kinds["QuantizeLinear"], kinds["DequantizeLinear"]) == (1, 1)


def test_moving_values_does_not_round_them(int8_file: Path) -> None:
    found = optimised(int8_file)
    values = {each.name: numpy_helper.to_array(each) for each in found.graph.initializer}
    joined = [node for node in found.graph.node if node.op_type == "QLinearConcat"]
    assert joined
    for node in joined:  # output scale and zero point, then (input, scale, zero point) for each
        scales = {float(values[name]) for name in (node.input[0], *node.input[3::3])}
        zeros = {int(values[name]) for name in (node.input[1], *node.input[4::3])}
        assert (len(scales), len(zeros)) == (1, 1)


def test_the_range_before_tanh_is_limited(tmp_path: Path) -> None:
    path = write_generator(tmp_path, small_spec("dcgan"))
    loaded = generator_file.load(path)
    state = loaded.network.state_dict()
    last = [name for name in state if name.endswith("weight")][-1]
    state[last] *= 20
    path.write_bytes(generator_file.to_bytes(state, loaded.description))
    export_onnx({"ckpt": str(path), "precision": "int8", "psnr": "10"})
    model = onnx.load(path.with_name("generator_int8.onnx"))
    values = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    tanh = next(node for node in model.graph.node if node.op_type == "Tanh")
    before = next(node for node in model.graph.node if node.output[0] == tanh.input[0])
    assert float(values[before.input[1]]) == pytest.approx(2 * TANH_RANGE / 255, rel=0.02)


@pytest.mark.parametrize("precision", ["int8", "fp16"])
@pytest.mark.parametrize("name", [name for name in GENERATORS if name != "points"])
def test_every_image_generator_is_near_the_network_in_every_precision(
    name: str, precision: str, tmp_path: Path
) -> None:
    path = write_generator(tmp_path, small_spec(name))
    export_onnx({"ckpt": str(path), "precision": precision, "psnr": "30"})
    out = tmp_path / f"generator_{precision}.onnx"
    session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])
    with torch.no_grad():
        expected = generator_file.load(path).network(torch.from_numpy(latents(200))).numpy()
    found = session.run(None, {"z": latents(200)})[0]
    assert found.dtype == np.float32
    error = float(np.square(found - expected).mean())
    assert 10 * np.log10(4 / error) > (30 if precision == "int8" else 50)
    model = onnx.load(out)
    assert {each.key: each.value for each in model.metadata_props}["wgan_dist.precision"] == precision
    heavy = [each.data_type for each in model.graph.initializer if len(each.dims) > 1]
    assert (TensorProto.FLOAT16 if precision == "fp16" else TensorProto.INT8) in heavy
    assert unsqueezes_of_several_axes(model) == []


def test_uint8_images_are_computed_in_integers_too(int8_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "levels.onnx"
    export_onnx({"ckpt": str(int8_file.parent), "out": str(out), "precision": "int8", "uint8": "true", "psnr": "20"})
    assert "QLinearConv" in {node.op_type for node in optimised(out).graph.node}
    floats, levels = (Sampler(path).sample(20, seed=1).astype(int) for path in (int8_file, out))
    assert levels.shape == (20, 16, 16, 3)
    assert np.abs(floats - levels).mean() < 1.0


@pytest.mark.parametrize(("uint8", "step", "decibels"), [(False, 0.02, "40.0"), (True, 1, "48.1")])
def test_the_psnr_is_relative_to_the_range_of_the_images(
    uint8: bool, step: float, decibels: str, tmp_path: Path
) -> None:
    """20 log₁₀(2 / 0.02) and 20 log₁₀(255 / 1)."""
    path = write_generator(tmp_path, small_spec("dcgan"))
    export = network.load(ExportSettings(ckpt=str(path), uint8=uint8), ".x")

    def off(inputs: Inputs) -> np.ndarray:
        with torch.no_grad():
            images: np.ndarray = export.original(torch.from_numpy(inputs["z"])).numpy()
        if not uint8:
            return (images + np.float32(step)).astype(np.float32)
        return np.where(images < 255, images + 1, 254).astype(np.uint8)

    words = check_psnr(export, off, float(decibels) - 0.1, uint8)
    assert words.startswith(f"PSNR {decibels} dB, maximum difference {step:.3g} ")
    levels = "1" if uint8 else r"2\.[56]"  # 0.02 · 127.5
    assert re.search(rf"\nverdict: the images differ from the network's by {levels} of 255 levels on average: ", words)
    with pytest.raises(UserError, match=rf"not written: PSNR {decibels} dB.*; psnr="):
        check_psnr(export, off, float(decibels) + 0.1, uint8)


def test_the_distribution_is_compared_with_that_of_the_network(tmp_path: Path) -> None:
    path = write_generator(tmp_path, small_spec("dcgan"))
    export = network.load(ExportSettings(ckpt=str(path)), ".x")
    original, wrong = export.original, -export.original(torch.zeros(1, LATENT_DIM))
    distances = []
    for run in (lambda z: original(torch.from_numpy(z)), lambda z: wrong.expand(len(z), -1, -1, -1)):
        words = check_psnr(export, lambda inputs, run=run: run(inputs["z"]).detach().numpy(), -100, False)  # type: ignore[misc]
        distances.append([float(number) for number in re.findall(r"images[^:;]*: ([\d.e+-]+)", words)])
    assert distances[0][0] == distances[0][1] > 0
    assert distances[1][1] == distances[0][1]
    assert distances[1][0] > 2 * distances[1][1]


@pytest.mark.parametrize(
    ("psnr", "words"),
    [
        (40.0, "most people see no difference"),
        (39.9, "a difference is visible side by side"),
        (30.0, "a difference is visible side by side"),
        (29.9, "the difference is clearly visible"),
    ],
)
def test_the_verdict_says_what_people_see(psnr: float, words: str) -> None:
    differ = "verdict: the images differ from the network's by 3.1 of 255 levels on average: "
    assert verdict(psnr, 3.14, None) == f"{differ}{words}"


@pytest.mark.parametrize(("of_file", "kept"), [(9.0, True), (10.0, True), (10.9, True), (11.1, False)])
def test_the_verdict_says_whether_the_distribution_is_kept(of_file: float, kept: bool) -> None:
    said = verdict(50.0, 1.0, (of_file, 10.0)).split("; ")[1]
    assert said == f"as a set they {'keep' if kept else 'do not keep'} the distribution of the network's images"


def test_the_export_ends_in_a_verdict_with_the_size_and_the_command_that_compares(
    exported_dcgan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = exported_dcgan.with_suffix(".safetensors"), tmp_path / "my int8.onnx"
    export_onnx({"ckpt": str(source), "out": str(out), "precision": "int8", "psnr": "20"})
    first, sentence, command = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{out}: PSNR ")
    assert re.match(r"verdict: .* of 255 levels on average: .*; as a set they ", sentence)
    size = out.stat().st_size / exported_dcgan.stat().st_size
    assert sentence.endswith(f"; the file has {size:.0%} of its size in fp32")
    assert command == f"compare their metrics: python -m wgan_dist.evaluate '--ckpt={source},{out}'"


def test_nan_and_wrong_shapes_have_no_psnr(tmp_path: Path) -> None:
    export = network.load(ExportSettings(ckpt=str(write_generator(tmp_path, small_spec("dcgan")))), ".x")
    for value, count in ((np.nan, 3), (0.0, 1)):
        images = np.full((64, count, 16, 16), value, np.float32)
        with pytest.raises(UserError, match="not written: PSNR -inf dB"):
            check_psnr(export, lambda inputs, images=images: images[: len(inputs["z"])], -100, False)  # type: ignore[misc]


def test_below_the_minimum_psnr_there_is_no_file(run_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"not written: PSNR \d\d\.\d dB, .*; psnr=99$"):
        export_onnx({"ckpt": str(run_dir), "out": str(tmp_path / "g.onnx"), "precision": "int8", "psnr": "99"})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_points_are_exported_in_fp32_only(precision: str, tmp_path: Path) -> None:
    path = write_generator(tmp_path, small_spec("points"))
    with pytest.raises(UserError, match=f"^precision={precision}: this generator makes points; expected fp32"):
        export_onnx({"ckpt": str(path), "precision": precision})
    assert list(tmp_path.iterdir()) == [path]


def graph_of(weights: dict[str, np.ndarray], *nodes: onnx.NodeProto) -> onnx.ModelProto:
    """z [n, 4] → y [n, 3]."""
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", size]) for name, size in (("z", 4), ("y", 3))
    ]
    constants = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    made = helper.make_graph(list(nodes), "one", values[:1], values[1:], constants)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def test_a_network_of_one_layer_cannot_be_quantised() -> None:
    model = graph_of(
        {"weights": np.ones((4, 3), np.float32)},
        helper.make_node("MatMul", ["z", "weights"], ["x"], "only"),
        helper.make_node("Tanh", ["x"], ["y"]),
    )
    with pytest.raises(UserError, match="^precision=int8: this network has no layer with weights after its first"):
        to_int8(model, {"z": np.ones((8, 4), np.float32)})


def test_values_that_only_share_the_batch_size_with_the_latents_are_quantised() -> None:
    """A learnt constant that is expanded to the batch size does not depend on the latents."""
    model = graph_of(
        {"weights": np.ones((4, 3), np.float32), "more": np.ones((4, 3), np.float32), "learnt": np.ones(4, np.float32)},
        helper.make_node("Shape", ["z"], ["shape"]),
        helper.make_node("Expand", ["learnt", "shape"], ["spread"]),
        helper.make_node("MatMul", ["spread", "weights"], ["x"], "quantised"),
        helper.make_node("MatMul", ["z", "more"], ["first"], "first"),
        helper.make_node("Add", ["x", "first"], ["y"]),
    )
    found = to_int8(model, {"z": latents(8)[:, :4]})
    assert {name: quantised_factors(found, name) for name in ("quantised", "first")} == {
        "quantised": [True, True],
        "first": [False, False],
    }


def quantised_factors(model: onnx.ModelProto, name: str) -> list[bool]:
    """Return for each factor of a product whether it is quantised."""
    makers = {output: node.op_type for node in model.graph.node for output in node.output}
    product = next(node for node in model.graph.node if node.name == name)
    return [makers.get(each) == "DequantizeLinear" for each in product.input[:2]]


def test_attention_weights_are_not_quantised(tmp_path: Path) -> None:
    path = write_generator(tmp_path, small_spec("sagan"))
    export_onnx({"ckpt": str(path), "precision": "int8", "psnr": "20"})
    kinds = Counter(node.op_type for node in optimised(tmp_path / "generator_int8.onnx").graph.node)
    assert kinds["Softmax"] == 2
    assert not {"QLinearSoftmax", "QLinearMatMul"} & set(kinds)


@pytest.mark.slow
def test_attention_of_the_usual_width_is_near_with_default_settings(tmp_path: Path) -> None:
    path = write_generator(tmp_path, generator_spec("sagan", 64, square(64), 3, 16, "auto", False))
    export_onnx({"ckpt": str(path), "precision": "int8"})
    assert (tmp_path / "generator_int8.onnx").is_file()
