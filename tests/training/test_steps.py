"""One step of either network: micro-batches, pretended processes, and what a step may not touch."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from accelerate import Accelerator, DistributedType, PartialState
from torch import Tensor, nn

from wgan_dist.config.image_size import square
from wgan_dist.distributed import World, micro_batch_slices
from wgan_dist.losses.adversarial import LOSSES
from wgan_dist.losses.gradient_penalty import PENALTIES, Penalty, interpolate
from wgan_dist.losses.modules import CriticInputs, CriticLoss, CriticMasks, GeneratorLoss, detached_critic
from wgan_dist.models.registry import build_critic, build_generator, critic_spec, generator_spec
from wgan_dist.training.buffer_snapshot import BufferSnapshot
from wgan_dist.training.ema import EMAGenerator
from wgan_dist.training.grad_scaler import GradScaler
from wgan_dist.training.noise import NoiseSource, TrainingNoise
from wgan_dist.training.real_batches import RealBatch
from wgan_dist.training.steps import GAN, TrainableNetwork, critic_step, generator_step, update
from wgan_dist.utils import rng

BATCH, LATENT_DIM, SEED = 8, 5, 3
SHAPE = (1, 28, 28)
STD = 0.25
WASSERSTEIN = LOSSES["wasserstein"]


def trainable(network: nn.Module, loss: nn.Module) -> TrainableNetwork:
    optimizer = torch.optim.SGD(network.parameters(), 0.1, fused=True)
    return TrainableNetwork(
        network, loss, optimizer, GradScaler(optimizer, BufferSnapshot([]), torch.device("cpu"), dynamic=False)
    )


def make_gan(name: str = "mlp", penalty: str = "gp") -> GAN:
    """Both networks; the generator has no BatchNorm, whose statistics would depend on the micro-batches."""
    critic = build_critic(critic_spec(name, square(SHAPE[1]), SHAPE[0], 2, "none")).double()
    generator = build_generator(generator_spec("mlp", LATENT_DIM, square(SHAPE[1]), SHAPE[0], 2, "none")).double()
    return GAN(
        generator=trainable(generator, GeneratorLoss(generator, detached_critic(critic), WASSERSTEIN)),
        critic=trainable(critic, CriticLoss(critic, WASSERSTEIN, PENALTIES[penalty], 10.0)),
        ema=EMAGenerator(generator, 0.999),
        generate=generator,
        accelerator=Accelerator(cpu=True),
    )


def noise_for(gan: GAN, accumulation: int = 1, reuse_latents: bool = False) -> TrainingNoise:
    """The noise of both steps, for whatever penalty and dropout the critic has."""
    slices = micro_batch_slices(BATCH, accumulation, World(rank=0, size=1))
    source = NoiseSource(SEED, LATENT_DIM, "normal", slices, torch.device("cpu"), torch.float64)
    penalty = gan.critic.loss.penalty
    assert isinstance(penalty, Penalty)
    dropouts = getattr(gan.critic.network, "dropouts", ())
    return TrainingNoise(source, source, penalty, SHAPE, STD, dropouts, reuse_latents)


def step_critic(gan: GAN, iteration: int, accumulation: int = 1) -> dict[str, Tensor]:
    real = RealBatch(real_images(accumulation), [None] * accumulation)
    return critic_step(gan, real, noise_for(gan, accumulation).critic(iteration))


def step_generator(gan: GAN, step: int, accumulation: int = 1) -> dict[str, Tensor]:
    noise = noise_for(gan, accumulation)
    return generator_step(gan, noise.generator(step, noise.critic(0)), RealBatch(real_images(accumulation), []))


def real_images(accumulation: int = 1) -> list[Tensor]:
    whole = torch.as_tensor(2.0 * rng.uniform(SEED, "test.real", 0, (BATCH, *SHAPE)) - 1.0)
    return list(whole.chunk(accumulation))


def gradients(network: nn.Module) -> list[Tensor]:
    return [parameter.grad for parameter in network.parameters() if parameter.grad is not None]


def assert_close(ours: list[Tensor], theirs: list[Tensor]) -> None:
    assert ours
    for mine, other in zip(ours, theirs, strict=True):
        assert (mine - other).norm() <= 1e-12 * other.norm()


@pytest.mark.parametrize("accumulation", [2, 4, 8])
@pytest.mark.parametrize(("name", "penalty"), [("mlp", "gp"), ("mlp", "dragan"), ("upsample", "gp")])
def test_micro_batches_give_the_critic_the_gradient_and_metrics_of_the_whole_batch(
    name: str, penalty: str, accumulation: int
) -> None:
    whole, parts = make_gan(name, penalty), make_gan(name, penalty)
    expected = step_critic(whole, 4)
    metrics = step_critic(parts, 4, accumulation)
    assert_close(gradients(parts.critic.network), gradients(whole.critic.network))
    assert_close(list(parts.critic.network.parameters()), list(whole.critic.network.parameters()))
    assert {name: value.item() for name, value in metrics.items()} == pytest.approx(
        {name: value.item() for name, value in expected.items()}, rel=1e-12
    )


@pytest.mark.parametrize("accumulation", [2, 4, 8])
@pytest.mark.parametrize("name", ["mlp", "upsample"])
def test_micro_batches_give_the_generator_the_gradient_of_the_whole_batch(name: str, accumulation: int) -> None:
    whole, parts = make_gan(name), make_gan(name)
    step_generator(whole, 4)
    step_generator(parts, 4, accumulation)
    assert_close(gradients(parts.generator.network), gradients(whole.generator.network))


def test_a_step_moves_the_weights_against_the_gradient() -> None:
    gan = make_gan()
    network = gan.critic.network
    before = copy.deepcopy(network)
    step_critic(gan, 0)
    expected = [old - 0.1 * slope for old, slope in zip(before.parameters(), gradients(network), strict=True)]
    assert_close(list(network.parameters()), expected)


def test_clipping_bounds_the_weights_after_the_step() -> None:
    gan = replace(make_gan(), clip_value=0.01)
    step_critic(gan, 0)
    assert max(float(value.detach().abs().max()) for value in gan.critic.network.parameters()) == 0.01
    assert max(float(value.detach().abs().max()) for value in gan.generator.network.parameters()) > 0.01


def test_a_step_forgets_the_gradients_before_it() -> None:
    clean, stained = make_gan(), make_gan()
    for parameter in stained.critic.network.parameters():
        parameter.grad = torch.ones_like(parameter)
    for gan in (clean, stained):
        step_critic(gan, 0)
    assert_close(gradients(stained.critic.network), gradients(clean.critic.network))


class NoSyncRecorder(nn.Module):
    """A loss that notes when its gradients are computed, and when their averaging is held back."""

    def __init__(self, loss: nn.Module, events: list[str]) -> None:
        super().__init__()
        self.loss, self.events = loss, events

    @contextmanager
    def no_sync(self) -> Iterator[None]:
        self.events.append("held back")
        yield
        self.events.append("over")

    def forward(self, *inputs: Any) -> Any:
        loss, metrics = self.loss(*inputs)
        loss.register_hook(lambda gradient: self.events.append("backward"))
        return loss, metrics


def test_only_the_last_micro_batch_averages_gradients_over_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    gan, real = make_gan(), real_images()[0]
    monkeypatch.setattr(PartialState(), "distributed_type", DistributedType.MULTI_CPU)
    monkeypatch.setattr(PartialState(), "num_processes", 2)
    trained = replace(gan.critic, loss=NoSyncRecorder(gan.critic.loss, events))
    update(gan, trained, (CriticInputs(real, real, torch.zeros(BATCH), CriticMasks()) for _ in range(3)), 3)
    assert events == ["held back", "backward", "over"] * 2 + ["backward"]


def test_a_critic_step_leaves_the_generators_parameters_and_gradients_untouched() -> None:
    gan = make_gan()
    generator = gan.generator.network
    before = copy.deepcopy(generator.state_dict())
    step_critic(gan, 0)
    assert all(torch.equal(value, before[name]) for name, value in generator.state_dict().items())
    assert gradients(generator) == []
    assert all(parameter.requires_grad for parameter in generator.parameters())


def test_a_generator_step_leaves_the_critics_parameters_and_gradients_untouched() -> None:
    gan = make_gan()
    critic = gan.critic.network
    before = copy.deepcopy(critic.state_dict())
    step_generator(gan, 0)
    assert all(torch.equal(value, before[name]) for name, value in critic.state_dict().items())
    assert gradients(critic) == []


def test_a_critic_step_meets_the_noise_of_its_own_number() -> None:
    gan = make_gan()
    critic, generator = copy.deepcopy(gan.critic.network), gan.generator.network
    metrics = step_critic(gan, 7)
    z = torch.as_tensor(rng.normal(SEED, "critic.z", 7, (BATCH, LATENT_DIM)))
    alpha = torch.as_tensor(rng.uniform(SEED, "critic.alpha", 7, (BATCH,)))
    (real,), fake = real_images(), generator(z).detach()
    assert metrics["wasserstein"].item() == pytest.approx((critic(real).mean() - critic(fake).mean()).item(), rel=1e-12)
    mixed = interpolate(real, fake, alpha).requires_grad_()
    (gradient,) = torch.autograd.grad(critic(mixed).sum(), mixed)
    assert metrics["gradient_norm"].item() == pytest.approx(gradient.flatten(1).norm(dim=1).mean().item(), rel=1e-9)


@pytest.mark.parametrize(("reuse", "stream"), [(False, "generator.z"), (True, "critic.z")])
def test_a_generator_step_meets_the_noise_of_its_own_number_or_of_the_critics_iteration(
    reuse: bool, stream: str
) -> None:
    gan = make_gan()
    generator, critic = copy.deepcopy(gan.generator.network), gan.critic.network
    noise = noise_for(gan, reuse_latents=reuse)
    metrics = generator_step(gan, noise.generator(7, noise.critic(7)), RealBatch(real_images(), [None]))
    z = torch.as_tensor(rng.normal(SEED, stream, 7, (BATCH, LATENT_DIM)))
    assert metrics["generator_loss"].item() == pytest.approx(-critic(generator(z)).mean().item(), rel=1e-12)


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
    gan = make_gan("upsample")
    critic, generator = copy.deepcopy(gan.critic.network), gan.generator.network
    (real,), noise = real_images(), noise_for(gan).critic(7)
    terms = critic_step(gan, RealBatch([real], [None]), noise)
    (z,), (alpha,) = noise.latents, noise.penalty
    fake = generator(z).detach()
    estimate = (
        upsample_critic_by_hand(critic, real, "real").mean() - upsample_critic_by_hand(critic, fake, "fake").mean()
    )
    assert terms["wasserstein"].item() == pytest.approx(estimate.item(), rel=1e-10)
    mixed = interpolate(real, fake, alpha).requires_grad_()
    (gradient,) = torch.autograd.grad(upsample_critic_by_hand(critic, mixed, "penalty").sum(), mixed)
    assert terms["gradient_norm"].item() == pytest.approx(gradient.flatten(1).norm(dim=1).mean().item(), rel=1e-9)
