"""The tables of both networks: figures of the systems, and figures that can be counted by hand."""

import re
from pathlib import Path

import pytest
import torch

from tests.processes import PYTHON, run
from wgan_dist.config import load_config
from wgan_dist.models.summary import print_summary, tables
from wgan_dist.utils.errors import UserError

NARROW = {"generator_features": "8", "critic_features": "8"}


def totals(flags: dict[str, str]) -> list[tuple[str, str]]:
    """Return the printed parameters and multiply-adds (in millions) of the generator and the critic."""
    return [
        (re.findall(r"Total params: (\S+)", table)[0], re.findall(r"Total mult-adds .*: (\S+)", table)[0])
        for table in tables(load_config(flags)).values()
    ]


def test_the_cat_face_networks_have_the_published_parameters_and_multiply_adds(tmp_path: Path) -> None:
    flags = NARROW | {"recipe": "catfaces64", "batch_size": "8"}
    assert totals(flags) == [("378,083", "252.81"), ("44,649", "15.80")]
    command = (*PYTHON, "-m", "wgan_dist.summary", *(f"--{name}={value}" for name, value in flags.items()))
    printed = run(*command, cwd=tmp_path).stdout
    expected = "\n\n".join(f"{name}\n{table}" for name, table in tables(load_config(flags)).items())
    assert printed.rstrip("\n") == expected
    assert list(tmp_path.iterdir()) == []


def test_a_dense_network_multiplies_and_adds_each_parameter_once_a_sample() -> None:
    flags = {"recipe": "mnist_mlp", "batch_size": "10", "generator_batch_size": "20", "reuse_latents": "false"}
    expected = [("1,486,352", f"{20 * 1_486_352 / 1e6:.2f}"), ("533,505", f"{10 * 533_505 / 1e6:.2f}")]
    assert totals(flags) == expected


def test_a_convolution_multiplies_at_every_position() -> None:
    # A critic for 16×16: 3 → 8 channels at 8×8 and 8 → 16 at 4×4 with 4×4 kernels, then 16 · 16 + 1 for the score.
    flags = {"recipe": "dcgan64", "image_size": "16", "batch_size": "500", "critic_norm": "none"} | NARROW
    ((_, _), (_, critic)) = totals(flags)
    per_sample = 16 * (3 * 8 * 8 * 8 + 8 * 16 * 4 * 4) + 16 * 16
    assert float(critic) == pytest.approx(500 * per_sample / 1e6, abs=0.01)


@pytest.mark.parametrize("recipe", ["mnist_upsample", "dcgan64"])
def test_spectral_norm_adds_no_parameters_and_hides_no_multiplications(recipe: str) -> None:
    flags = {"recipe": recipe, "batch_size": "2"} | NARROW
    assert totals(flags | {"spectral_norm": "both"}) == totals(flags)
    assert all(float(count) > 0.1 for _, count in totals(flags))


def test_each_network_is_shown_at_its_own_batch() -> None:
    generator, critic = tables(load_config({"recipe": "cifar10_resnet"} | NARROW)).values()
    assert "[128, 128]" in generator
    assert "[128, 3, 32, 32]" in generator
    assert "[64, 3, 32, 32]" in critic


@pytest.mark.parametrize(
    ("flags", "shape"),
    [
        ({"data": "any/"}, "[4, 3, 64, 64]"),
        ({"data": "any/", "channels": "1"}, "[4, 1, 64, 64]"),
        ({"recipe": "fashion_mnist"}, "[4, 1, 32, 32]"),
        ({"recipe": "toy_swissroll"}, "[4, 2]"),
    ],
)
def test_samples_have_three_channels_unless_something_says_otherwise(flags: dict[str, str], shape: str) -> None:
    generator, critic = tables(load_config(flags | NARROW | {"batch_size": "4"})).values()
    assert shape in generator
    assert shape in critic


def test_every_layer_has_a_line_below_the_name_of_its_network(capsys: pytest.CaptureFixture[str]) -> None:
    print_summary(load_config({"recipe": "mnist_upsample", "batch_size": "2"} | NARROW))
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith(("generator ", "critic "))] == [
        "generator upsample",
        "critic upsample",
    ]
    assert sum("─Conv2d" in line for line in lines) == 3 + 4


def test_a_summary_draws_nothing_from_the_global_generator() -> None:
    before = torch.random.get_rng_state()
    tables(load_config({"recipe": "digits"} | NARROW))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_network_that_does_not_fit_is_refused() -> None:
    with pytest.raises(UserError, match="image_size=256: the sagan generator supports at most"):
        print_summary(load_config({"recipe": "sagan64", "image_size": "256"}))


def test_products_with_orthonormal_weights_are_counted() -> None:
    settings = {"recipe": "toy_8gaussians", "critic": "lipschitz", "penalty": "none", "batch_size": "100"}
    table = tables(load_config(settings | NARROW))["critic lipschitz"]
    (computed,) = re.findall(r"(\S+) M multiply-adds in all", table)
    features = int(NARROW["critic_features"])
    # The hidden layers, and for their weights two products of matrices each: BᵀB and B(I + A)⁻¹, B without rows in
    # square layers.
    layers = 100 * (2 * features + 2 * features**2 + features)
    weights = 2 * ((features - 2) * 2**2 + (features - 1))
    assert float(computed) == pytest.approx((layers + weights) / 1e6, abs=0.006)


def test_strided_convolutions_are_counted_as_they_are_computed() -> None:
    table = tables(load_config({"recipe": "cifar10_resnet", "batch_size": "100"} | NARROW))["critic resnet"]
    (computed,) = re.findall(r"computed are (\S+) M", table)
    first = 9 * 3 * 8 * 32**2 + 16 * 8 * 8 * 16**2 + 3 * 8 * 16**2
    second = 9 * 8 * 8 * 16**2 + 16 * 8 * 8 * 8**2 + 8 * 8 * 8**2
    plain = 4 * 9 * 8 * 8 * 8**2
    assert float(computed) == pytest.approx(100 * (first + second + plain + 8) / 1e6, abs=0.01)
