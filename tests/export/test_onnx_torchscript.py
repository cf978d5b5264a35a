"""ONNX and TorchScript exports equal the network, carry metadata, and leave no file when they fail."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from export import network
from export.metadata import METADATA_FILE
from export.parity import BATCH_SIZES, Inputs, check_difference, compare
from export.settings import ExportSettings
from tests.exports import export_onnx, export_torchscript, unsqueezes_of_several_axes
from tests.generators import small_spec, write_generator
from wgan_dist.checkpoints import generator_file
from wgan_dist.config.network_choices import GENERATORS
from wgan_dist.utils.errors import UserError


def network_images(run_dir: Path, z: np.ndarray, kind: str = "ema") -> np.ndarray:
    network = generator_file.load(generator_file.locate(str(run_dir), kind)).network
    with torch.no_grad():
        images: np.ndarray = network(torch.from_numpy(z)).numpy()
    return images


def latents(count: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((count, 8), dtype=np.float32)


def test_onnx_equals_the_network_at_a_batch_size_that_was_not_checked(onnx_file: Path, run_dir: Path) -> None:
    session = onnxruntime.InferenceSession(onnx_file, providers=["CPUExecutionProvider"])
    assert [(each.name, each.type, each.shape) for each in session.get_inputs()] == [("z", "tensor(float)", ["n", 8])]
    assert [(each.name, each.shape) for each in session.get_outputs()] == [("images", ["n", 1, 32, 32])]
    assert 7 not in BATCH_SIZES
    np.testing.assert_allclose(session.run(None, {"z": latents(7)})[0], network_images(run_dir, latents(7)), atol=1e-5)


def test_onnx_is_one_file_with_metadata(onnx_file: Path, run_dir: Path) -> None:
    assert list(onnx_file.parent.iterdir()) == [onnx_file]
    about = {each.key: each.value for each in onnx.load(onnx_file).metadata_props}
    source = generator_file.load(run_dir / generator_file.EMA_FILE)
    assert about["wgan_dist.source_sha256"] == source.sha256
    assert about["wgan_dist.latent_dim"] == "8"
    assert about["wgan_dist.latent_distribution"] == "normal"
    assert about["wgan_dist.value_range"] == "-1,1"
    assert about["wgan_dist.image_size"] == "32"
    assert about["wgan_dist.description"] == "handwritten digits"
    assert str(run_dir) not in str(about)


def test_the_same_generator_gives_the_same_file(
    onnx_file: Path, run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export_onnx({"ckpt": str(run_dir / generator_file.EMA_FILE), "out": str(tmp_path / "again.onnx")})
    assert "verdict" not in capsys.readouterr().out  # which files of a lower precision get
    assert (tmp_path / "again.onnx").read_bytes() == onnx_file.read_bytes()


# The version of the file format in the release of ONNX that added the operator set (github.com/onnx/onnx, Versioning).
@pytest.mark.parametrize(("opset", "ir_version"), [(15, 8), (17, 8), (18, 8), (20, 9), (21, 10), (23, 11)])
def test_an_operator_set_is_written_in_the_oldest_file_format_that_has_it(
    opset: int, ir_version: int, run_dir: Path, tmp_path: Path
) -> None:
    export_onnx({"ckpt": str(run_dir), "out": str(tmp_path / "g.onnx"), "opset": str(opset)})
    model = onnx.load(tmp_path / "g.onnx")
    assert {each.domain: each.version for each in model.opset_import} == {"": opset}
    assert model.ir_version == ir_version
    np.testing.assert_allclose(
        onnx_samples(tmp_path / "g.onnx", latents(7)), network_images(run_dir, latents(7)), atol=1e-5
    )


@pytest.mark.parametrize("opset", ["17", "18"])
def test_int8_files_are_written_in_the_oldest_file_format_too(opset: str, run_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "g.onnx"
    export_onnx({"ckpt": str(run_dir), "out": str(out), "opset": opset, "precision": "int8", "psnr": "10"})
    assert onnx.load(out).ir_version == 8


def test_uint8_output_is_the_rounded_float_output(run_dir: Path, tmp_path: Path) -> None:
    export_onnx({"ckpt": str(run_dir), "out": str(tmp_path / "g.onnx"), "uint8": "true"})
    session = onnxruntime.InferenceSession(tmp_path / "g.onnx", providers=["CPUExecutionProvider"])
    found = session.run(None, {"z": latents(9)})[0]
    assert found.dtype == np.uint8
    assert found.shape == (9, 32, 32, 1)
    expected = (network_images(run_dir, latents(9)).astype(np.float64) + 1) * 127.5
    assert np.abs(found - expected.transpose(0, 2, 3, 1)).max() <= 0.5 + 1e-3


def test_torchscript_equals_the_network_and_has_metadata(run_dir: Path, tmp_path: Path) -> None:
    export_torchscript({"ckpt": str(run_dir), "out": str(tmp_path / "g.pt")})
    extra = {METADATA_FILE: ""}
    script = torch.jit.load(str(tmp_path / "g.pt"), _extra_files=extra)
    np.testing.assert_allclose(
        script(torch.from_numpy(latents(7))).numpy(), network_images(run_dir, latents(7)), atol=1e-5
    )
    assert json.loads(extra[METADATA_FILE])["wgan_dist.latent_dim"] == "8"


def test_raw_weights_are_the_last_ones_not_the_averages(run_dir: Path, tmp_path: Path) -> None:
    export_onnx({"ckpt": str(run_dir), "out": str(tmp_path / "raw.onnx"), "weights": "raw"})
    session = onnxruntime.InferenceSession(tmp_path / "raw.onnx", providers=["CPUExecutionProvider"])
    found = session.run(None, {"z": latents(3)})[0]
    np.testing.assert_allclose(found, network_images(run_dir, latents(3), "raw"), atol=1e-5)
    assert np.abs(found - network_images(run_dir, latents(3), "ema")).max() > 1e-3


@pytest.mark.parametrize("name", ["onnx", "torchscript"])
def test_beyond_tolerance_there_is_no_file(
    name: str, run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exported network is not that of the file, which the parity check detects."""
    monkeypatch.setattr("export.parity.BATCH_SIZES", (1, 2))
    original = network.load

    def load_and_disturb(*arguments: object) -> network.Export:
        found = original(*arguments)  # type: ignore[arg-type]
        return network.Export(Drifting(found.network), found.original, found.source, found.out)

    monkeypatch.setattr(f"export.{name}_file.load", load_and_disturb)
    export = {"onnx": export_onnx, "torchscript": export_torchscript}[name]
    out = tmp_path / f"g{'.onnx' if name == 'onnx' else '.pt'}"
    with pytest.raises(UserError, match=r"not written: maximum difference .*; tolerance=0.0001"):
        export({"ckpt": str(run_dir), "out": str(out)})
    assert list(tmp_path.iterdir()) == []


class Drifting(torch.nn.Module):
    """A network with an error of 1e-3."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        images: torch.Tensor = self.inner(z) + 1e-3
        return images


def test_nan_and_wrong_shapes_are_infinitely_different(run_dir: Path) -> None:
    export = network.load(ExportSettings(ckpt=str(run_dir)), ".x")
    about = export.source.description
    shape = (about.channels, *about.image_size)
    assert compare(export, lambda inputs: np.full((len(inputs["z"]), *shape), np.nan, np.float32)).difference == float(
        "inf"
    )
    assert compare(export, lambda inputs: np.zeros((1, *shape), np.float32)).difference == float("inf")
    with pytest.raises(UserError, match="not written"):
        check_difference(export, lambda inputs: np.zeros((1, *shape), np.float32), 1e-4, uint8=False)


def test_uint8_images_may_differ_by_one_level_in_few_values_only(run_dir: Path) -> None:
    export = network.load(ExportSettings(ckpt=str(run_dir), uint8=True), ".x")

    def shifted(every: int) -> Callable[[Inputs], np.ndarray]:
        def run(inputs: Inputs) -> np.ndarray:
            with torch.no_grad():
                levels: np.ndarray = export.network(torch.from_numpy(inputs["z"])).numpy().copy()
            levels.reshape(-1)[::every] += 1
            return levels

        return run

    assert "in 0.098% of the values" in check_difference(export, shifted(1024), 0.0, uint8=True)
    with pytest.raises(UserError, match="not written: maximum difference 1 levels"):
        check_difference(export, shifted(1), 1e-4, uint8=True)


def test_an_export_of_a_checkpoint_goes_into_the_run_folder(run_dir: Path) -> None:
    for ckpt in (run_dir / "checkpoints/step-00000006", run_dir):
        assert network.load(ExportSettings(ckpt=str(ckpt)), ".onnx").out == run_dir / "generator.onnx"


@pytest.mark.parametrize(
    ("precision", "uint8", "name"),
    [
        ("fp32", True, "generator_uint8.onnx"),
        ("int8", False, "generator_int8.onnx"),
        ("fp16", True, "generator_fp16_uint8.onnx"),
    ],
)
def test_the_default_name_contains_precision_and_uint8(run_dir: Path, precision: str, uint8: bool, name: str) -> None:
    settings = ExportSettings(ckpt=str(run_dir), precision=precision, uint8=uint8)
    assert network.load(settings, ".onnx").out == run_dir / name


def test_missing_and_unreadable_generators_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--ckpt="):
        export_onnx({})
    with pytest.raises(UserError, match="no/run"):
        export_onnx({"ckpt": "no/run"})
    (tmp_path / "g.safetensors").write_bytes(b"nonsense")
    with pytest.raises(UserError, match=r"g\.safetensors: not a generator file"):
        export_onnx({"ckpt": str(tmp_path / "g.safetensors")})
    assert [path.name for path in tmp_path.iterdir()] == ["g.safetensors"]


def network_samples(path: Path, z: np.ndarray) -> np.ndarray:
    """Return the samples of the generator in a file, computed with its spectral norm."""
    with torch.no_grad():
        samples: np.ndarray = generator_file.load(path).network(torch.from_numpy(z)).numpy()
    return samples


def onnx_samples(path: Path, z: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    samples: np.ndarray = session.run(None, {"z": z})[0]
    return samples


@pytest.mark.parametrize("name", GENERATORS)
def test_every_network_of_the_registry_is_exported_with_its_spectral_norm(name: str, tmp_path: Path) -> None:
    path = write_generator(tmp_path, small_spec(name, spectral_norm=True))
    expected = network_samples(path, latents(7))
    assert expected.std() > 0.01
    for export, suffix in ((export_onnx, "onnx"), (export_torchscript, "pt")):
        export({"ckpt": str(path), "out": str(tmp_path / f"g.{suffix}")})
    assert unsqueezes_of_several_axes(onnx.load(tmp_path / "g.onnx")) == []
    script = torch.jit.load(str(tmp_path / "g.pt"))
    np.testing.assert_allclose(onnx_samples(tmp_path / "g.onnx", latents(7)), expected, atol=2e-5)
    np.testing.assert_allclose(script(torch.from_numpy(latents(7))).numpy(), expected, atol=2e-5)


def onnx_operations(path: Path) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(path).graph.node)


def script_operations(path: Path) -> Counter[str]:
    return Counter(node.kind() for node in torch.jit.load(str(path)).inlined_graph.nodes())


def test_an_export_computes_no_spectral_norm(tmp_path: Path) -> None:
    for each in (False, True):
        (tmp_path / str(each)).mkdir()
        path = write_generator(tmp_path / str(each), small_spec("sagan", spectral_norm=each))
        export_onnx({"ckpt": str(path)})
        export_torchscript({"ckpt": str(path)})
    plain, normalised = tmp_path / "False", tmp_path / "True"
    assert onnx_operations(normalised / "generator.onnx") == onnx_operations(plain / "generator.onnx")
    assert script_operations(normalised / "generator.pt") == script_operations(plain / "generator.pt")
    sizes = [(folder / "generator.onnx").stat().st_size for folder in (plain, normalised)]
    assert sizes[1] == pytest.approx(sizes[0], rel=0.01)


def test_an_export_does_not_change_the_generator_file(tmp_path: Path) -> None:
    path = write_generator(tmp_path, small_spec("sagan", spectral_norm=True))
    content = path.read_bytes()
    export_onnx({"ckpt": str(path)})
    assert path.read_bytes() == content


def test_the_metadata_say_that_samples_are_points(tmp_path: Path) -> None:
    path = write_generator(tmp_path, small_spec("points"), "8gaussians")
    export_onnx({"ckpt": str(path)})
    export_torchscript({"ckpt": str(path)})
    extra = {METADATA_FILE: ""}
    torch.jit.load(str(tmp_path / "generator.pt"), _extra_files=extra)
    model = onnx.load(tmp_path / "generator.onnx")
    for about in ({each.key: each.value for each in model.metadata_props}, json.loads(extra[METADATA_FILE])):
        assert about["wgan_dist.layout"] == "nc"
        assert about["wgan_dist.value_range"] == "unbounded"
        assert (about["wgan_dist.channels"], about["wgan_dist.data"]) == ("2", "8gaussians")
    assert [each.name for each in model.graph.output] == ["points"]
    shape = model.graph.output[0].type.tensor_type.shape
    assert [each.dim_param or each.dim_value for each in shape.dim] == ["n", 2]


@pytest.mark.parametrize("export", [export_onnx, export_torchscript])
def test_points_are_not_exported_as_uint8(export: Callable[[dict[str, str]], None], tmp_path: Path) -> None:
    path = write_generator(tmp_path, small_spec("points"))
    with pytest.raises(UserError, match="^uint8=true: this generator makes points; expected false"):
        export({"ckpt": str(path), "uint8": "true"})
    assert list(tmp_path.iterdir()) == [path]
