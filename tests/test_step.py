"""One step of either network: micro-batches, pretended processes, and what a step may not touch."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import pytest
import torch
from torch import Tensor, nn

from wgan_dist import noise
from wgan_dist.distributed import World, shares
from wgan_dist.models import build_critic, build_generator, critic_spec, generator_spec
from wgan_dist.objectives import CriticObjective, GeneratorObjective, frozen, interpolate, two_sided_penalty
from wgan_dist.step import Draws, Engine, Player, critic_iteration, generator_step, update

BATCH, LATENT_DIM, SEED = 8, 5, 3
ALONE = World(rank=0, size=1)


def backward(loss: Tensor) -> None:
    loss.backward()


ENGINE = Engine(backward, no_sync=lambda module: nullcontext(), autocast=nullcontext, scale=lambda: None)


def make_draws(world: World = ALONE, accumulation: int = 1, distribution: str = "normal") -> Draws:
    parts = shares(BATCH, accumulation, world)
    return Draws(SEED, BATCH, LATENT_DIM, distribution, parts, torch.device("cpu"), torch.float64)


def make_critic() -> Player:
    network = build_critic(critic_spec("dcgan", 16, 1, 2, "instance")).double()
    objective = CriticObjective(network, two_sided_penalty, 10.0)
    return Player(network, objective, torch.optim.SGD(network.parameters(), 0.1))


def make_generator(critic: nn.Module) -> Player:
    # InstanceNorm: the statistics of a BatchNorm would depend on the micro-batches.
    network = build_generator(generator_spec("dcgan", LATENT_DIM, 16, 1, 2, "instance")).double()
    objective = GeneratorObjective(network, frozen(critic))
    return Player(network, objective, torch.optim.SGD(network.parameters(), 0.1))


def real_images(accumulation: int = 1) -> list[Tensor]:
    whole = torch.as_tensor(2.0 * noise.uniform(SEED, "test.real", 0, (BATCH, 1, 16, 16)) - 1.0)
    return list(whole.chunk(accumulation))


def gradients(network: nn.Module) -> list[Tensor]:
    return [parameter.grad for parameter in network.parameters() if parameter.grad is not None]


def assert_close(ours: list[Tensor], theirs: list[Tensor]) -> None:
    assert ours
    for mine, other in zip(ours, theirs, strict=True):
        assert (mine - other).norm() <= 1e-12 * other.norm()


@pytest.mark.parametrize("accumulation", [2, 4, 8])
def test_micro_batches_give_the_critic_the_gradient_and_terms_of_the_whole_batch(accumulation: int) -> None:
    whole, parts = make_critic(), make_critic()
    generator = make_generator(whole.network).network
    expected = critic_iteration(whole, generator, real_images(), make_draws(), 4, ENGINE)
    draws = make_draws(accumulation=accumulation)
    terms = critic_iteration(parts, generator, real_images(accumulation), draws, 4, ENGINE)
    assert_close(gradients(parts.network), gradients(whole.network))
    assert_close(list(parts.network.parameters()), list(whole.network.parameters()))
    assert {name: value.item() for name, value in terms.items()} == pytest.approx(
        {name: value.item() for name, value in expected.items()}, rel=1e-12
    )


@pytest.mark.parametrize("accumulation", [2, 4, 8])
def test_micro_batches_give_the_generator_the_gradient_of_the_whole_batch(accumulation: int) -> None:
    critic = make_critic().network
    whole, parts = make_generator(critic), make_generator(critic)
    generator_step(whole, make_draws(), 4, ENGINE)
    generator_step(parts, make_draws(accumulation=accumulation), 4, ENGINE)
    assert_close(gradients(parts.network), gradients(whole.network))


def test_a_step_moves_the_weights_against_the_gradient() -> None:
    player = make_critic()
    before = copy.deepcopy(player.network)
    critic_iteration(player, make_generator(before).network, real_images(), make_draws(), 0, ENGINE)
    expected = [old - 0.1 * each for old, each in zip(before.parameters(), gradients(player.network), strict=True)]
    assert_close(list(player.network.parameters()), expected)


def test_a_step_forgets_the_gradients_before_it() -> None:
    clean, stained = make_critic(), make_critic()
    generator = make_generator(clean.network).network
    for parameter in stained.network.parameters():
        parameter.grad = torch.ones_like(parameter)
    for player in (clean, stained):
        critic_iteration(player, generator, real_images(), make_draws(), 0, ENGINE)
    assert_close(gradients(stained.network), gradients(clean.network))


def test_only_the_last_micro_batch_averages_gradients_over_processes() -> None:
    events: list[str] = []

    @contextmanager
    def held_back(module: nn.Module) -> Iterator[None]:
        events.append("held back")
        yield
        events.append("over")

    def note(loss: Tensor) -> None:
        events.append("backward")
        backward(loss)

    engine = Engine(note, held_back, nullcontext, lambda: None)
    player, real = make_critic(), real_images()[0]
    update(player, ((real, real, torch.zeros(BATCH)) for _ in range(3)), 3, engine)
    assert events == ["held back", "backward", "over"] * 2 + ["backward"]


def test_a_critic_iteration_leaves_the_generators_parameters_and_gradients_untouched() -> None:
    critic = make_critic()
    generator = make_generator(critic.network).network
    before = copy.deepcopy(generator.state_dict())
    critic_iteration(critic, generator, real_images(), make_draws(), 0, ENGINE)
    assert all(torch.equal(value, before[name]) for name, value in generator.state_dict().items())
    assert gradients(generator) == []
    assert all(parameter.requires_grad for parameter in generator.parameters())


def test_a_generator_step_leaves_the_critics_parameters_and_gradients_untouched() -> None:
    critic = make_critic().network
    before = copy.deepcopy(critic.state_dict())
    generator_step(make_generator(critic), make_draws(), 0, ENGINE)
    assert all(torch.equal(value, before[name]) for name, value in critic.state_dict().items())
    assert gradients(critic) == []


def test_a_critic_iteration_meets_the_noise_of_its_own_number() -> None:
    player = make_critic()
    critic, generator = copy.deepcopy(player.network), make_generator(player.network).network
    terms = critic_iteration(player, generator, real_images(), make_draws(), 7, ENGINE)
    z = torch.as_tensor(noise.normal(SEED, "critic.z", 7, (BATCH, LATENT_DIM)))
    alpha = torch.as_tensor(noise.uniform(SEED, "critic.alpha", 7, (BATCH,)))
    (real,), fake = real_images(), generator(z).detach()
    assert terms["wasserstein"].item() == pytest.approx((critic(real).mean() - critic(fake).mean()).item(), rel=1e-12)
    mixed = interpolate(real, fake, alpha).requires_grad_()
    (gradient,) = torch.autograd.grad(critic(mixed).sum(), mixed)
    assert terms["gradient_norm"].item() == pytest.approx(gradient.flatten(1).norm(dim=1).mean().item(), rel=1e-9)


def test_a_generator_step_meets_the_noise_of_its_own_number() -> None:
    critic = make_critic().network
    player = make_generator(critic)
    generator = copy.deepcopy(player.network)
    terms = generator_step(player, make_draws(), 7, ENGINE)
    z = torch.as_tensor(noise.normal(SEED, "generator.z", 7, (BATCH, LATENT_DIM)))
    assert terms["generator_loss"].item() == pytest.approx(-critic(generator(z)).mean().item(), rel=1e-12)


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("processes", [1, 2, 4])
def test_the_draws_of_all_processes_and_micro_batches_make_the_draw_of_one(processes: int, accumulation: int) -> None:
    ranks = [make_draws(World(rank, processes), accumulation) for rank in range(processes)]
    latents = [draws.latents("critic.z", 2) for draws in ranks]
    alphas = [draws.alphas("critic.alpha", 2) for draws in ranks]
    order = [(micro, rank) for micro in range(accumulation) for rank in range(processes)]
    (z,), (alpha,) = make_draws().latents("critic.z", 2), make_draws().alphas("critic.alpha", 2)
    assert z.shape == (BATCH, LATENT_DIM)
    assert alpha.shape == (BATCH,)
    assert torch.equal(torch.cat([latents[rank][micro] for micro, rank in order]), z)
    assert torch.equal(torch.cat([alphas[rank][micro] for micro, rank in order]), alpha)


def test_streams_and_counters_do_not_share_their_numbers() -> None:
    draws = make_draws()
    drawn = [draws.latents(stream, counter)[0] for stream in ("critic.z", "generator.z") for counter in (0, 1)]
    values = torch.cat(drawn).flatten()
    assert len(values.unique()) == len(values)


def test_latents_follow_the_chosen_distribution() -> None:
    for distribution, low in (("normal", False), ("uniform", True)):
        z = torch.cat([make_draws(distribution=distribution).latents("critic.z", k)[0] for k in range(50)])
        assert (z.abs().max() <= 1.0) == low
        assert z.min() < -0.9


def test_alphas_lie_between_zero_and_one() -> None:
    alphas = torch.cat([make_draws().alphas("critic.alpha", k)[0] for k in range(50)])
    assert alphas.min() >= 0
    assert alphas.max() < 1
    # Uniform: the mean of 400 draws is 1/2 within five standard errors, 1 / √(12 n).
    assert alphas.mean().item() == pytest.approx(0.5, abs=5 / (12 * len(alphas)) ** 0.5)
