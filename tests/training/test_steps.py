"""One step of either network: micro-batches, pretended processes, and what a step may not touch."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wgan_dist.distributed import World, micro_batch_slices
from wgan_dist.losses.adversarial import LOSSES
from wgan_dist.losses.gradient_penalty import PENALTIES, Penalty, interpolate
from wgan_dist.losses.modules import CriticLoss, CriticMasks, GeneratorLoss, detached_critic
from wgan_dist.models.registry import build_critic, build_generator, critic_spec, generator_spec
from wgan_dist.training.grad_scaler import GradScaler
from wgan_dist.training.steps import (
    CriticNoise,
    Dropouts,
    Engine,
    NoiseSource,
    TrainableNetwork,
    critic_iteration,
    critic_noise,
    generator_step,
    update,
)
from wgan_dist.utils import rng

BATCH, LATENT_DIM, SEED = 8, 5, 3
SHAPE = (1, 28, 28)
STD = 0.25
WASSERSTEIN = LOSSES["wasserstein"]
# Two layers: rate and shape of one sample's values.
DROPOUTS: Dropouts = ((0.3, (3, 2)), (0.2, (5,)))
PARTS = ("critic.dropout.real", "critic.dropout.fake", "critic.dropout.penalty", "generator.dropout")
ALONE = World(rank=0, size=1)


def backward(loss: Tensor) -> None:
    loss.backward()


ENGINE = Engine(backward, no_sync=lambda module: nullcontext(), autocast=nullcontext)


def make_draws(world: World = ALONE, accumulation: int = 1, distribution: str = "normal") -> NoiseSource:
    parts = micro_batch_slices(BATCH, accumulation, world)
    return NoiseSource(SEED, BATCH, LATENT_DIM, distribution, parts, torch.device("cpu"), torch.float64)


def make_player(network: nn.Module, objective: nn.Module) -> TrainableNetwork:
    optimizer = torch.optim.SGD(network.parameters(), 0.1, fused=True)
    return TrainableNetwork(
        network, objective, optimizer, GradScaler(optimizer, [], torch.device("cpu"), dynamic=False)
    )


def make_critic(name: str = "mlp", penalty: str = "gp") -> TrainableNetwork:
    network = build_critic(critic_spec(name, SHAPE[1], SHAPE[0], 2, "none")).double()
    objective = CriticLoss(network, WASSERSTEIN, PENALTIES[penalty], 10.0)
    return make_player(network, objective)


def make_generator(critic: nn.Module) -> TrainableNetwork:
    # No BatchNorm: its statistics would depend on the micro-batches.
    network = build_generator(generator_spec("mlp", LATENT_DIM, SHAPE[1], SHAPE[0], 2, "none")).double()
    objective = GeneratorLoss(network, detached_critic(critic), WASSERSTEIN)
    return make_player(network, objective)


def dropouts_of(critic: nn.Module) -> Dropouts:
    return getattr(critic, "dropouts", ())


def drawn_for(critic: TrainableNetwork, iteration: int, accumulation: int = 1) -> CriticNoise:
    """The draws of a critic iteration, for whatever penalty and dropout the critic has."""
    penalty = critic.objective.penalty
    assert isinstance(penalty, Penalty)
    draws = make_draws(accumulation=accumulation)
    return critic_noise(draws, penalty, iteration, SHAPE, STD, dropouts_of(critic.network))


def step_generator(
    generator: TrainableNetwork, critic: nn.Module, step: int, accumulation: int = 1
) -> dict[str, Tensor]:
    draws = make_draws(accumulation=accumulation)
    masks = draws.masks("generator.dropout", step, dropouts_of(critic))
    return generator_step(generator, draws.latents("generator.z", step), masks, ENGINE)


def real_images(accumulation: int = 1) -> list[Tensor]:
    whole = torch.as_tensor(2.0 * rng.uniform(SEED, "test.real", 0, (BATCH, *SHAPE)) - 1.0)
    return list(whole.chunk(accumulation))


def whole_of(parts: list[list[Tensor]]) -> list[Tensor]:
    """Micro-batches of layers → the layers of the whole batch."""
    return [torch.cat(layer) for layer in zip(*parts, strict=True)]


def gradients(network: nn.Module) -> list[Tensor]:
    return [parameter.grad for parameter in network.parameters() if parameter.grad is not None]


def assert_close(ours: list[Tensor], theirs: list[Tensor]) -> None:
    assert ours
    for mine, other in zip(ours, theirs, strict=True):
        assert (mine - other).norm() <= 1e-12 * other.norm()


@pytest.mark.parametrize("accumulation", [2, 4, 8])
@pytest.mark.parametrize(("name", "penalty"), [("mlp", "gp"), ("mlp", "dragan"), ("upsample", "gp")])
def test_micro_batches_give_the_critic_the_gradient_and_terms_of_the_whole_batch(
    name: str, penalty: str, accumulation: int
) -> None:
    whole, parts = make_critic(name, penalty), make_critic(name, penalty)
    generator = make_generator(whole.network).network
    expected = critic_iteration(whole, generator, real_images(), drawn_for(whole, 4), ENGINE)
    terms = critic_iteration(parts, generator, real_images(accumulation), drawn_for(parts, 4, accumulation), ENGINE)
    assert_close(gradients(parts.network), gradients(whole.network))
    assert_close(list(parts.network.parameters()), list(whole.network.parameters()))
    assert {name: value.item() for name, value in terms.items()} == pytest.approx(
        {name: value.item() for name, value in expected.items()}, rel=1e-12
    )


@pytest.mark.parametrize("accumulation", [2, 4, 8])
@pytest.mark.parametrize("name", ["mlp", "upsample"])
def test_micro_batches_give_the_generator_the_gradient_of_the_whole_batch(name: str, accumulation: int) -> None:
    critic = make_critic(name).network
    whole, parts = make_generator(critic), make_generator(critic)
    step_generator(whole, critic, 4)
    step_generator(parts, critic, 4, accumulation)
    assert_close(gradients(parts.network), gradients(whole.network))


def test_a_step_moves_the_weights_against_the_gradient() -> None:
    player = make_critic()
    before = copy.deepcopy(player.network)
    critic_iteration(player, make_generator(before).network, real_images(), drawn_for(player, 0), ENGINE)
    expected = [old - 0.1 * each for old, each in zip(before.parameters(), gradients(player.network), strict=True)]
    assert_close(list(player.network.parameters()), expected)


def test_a_step_forgets_the_gradients_before_it() -> None:
    clean, stained = make_critic(), make_critic()
    generator = make_generator(clean.network).network
    for parameter in stained.network.parameters():
        parameter.grad = torch.ones_like(parameter)
    for player in (clean, stained):
        critic_iteration(player, generator, real_images(), drawn_for(player, 0), ENGINE)
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

    engine = Engine(note, held_back, nullcontext)
    player, real = make_critic(), real_images()[0]
    update(player, ((real, real, torch.zeros(BATCH), CriticMasks()) for _ in range(3)), 3, engine)
    assert events == ["held back", "backward", "over"] * 2 + ["backward"]


def test_a_critic_iteration_leaves_the_generators_parameters_and_gradients_untouched() -> None:
    critic = make_critic()
    generator = make_generator(critic.network).network
    before = copy.deepcopy(generator.state_dict())
    critic_iteration(critic, generator, real_images(), drawn_for(critic, 0), ENGINE)
    assert all(torch.equal(value, before[name]) for name, value in generator.state_dict().items())
    assert gradients(generator) == []
    assert all(parameter.requires_grad for parameter in generator.parameters())


def test_a_generator_step_leaves_the_critics_parameters_and_gradients_untouched() -> None:
    critic = make_critic().network
    before = copy.deepcopy(critic.state_dict())
    step_generator(make_generator(critic), critic, 0)
    assert all(torch.equal(value, before[name]) for name, value in critic.state_dict().items())
    assert gradients(critic) == []


def test_a_critic_iteration_meets_the_noise_of_its_own_number() -> None:
    player = make_critic()
    critic, generator = copy.deepcopy(player.network), make_generator(player.network).network
    terms = critic_iteration(player, generator, real_images(), drawn_for(player, 7), ENGINE)
    z = torch.as_tensor(rng.normal(SEED, "critic.z", 7, (BATCH, LATENT_DIM)))
    alpha = torch.as_tensor(rng.uniform(SEED, "critic.alpha", 7, (BATCH,)))
    (real,), fake = real_images(), generator(z).detach()
    assert terms["wasserstein"].item() == pytest.approx((critic(real).mean() - critic(fake).mean()).item(), rel=1e-12)
    mixed = interpolate(real, fake, alpha).requires_grad_()
    (gradient,) = torch.autograd.grad(critic(mixed).sum(), mixed)
    assert terms["gradient_norm"].item() == pytest.approx(gradient.flatten(1).norm(dim=1).mean().item(), rel=1e-9)


def test_a_generator_step_meets_the_noise_of_its_own_number() -> None:
    critic = make_critic().network
    player = make_generator(critic)
    generator = copy.deepcopy(player.network)
    terms = step_generator(player, critic, 7)
    z = torch.as_tensor(rng.normal(SEED, "generator.z", 7, (BATCH, LATENT_DIM)))
    assert terms["generator_loss"].item() == pytest.approx(-critic(generator(z)).mean().item(), rel=1e-12)


def test_latents_of_the_critics_iteration_may_be_the_generators() -> None:
    critic = make_critic().network
    player = make_generator(critic)
    generator, drawn = copy.deepcopy(player.network), drawn_for(make_critic(), 7)
    terms = generator_step(player, drawn.latents, [[]], ENGINE)
    z = torch.as_tensor(rng.normal(SEED, "critic.z", 7, (BATCH, LATENT_DIM)))
    assert terms["generator_loss"].item() == pytest.approx(-critic(generator(z)).mean().item(), rel=1e-12)


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("processes", [1, 2, 4])
def test_the_draws_of_all_processes_and_micro_batches_make_the_draw_of_one(processes: int, accumulation: int) -> None:
    def joined(draw: Callable[[NoiseSource], list[Tensor]]) -> Tensor:
        """The parts of every rank, in the order of the global batch."""
        ranks = [draw(make_draws(World(rank, processes), accumulation)) for rank in range(processes)]
        return torch.cat([rank[micro] for micro in range(accumulation) for rank in ranks])

    def layer(number: int) -> Callable[[NoiseSource], list[Tensor]]:
        return lambda draws: [masks[number] for masks in draws.masks("generator.dropout", 2, DROPOUTS)]

    kinds: list[tuple[tuple[int, ...], Callable[[NoiseSource], list[Tensor]]]] = [
        ((LATENT_DIM,), lambda draws: draws.latents("critic.z", 2)),
        ((), lambda draws: draws.alphas("critic.alpha", 2)),
        ((), lambda draws: draws.flips("critic.flip", 2)),
        ((3, 4), lambda draws: draws.deltas("critic.delta", 2, (3, 4), STD)),
        ((3, 2), layer(0)),
        ((5,), layer(1)),
    ]
    for shape, draw in kinds:
        (whole,) = draw(make_draws())
        assert whole.shape == (BATCH, *shape)
        assert torch.equal(joined(draw), whole)


@pytest.mark.parametrize("accumulation", [1, 4])
def test_the_draws_of_a_critic_iteration_are_those_of_their_streams(accumulation: int) -> None:
    draws = make_draws(accumulation=accumulation)
    drawn, noisy, plain, clipped = (
        critic_noise(draws, penalty, 7, SHAPE, STD, DROPOUTS)
        for penalty in (PENALTIES["gp"], PENALTIES["dragan"], PENALTIES["r1"], None)
    )
    assert all(each.numel() == 0 for each in (*plain.penalty, *clipped.penalty))
    assert all(masks.penalty == [] for masks in clipped.masks)
    alphas, deltas = (torch.cat(each.penalty) for each in (drawn, noisy))
    assert torch.equal(alphas, torch.as_tensor(rng.uniform(SEED, "critic.alpha", 7, (BATCH,))))
    assert torch.equal(deltas, STD * torch.as_tensor(rng.normal(SEED, "critic.delta", 7, (BATCH, *SHAPE))))
    for each in (drawn, noisy):
        assert torch.equal(torch.cat(each.latents), torch.cat(draws.latents("critic.z", 7)))
        assert len(each.masks) == accumulation
    for part, stream in (("real", PARTS[0]), ("fake", PARTS[1]), ("penalty", PARTS[2])):
        found = whole_of([list(getattr(masks, part)) for masks in drawn.masks])
        expected = whole_of(draws.masks(stream, 7, DROPOUTS))
        assert all(torch.equal(*pair) for pair in zip(found, expected, strict=True))


def test_one_image_in_two_is_mirrored() -> None:
    flips = torch.cat([make_draws().flips("critic.flip", number)[0] for number in range(1000)])
    assert flips.dtype == torch.bool
    # Within five standard errors of a half.
    assert abs(flips.double().mean() - 0.5) < 5 * 0.5 / len(flips) ** 0.5


def test_noise_around_real_images_has_its_deviation() -> None:
    values = torch.cat([make_draws().deltas("critic.delta", k, SHAPE, STD)[0] for k in range(4)])
    # Within five standard errors: σ/√n of the mean, σ/√(2n) of the deviation.
    count = values.numel()
    assert values.mean().item() == pytest.approx(0.0, abs=5 * STD / count**0.5)
    assert values.std().item() == pytest.approx(STD, abs=5 * STD / (2 * count) ** 0.5)


@pytest.mark.parametrize("rate", [0.2, 0.3, 0.5])
def test_a_mask_drops_its_rate_and_raises_the_rest_so_that_the_mean_stays(rate: float) -> None:
    ((mask,),) = make_draws().masks("generator.dropout", 0, [(rate, (4000,))])
    assert mask.unique().tolist() == [0.0, pytest.approx(1 / (1 - rate), rel=1e-15)]
    count = mask.numel()
    assert mask.eq(0).double().mean().item() == pytest.approx(rate, abs=5 * (rate * (1 - rate) / count) ** 0.5)
    assert mask.mean().item() == pytest.approx(1.0, abs=5 * (rate / (1 - rate) / count) ** 0.5)


def test_masks_of_different_inputs_networks_layers_and_iterations_are_independent() -> None:
    draws, wide = make_draws(), [(0.5, (1000,))] * 2
    masks = [layer[0] for stream in PARTS for k in (0, 1) for layer in zip(*draws.masks(stream, k, wide), strict=True)]
    assert len(masks) == 16
    # Signs, so that equal masks have the product 1 and independent ones 0 within six standard errors.
    signs = torch.stack([mask.flatten() - 1.0 for mask in masks])
    products = signs @ signs.T / signs.shape[1]
    torch.testing.assert_close(products, torch.eye(16, dtype=torch.float64), rtol=0, atol=6 / signs.shape[1] ** 0.5)


def test_a_network_without_dropout_has_no_masks() -> None:
    assert make_draws(accumulation=4).masks("generator.dropout", 0, ()) == [[]] * 4
    assert drawn_for(make_critic(), 0, accumulation=2).masks == [CriticMasks([], [], [])] * 2


def same(x: Tensor) -> Tensor:
    """The framework's padding of a 5×5 convolution with stride 2: one before, two after."""
    return F.pad(x, (1, 2, 1, 2))


def dropped(x: Tensor, stream: str, rate: float) -> Tensor:
    keep = rng.keep(SEED, stream, 7, tuple(x.shape), rate)
    return x * torch.as_tensor(keep) / (1.0 - rate)


def upsample_critic_by_hand(critic: nn.Module, images: Tensor, part: str) -> Tensor:
    """Its layers and its dropout, written out."""
    weights = list(critic.parameters())
    x = F.pad(images, (2, 2, 2, 2))
    for number in range(4):
        x = F.leaky_relu(F.conv2d(same(x), weights[2 * number], weights[2 * number + 1], 2), 0.2)
        if number in (1, 2):
            x = dropped(x, f"critic.dropout.{part}.{number - 1}", 0.3)
    x = dropped(x.flatten(1), f"critic.dropout.{part}.2", 0.2)
    return (x @ weights[8].T + weights[9])[:, 0]


def test_a_critic_with_dropout_is_its_layers_with_the_masks_of_its_iteration() -> None:
    player = make_critic("upsample")
    critic, generator = copy.deepcopy(player.network), make_generator(player.network).network
    (real,), drawn = real_images(), drawn_for(player, 7)
    terms = critic_iteration(player, generator, [real], drawn, ENGINE)
    (z,), (alpha,) = drawn.latents, drawn.penalty
    fake = generator(z).detach()
    estimate = (
        upsample_critic_by_hand(critic, real, "real").mean() - upsample_critic_by_hand(critic, fake, "fake").mean()
    )
    assert terms["wasserstein"].item() == pytest.approx(estimate.item(), rel=1e-10)
    mixed = interpolate(real, fake, alpha).requires_grad_()
    (gradient,) = torch.autograd.grad(upsample_critic_by_hand(critic, mixed, "penalty").sum(), mixed)
    assert terms["gradient_norm"].item() == pytest.approx(gradient.flatten(1).norm(dim=1).mean().item(), rel=1e-9)


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
