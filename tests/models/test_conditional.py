"""Networks that take the class of a sample: layers by hand, every family and method, and their losses."""

import copy
import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from wgan_dist.config.config import CRITIC_LABELS, GENERATOR_LABELS
from wgan_dist.config.image_size import ImageSize, square
from wgan_dist.config.network_choices import CRITICS, GENERATORS
from wgan_dist.losses.adversarial import LOSSES
from wgan_dist.losses.gradient_penalty import PENALTIES
from wgan_dist.losses.modules import CriticLoss, CriticMasks, GeneratorLoss, detached_critic
from wgan_dist.models.conditional_critics import CRITIC_METHODS, ClassifiedScores
from wgan_dist.models.layers import ConditionalBatchNorm
from wgan_dist.models.registry import build_critic, build_generator, critic_spec, generator_spec
from wgan_dist.utils.errors import UserError

CLASSES, LATENT, COUNT, WEIGHT, SIZE = 3, 5, 6, 10.0, square(16)
LABELS = torch.tensor([0, 2, 1, 1, 0, 2])
FAMILIES = {
    "dcgan": "dcgan",
    "dcgan_original": "dcgan_original",
    "dcgan_upsample": "dcgan_minibatch",
    "sagan": "sagan",
    "resnet": "resnet",
    "upsample": "upsample",
    "mlp": "mlp",
    "mlp_bn": "mlp",
}
WASSERSTEIN = LOSSES["wasserstein"]


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def make_generator(name: str, labels: str = "auto", size: ImageSize = SIZE) -> nn.Module:
    spec = generator_spec(name, LATENT, size, 2, 2, "auto", classes=CLASSES, labels=labels)
    return build_generator(spec, seed=1).double()


def make_critic(name: str, labels: str, size: ImageSize = SIZE) -> Any:
    norm = "none" if "none" in CRITICS[name].norms else "layer"
    return build_critic(critic_spec(name, size, 2, 2, norm, classes=CLASSES, labels=labels), seed=1).double()


def randomise(network: nn.Module) -> Any:
    """Give every parameter a value at which nothing is zero by its initialisation."""
    with torch.no_grad():
        for number, parameter in enumerate(network.parameters()):
            parameter.copy_(0.5 * draw(*parameter.shape, seed=number))
    return network


def test_the_methods_are_those_of_the_settings() -> None:
    assert tuple(CRITIC_METHODS) == CRITIC_LABELS
    assert GENERATOR_LABELS == ("auto", "norm", "embedding")
    assert FAMILIES.keys() == GENERATORS.keys() - {"points"}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", [(COUNT, 4, 3, 5), (COUNT, 4)])
def test_conditional_batchnorm_scales_and_shifts_by_the_class_of_each_sample(
    shape: tuple[int, ...], training: bool
) -> None:
    norm = nn.BatchNorm2d(4, affine=False) if len(shape) == 4 else nn.BatchNorm1d(4, affine=False)
    layer = ConditionalBatchNorm(norm, CLASSES).double().train(training)
    x = 2.0 + 3.0 * draw(*shape)
    axes = [0, 2, 3] if len(shape) == 4 else [0]
    mean, variance = (x.mean(axes), x.var(axes, correction=0)) if training else (torch.zeros(4), torch.ones(4))
    normalised = (x.movedim(1, -1) - mean) / (variance + norm.eps).sqrt()
    torch.testing.assert_close(layer(x, LABELS), normalised.movedim(-1, 1).double())  # before training
    randomise(layer)
    scale, shift = layer.affine.weight[:, :4], layer.affine.weight[:, 4:]
    for number, label in enumerate(LABELS):
        expected = (normalised[number] * scale[label] + shift[label]).movedim(-1, 0).double()
        torch.testing.assert_close(layer.train(training)(x, LABELS)[number], expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_conditional_batchnorm_keeps_the_type_of_half_precision(dtype: torch.dtype) -> None:
    layer = ConditionalBatchNorm(nn.BatchNorm2d(4, affine=False), CLASSES)
    assert layer(draw(COUNT, 4, 3, 3).to(dtype), LABELS).dtype == dtype


@pytest.mark.parametrize(
    ("name", "labels"),
    [(name, labels) for name in FAMILIES for labels in ("norm", "embedding") if (name, labels) != ("mlp", "norm")],
)
def test_every_generator_makes_other_samples_of_another_class(name: str, labels: str) -> None:
    size = ImageSize(16, 20)
    network = randomise(make_generator(name, labels, size)).eval()
    z = draw(1, LATENT).expand(CLASSES, -1)
    samples = network(z, torch.arange(CLASSES))
    assert samples.shape == (CLASSES, 2, 16, 20)
    assert all(not torch.allclose(*samples[[a, b]]) for a, b in itertools.combinations(range(CLASSES), 2))
    torch.testing.assert_close(network(z, torch.tensor([2, 2, 1]))[[0, 2]], samples[[2, 1]])


def test_a_generator_without_batchnorm_takes_an_embedding() -> None:
    specs = {
        (name, norm): generator_spec(name, LATENT, square(16), 1, 2, norm, classes=CLASSES).labels
        for name, norm in (("dcgan", "batch"), ("dcgan", "instance"), ("mlp", "auto"), ("upsample", "auto"))
    }
    assert list(specs.values()) == ["norm", "embedding", "embedding", "norm"]
    with pytest.raises(UserError, match="generator_labels=norm with generator_norm=instance: expected batch"):
        generator_spec("dcgan", LATENT, square(16), 1, 2, "instance", classes=CLASSES, labels="norm")


def outputs(critic: nn.Module, samples: Tensor, labels: Tensor) -> Tensor:
    output = critic(samples, labels)
    return output.scores if isinstance(output, ClassifiedScores) else output


@pytest.mark.parametrize("labels", CRITIC_LABELS)
@pytest.mark.parametrize("name", sorted(CRITICS.keys() - {"points"}))
def test_critics_score_a_sample_by_its_class_unless_they_classify(name: str, labels: str) -> None:
    critic = randomise(make_critic(name, labels))
    samples = draw(1, 2, 16, 16).expand(CLASSES, -1, -1, -1)
    scores = outputs(critic, samples, torch.arange(CLASSES))
    assert scores.shape == (CLASSES,)
    # The rows of a product of matrices differ by rounding on some processors.
    distinct = len({round(score, 9) for score in scores.tolist()})
    assert distinct == (1 if labels == "acgan" else CLASSES)


@pytest.mark.parametrize("name", ["dcgan", "upsample", "resnet", "mlp"])
def test_a_projection_is_the_score_plus_a_product_with_the_vector_of_the_class(name: str) -> None:
    critic = randomise(make_critic(name, "projection"))
    samples = draw(COUNT, 2, 16, 16)
    features = critic.critic.features(samples).flatten(1)
    vectors = critic.class_layer.weight
    expected = critic.critic(samples) + torch.stack([vectors[y] @ phi for y, phi in zip(LABELS, features, strict=True)])
    torch.testing.assert_close(critic(samples, LABELS), expected)
    assert critic.class_layer.bias is None


def test_a_label_map_is_one_more_channel() -> None:
    critic = randomise(make_critic("dcgan", "concat", ImageSize(16, 20)))
    samples = draw(COUNT, 2, 16, 20)
    maps = critic.maps.weight.view(CLASSES, 1, 16, 20)[LABELS]
    torch.testing.assert_close(critic(samples, LABELS), critic.critic(torch.cat([samples, maps], 1)))


def make_losses(name: str, labels: str) -> tuple[CriticLoss, GeneratorLoss]:
    critic, generator = randomise(make_critic(FAMILIES[name], labels)), randomise(make_generator(name))
    critic_loss = CriticLoss(critic, WASSERSTEIN, PENALTIES["gp"], WEIGHT, 0.7)
    return critic_loss, GeneratorLoss(generator, detached_critic(critic), WASSERSTEIN, 0.3)


@pytest.mark.parametrize("labels", CRITIC_LABELS)
@pytest.mark.parametrize("name", FAMILIES)
def test_every_parameter_gets_a_gradient_of_its_own_loss_and_of_no_other(name: str, labels: str) -> None:
    critic_loss, generator_loss = make_losses(name, labels)
    real, z, alpha = draw(COUNT, 2, 16, 16), draw(COUNT, LATENT, seed=1), torch.rand(COUNT).double()
    with torch.no_grad():
        fake = generator_loss.generator(z, LABELS)
    critic_loss(real, fake, alpha, CriticMasks(), None, LABELS)[0].backward()
    # A constant that is added to every score of both kinds of samples changes nothing.
    without = {name for name, parameter in critic_loss.named_parameters() if parameter.grad is None}
    assert not without
    critic_loss.zero_grad()
    generator_loss(z, (), LABELS)[0].backward()
    assert all(parameter.grad is None for parameter in critic_loss.parameters())
    assert all(parameter.grad is not None for parameter in generator_loss.parameters())


@pytest.mark.parametrize("labels", ["projection", "concat"])
def test_the_penalty_is_that_of_the_critic_of_each_class(labels: str) -> None:
    critic_loss, _ = make_losses("dcgan", labels)
    real, fake, alpha = draw(COUNT, 2, 16, 16), draw(COUNT, 2, 16, 16, seed=1), torch.rand(COUNT).double()
    _, metrics = critic_loss(real, fake, alpha, CriticMasks(), None, LABELS)
    norms = []
    for number in range(COUNT):
        point = (alpha[number] * real[number] + (1 - alpha[number]) * fake[number])[None].requires_grad_()
        score = critic_loss.critic(point, LABELS[number : number + 1]).sum()
        norms.append(torch.autograd.grad(score, point)[0].norm())
    expected = (torch.stack(norms) - 1.0).square().mean()
    assert metrics["gradient_penalty"].item() == pytest.approx(expected.item(), rel=1e-9)


def test_a_classifying_critic_learns_the_classes_of_real_samples_and_the_generator_those_it_was_asked_for() -> None:
    critic_loss, generator_loss = make_losses("mlp", "acgan")
    critic: Any = critic_loss.critic
    generator = generator_loss.generator
    plain = CriticLoss(copy.deepcopy(critic.critic), WASSERSTEIN, PENALTIES["gp"], WEIGHT)
    real, z, alpha = draw(COUNT, 2, 16, 16), draw(COUNT, LATENT, seed=1), torch.rand(COUNT).double()
    fake = generator(z, LABELS).detach()
    loss, metrics = critic_loss(real, fake, alpha, CriticMasks(), None, LABELS)
    without, _ = plain(real, fake, alpha, CriticMasks())
    of_real = cross_entropy(critic(real, LABELS).logits, LABELS)
    assert loss.item() == pytest.approx((without + 0.7 * of_real).item(), rel=1e-9)
    assert metrics["real_class_loss"].item() == pytest.approx(of_real.item(), rel=1e-9)
    loss, metrics = generator_loss(z, (), LABELS)
    of_fake = cross_entropy(critic(fake, LABELS).logits, LABELS)
    assert loss.item() == pytest.approx((-critic.critic(fake).mean() + 0.3 * of_fake).item(), rel=1e-9)
    assert metrics["fake_class_loss"].item() == pytest.approx(of_fake.item(), rel=1e-9)


def test_spectral_norm_bounds_the_vectors_of_a_projection() -> None:
    spec = critic_spec("dcgan", square(16), 1, 2, "none", True, CLASSES, "projection")
    critic: Any = build_critic(spec)
    for _ in range(50):
        critic(torch.zeros(2, 1, 16, 16), torch.zeros(2, dtype=torch.int64))  # a power iteration each
    class_layer = critic.class_layer
    assert torch.linalg.matrix_norm(class_layer.weight, 2).item() == pytest.approx(1.0, rel=1e-3)
