"""Exported programs and compiled packages equal the network, carry metadata, and can be opened again."""

import inspect
from pathlib import Path

import numpy as np
import pytest
import torch

from export.loaders import open_generator
from export.program_file import is_compiled, open_program
from tests.exports import export_program, export_torchscript
from tests.generators import LATENT_DIM, small_spec, write_generator
from wgan_dist.checkpoints import generator_file
from wgan_dist.config.network_choices import GENERATORS
from wgan_dist.utils.errors import UserError


def latents(count: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).standard_normal((count, LATENT_DIM), dtype=np.float32))


@torch.no_grad()
def network_samples(path: Path, z: torch.Tensor) -> np.ndarray:
    samples: np.ndarray = generator_file.load(path).network(z).numpy()
    return samples


def decibels(found: np.ndarray, expected: np.ndarray) -> float:
    return 10 * float(np.log10(4 / np.square(found - expected).mean()))


@pytest.mark.parametrize("name", GENERATORS)
def test_a_program_equals_the_network_at_a_batch_size_that_was_not_checked(name: str, tmp_path: Path) -> None:
    path = write_generator(tmp_path, small_spec(name, spectral_norm=True))
    export_program({"ckpt": str(path)})
    assert sorted(each.name for each in tmp_path.iterdir()) == ["generator.pt2", "generator.safetensors"]
    about, draw = open_program(tmp_path / "generator.pt2")
    np.testing.assert_allclose(draw(latents(7)).numpy(), network_samples(path, latents(7)), atol=2e-5)
    assert about["wgan_dist.source_sha256"] == generator_file.load(path).sha256
    assert about["wgan_dist.precision"] == "fp32"


@pytest.mark.parametrize(("export", "suffix"), [(export_program, "pt2"), (export_torchscript, "pt")])
def test_bfloat16_is_near_the_network_and_in_the_metadata(export: object, suffix: str, tmp_path: Path) -> None:
    assert callable(export)
    path = write_generator(tmp_path, small_spec("dcgan"))
    out = tmp_path / f"g.{suffix}"
    export({"ckpt": str(path), "out": str(out), "precision": "bf16"})
    subject = open_generator(out, "", 9, seed=0)
    assert (subject.precision, subject.shape, subject.data) == ("bfloat16", (3, 16, 16), "digits")
    found = subject.draw(slice(9)).numpy()
    expected = open_generator(path, "", 9, seed=0).draw(slice(9)).numpy()
    assert found.dtype == np.float32
    assert 35 < decibels(found, expected) < 80  # nearer would not be bfloat16


def test_uint8_images_in_bfloat16_are_rounded_from_float_images(tmp_path: Path) -> None:
    path = write_generator(tmp_path, small_spec("dcgan"))
    drawn = []
    for levels in ("false", "true"):
        out = tmp_path / f"{levels}.pt2"
        export_program({"ckpt": str(path), "out": str(out), "precision": "bf16", "uint8": levels})
        drawn.append(open_program(out)[1](latents(6)))
    expected = ((drawn[0].double() + 1) * 127.5).clamp(0, 255).permute(0, 2, 3, 1)
    assert drawn[1].dtype == torch.uint8
    assert (drawn[1] - expected).abs().max() <= 0.5 + 1e-3


@pytest.mark.parametrize("uint8", ["false", "true"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_output_is_contiguous_in_memory(precision: str, uint8: str, tmp_path: Path) -> None:
    path = write_generator(tmp_path, small_spec("dcgan"))
    flags = {"ckpt": str(path), "precision": precision, "uint8": uint8}
    export_program(flags | {"out": str(tmp_path / "g.pt2")})
    export_torchscript(flags | {"out": str(tmp_path / "g.pt")})
    z = latents(3)
    assert open_program(tmp_path / "g.pt2")[1](z).is_contiguous()
    assert torch.jit.load(str(tmp_path / "g.pt"))(z).is_contiguous()


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_compiled_package_equals_the_network(precision: str, tmp_path: Path) -> None:
    path = write_generator(tmp_path, small_spec("dcgan"))
    export_program({"ckpt": str(path), "compiled": "true", "precision": precision})
    out = tmp_path / ("generator.compiled.pt2" if precision == "fp32" else "generator_bf16.compiled.pt2")
    assert is_compiled(out)
    about, draw = open_program(out)
    found, expected = draw(latents(7)).numpy(), network_samples(path, latents(7))
    assert decibels(found, expected) > (90 if precision == "fp32" else 35)
    assert about["wgan_dist.precision"] == precision
    assert open_generator(out, "", 3, seed=0).draw(slice(3)).shape == (3, 3, 16, 16)


def test_a_missing_compiler_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_generator(tmp_path, small_spec("dcgan"))
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UserError, match=r"^compiled=true: needs a C\+\+ compiler, but no-such-compiler is not"):
        export_program({"ckpt": str(path), "compiled": "true"})
    assert list(tmp_path.iterdir()) == [path]


def test_names_and_files_that_torch_cannot_read_are_refused(tmp_path: Path) -> None:
    path = write_generator(tmp_path, small_spec("points"))
    with pytest.raises(UserError, match=r"g\.pt: expected a file ending in \.pt2"):
        export_program({"ckpt": str(path), "out": str(tmp_path / "g.pt")})
    (tmp_path / "text.pt2").write_text("no program")
    export_torchscript({"ckpt": str(path), "out": str(tmp_path / "script.pt")})
    (tmp_path / "script.pt").rename(tmp_path / "script.pt2")
    for name in ("text.pt2", "script.pt2"):
        with pytest.raises(UserError, match=f"{name}: not a program written by export.program"):
            open_generator(tmp_path / name, "", 3, seed=0)


def test_torch_still_has_the_functions_that_it_documents_without_a_public_name() -> None:
    """export.program --compiled calls these; test_a_compiled_package_equals_the_network runs them."""
    assert {"package_path", "inductor_configs"} <= set(
        inspect.signature(torch._inductor.aoti_compile_and_package).parameters
    )
    assert "path" in inspect.signature(torch._inductor.aoti_load_package).parameters
