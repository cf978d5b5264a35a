"""The noise of a run: whose rows a process draws, from which streams, and with which distribution."""

from collections.abc import Callable
from statistics import NormalDist

import pytest
import torch
from torch import Tensor

from wgan_dist.distributed import World, micro_batch_slices
from wgan_dist.losses.gradient_penalty import PENALTIES
from wgan_dist.losses.modules import CriticMasks
from wgan_dist.training.noise import CriticNoise, Dropouts, GeneratorNoise, NoiseSource, TrainingNoise
from wgan_dist.utils import rng

# Rows of odd length, which begin within a pair of normal draws and within a block of 16 values.
BATCH, LATENT_DIM, SEED = 8, 5, 3
SHAPE = (1, 3, 7)
STD = 0.25
# Two layers: rate and shape of one sample's values.
DROPOUTS: Dropouts = ((0.3, (3, 3)), (0.2, (5,)))
PARTS = ("real", "fake", "penalty")
ALONE = World(rank=0, size=1)


def make_source(world: World = ALONE, accumulation: int = 1, distribution: str = "normal") -> NoiseSource:
    slices = micro_batch_slices(BATCH, accumulation, world)
    return NoiseSource(SEED, LATENT_DIM, distribution, slices, torch.device("cpu"), torch.float64)


def make_noise(source: NoiseSource, penalty: str = "gp", dropouts: Dropouts = DROPOUTS) -> TrainingNoise:
    return TrainingNoise(source, source, PENALTIES.get(penalty), SHAPE, STD, dropouts, reuse_latents=False)


def joined(masks: list[CriticMasks]) -> dict[str, list[Tensor]]:
    """Micro-batches → the masks of the whole batch for each layer, by the critic's input."""
    parts = {part: zip(*(getattr(each, part) for each in masks), strict=True) for part in PARTS}
    return {part: [torch.cat(layer) for layer in layers] for part, layers in parts.items()}


def critic_tensors(noise: CriticNoise) -> list[list[Tensor]]:
    """Return everything that a critic iteration draws, for each micro-batch."""
    masks = [[*each.real, *each.fake, *each.penalty] for each in noise.masks]
    return [list(micro) for micro in zip(noise.latents, noise.penalty, *zip(*masks, strict=True), strict=True)]


def generator_tensors(noise: GeneratorNoise) -> list[list[Tensor]]:
    return [[z, *masks] for z, masks in zip(noise.latents, noise.masks, strict=True)]


def critic_draws(penalty: str) -> Callable[[NoiseSource], list[list[Tensor]]]:
    return lambda source: critic_tensors(make_noise(source, penalty).critic(2))


def generator_draws(source: NoiseSource) -> list[list[Tensor]]:
    noise = make_noise(source)
    return generator_tensors(noise.generator(2, noise.critic(0)))


def flips(source: NoiseSource) -> list[list[Tensor]]:
    return [[micro] for micro in source.flips("critic.flip", 2)]


@pytest.mark.parametrize(
    ("draw", "shapes"),
    [
        (critic_draws("gp"), [(5,), (), *[(3, 3), (5,)] * 3]),
        (critic_draws("dragan"), [(5,), SHAPE, *[(3, 3), (5,)] * 3]),
        (generator_draws, [(5,), (3, 3), (5,)]),
        (flips, [()]),
    ],
    ids=["gp", "dragan", "generator", "flips"],
)
@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("processes", [1, 2, 4])
def test_the_draws_of_all_processes_and_micro_batches_make_the_draw_of_one(
    draw: Callable[[NoiseSource], list[list[Tensor]]],
    shapes: list[tuple[int, ...]],
    processes: int,
    accumulation: int,
) -> None:
    ranks = [draw(make_source(World(rank, processes), accumulation)) for rank in range(processes)]
    # In the order of the global batch.
    parts = [rank[micro] for micro in range(accumulation) for rank in ranks]
    (whole,) = draw(make_source())
    assert [tuple(tensor.shape) for tensor in whole] == [(BATCH, *shape) for shape in shapes]
    for tensor, pieces in zip(whole, zip(*parts, strict=True), strict=True):
        assert torch.equal(torch.cat(pieces), tensor)


def expected_masks(stream: str, counter: int) -> list[Tensor]:
    return [
        torch.as_tensor(rng.keep(SEED, f"{stream}.{layer}", counter, (BATCH, *shape), rate)).double() / (1.0 - rate)
        for layer, (rate, shape) in enumerate(DROPOUTS)
    ]


def assert_equal(found: list[Tensor], expected: list[Tensor]) -> None:
    """Compare to within the rounding of a division."""
    assert len(found) == len(expected)
    for pair in zip(found, expected, strict=True):
        torch.testing.assert_close(*pair, rtol=1e-15, atol=0)


@pytest.mark.parametrize("accumulation", [1, 4])
def test_the_noise_of_a_critic_iteration_is_that_of_its_streams(accumulation: int) -> None:
    source = make_source(accumulation=accumulation)
    with_alpha, with_delta, plain, clipped = (
        make_noise(source, penalty).critic(7) for penalty in ("gp", "dragan", "r1", "clip")
    )
    assert all(each.numel() == 0 for each in (*plain.penalty, *clipped.penalty))
    assert len(plain.penalty) == len(clipped.penalty) == accumulation
    assert joined(clipped.masks)["penalty"] == []
    alphas, deltas = (torch.cat(each.penalty) for each in (with_alpha, with_delta))
    assert torch.equal(alphas, torch.as_tensor(rng.uniform(SEED, "critic.alpha", 7, (BATCH,))))
    drawn = rng.halfwords(rng.philox_key(SEED, "critic.delta", 7), 0, deltas.numel()).tolist()
    expected = torch.tensor([STD * NormalDist().inv_cdf((k + 0.5) / 65536) for k in drawn], dtype=torch.float64)
    assert torch.equal(deltas.flatten(), expected)
    for each in (with_alpha, with_delta, plain, clipped):
        assert torch.equal(torch.cat(each.latents), torch.as_tensor(rng.normal(SEED, "critic.z", 7, (BATCH, 5))))
        for part in ("real", "fake"):
            assert_equal(joined(each.masks)[part], expected_masks(f"critic.dropout.{part}", 7))
    for each in (with_alpha, with_delta, plain):
        assert_equal(joined(each.masks)["penalty"], expected_masks("critic.dropout.penalty", 7))


def test_the_noise_of_a_generator_step_is_that_of_its_streams() -> None:
    noise = make_noise(make_source())
    (z,), (masks,) = (drawn := noise.generator(7, noise.critic(3))).latents, drawn.masks
    assert torch.equal(z, torch.as_tensor(rng.normal(SEED, "generator.z", 7, (BATCH, LATENT_DIM))))
    assert_equal(masks, expected_masks("generator.dropout", 7))


def test_reused_latents_are_those_of_the_critic_iteration() -> None:
    source = make_source(accumulation=2)
    noise = TrainingNoise(source, source, None, SHAPE, STD, (), reuse_latents=True)
    critic = noise.critic(3)
    assert all(map(torch.equal, noise.generator(7, critic).latents, critic.latents))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_noise_has_the_type_of_the_run(dtype: torch.dtype) -> None:
    source = NoiseSource(SEED, LATENT_DIM, "normal", [slice(0, BATCH)], torch.device("cpu"), dtype)
    for penalty in ("gp", "dragan", "r1"):
        noise = make_noise(source, penalty)
        drawn = [*critic_tensors(noise.critic(0)), *generator_tensors(noise.generator(0, noise.critic(0)))]
        assert {tensor.dtype for micro in drawn for tensor in micro} == {dtype}


def test_one_image_in_two_is_mirrored() -> None:
    flips = torch.cat([make_source().flips("critic.flip", number)[0] for number in range(1000)])
    assert flips.dtype == torch.bool
    assert torch.equal(flips[:BATCH], torch.as_tensor(rng.uniform(SEED, "critic.flip", 0, (BATCH,)) < 0.5))
    # Within five standard errors of a half.
    assert abs(flips.double().mean() - 0.5) < 5 * 0.5 / len(flips) ** 0.5


def test_noise_around_real_images_has_its_deviation() -> None:
    noise = make_noise(make_source(), "dragan")
    values = torch.cat([noise.critic(k).penalty[0] for k in range(40)])
    # Within five standard errors: σ/√n of the mean, σ/√(2n) of the deviation.
    count = values.numel()
    assert values.mean().item() == pytest.approx(0.0, abs=5 * STD / count**0.5)
    assert values.std().item() == pytest.approx(STD, abs=5 * STD / (2 * count) ** 0.5)


def test_masks_of_different_inputs_networks_layers_and_iterations_are_independent() -> None:
    noise = make_noise(make_source(), dropouts=[(0.5, (1000,))] * 2)
    masks = [
        mask
        for k in (0, 1)
        for mask in (*critic_tensors(noise.critic(k))[0][2:], *noise.generator(k, noise.critic(k)).masks[0])
    ]
    assert len(masks) == 16
    # Signs, so that equal masks have the product 1 and independent ones 0 within six standard errors.
    signs = torch.stack([mask.flatten() - 1.0 for mask in masks])
    products = signs @ signs.T / signs.shape[1]
    torch.testing.assert_close(products, torch.eye(16, dtype=torch.float64), rtol=0, atol=6 / signs.shape[1] ** 0.5)


def test_a_network_without_dropout_has_no_masks() -> None:
    noise = make_noise(make_source(accumulation=4), dropouts=())
    critic = noise.critic(0)
    assert critic.masks == [CriticMasks([], [], [])] * 4
    assert noise.generator(0, critic).masks == [[]] * 4


def test_streams_and_counters_do_not_share_their_numbers() -> None:
    source = make_source()
    values = torch.cat([source.latents(stream, k) for stream in ("critic.z", "generator.z") for k in (0, 1)]).flatten()
    assert len(values.unique()) == len(values)


def test_latents_follow_the_chosen_distribution() -> None:
    for distribution, low in (("normal", False), ("uniform", True)):
        z = torch.cat([make_source(distribution=distribution).latents("critic.z", k) for k in range(50)])
        assert (z.abs().max() <= 1.0) == low
        assert z.min() < -0.9


def test_alphas_lie_between_zero_and_one() -> None:
    alphas = torch.cat([make_source().alphas("critic.alpha", k)[0] for k in range(50)])
    assert alphas.min() >= 0
    assert alphas.max() < 1
    # Uniform: the mean of 400 draws is 1/2 within five standard errors, 1 / √(12 n).
    assert alphas.mean().item() == pytest.approx(0.5, abs=5 / (12 * len(alphas)) ** 0.5)
