"""The averaged generator against the closed form of its recurrence."""

import pytest
import torch
from torch import Tensor, nn

from wgan_dist.config import Config
from wgan_dist.config.image_size import square
from wgan_dist.models.registry import build_generator, generator_spec
from wgan_dist.training.build import ema_decay_of
from wgan_dist.training.ema import EMAGenerator, warmed_up_decay

DECAY = 0.2
# min(0.2, (1 + t) / (10 + t)) at t = 0, 1, 2, 3, written out.
DECAYS = [1 / 10, 2 / 11, 0.2, 0.2]


def make_generator() -> nn.Module:
    return build_generator(generator_spec("mlp_bn", 5, square(4), 1, 4, "batch")).double()


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def train_a_little(generator: nn.Module, seed: int) -> None:
    """Change parameters, running statistics and the count of batches, in place."""
    generator(draw(3, 5, seed=seed))
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.add_(draw(*parameter.shape, seed=seed))


def copy_of(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def test_the_decay_warms_up_from_a_tenth_to_its_value() -> None:
    assert [warmed_up_decay(DECAY, step) for step in range(4)] == pytest.approx(DECAYS)
    # (1 + t) / (10 + t) = 0.999 at t = 8990.
    assert warmed_up_decay(0.999, 8989) < 0.999
    assert warmed_up_decay(0.999, 8991) == 0.999


def test_parameters_and_running_statistics_follow_the_closed_form() -> None:
    generator = make_generator()
    average = EMAGenerator(generator, DECAY)
    states = [copy_of(generator)]
    for step in range(4):
        train_a_little(generator, seed=step)
        average.update(step)
        states.append(copy_of(generator))
    # State k weighs (1 − d_k) · d_{k+1} ⋯ d_n, and the initial state d_1 ⋯ d_n.
    decays = torch.tensor([0.0, *DECAYS], dtype=torch.float64)
    weights = (1.0 - decays) * torch.stack([decays[k + 1 :].prod() for k in range(5)])
    assert weights.sum() == pytest.approx(1.0)
    for name, value in average.network.state_dict().items():
        if value.is_floating_point():
            expected = torch.stack([weight * state[name] for weight, state in zip(weights, states, strict=True)]).sum(0)
            torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-14, msg=name)


def test_the_count_of_batches_is_copied() -> None:
    generator = make_generator()
    average = EMAGenerator(generator, 0.999)
    for step in range(3):
        train_a_little(generator, seed=step)
        average.update(step)
    counts = {name: value for name, value in average.network.state_dict().items() if not value.is_floating_point()}
    assert [(name[-7:], int(value)) for name, value in counts.items()] == [("tracked", 3)] * 3


def test_a_decay_of_zero_follows_the_generator_exactly() -> None:
    generator = make_generator()
    average = EMAGenerator(generator, 0.0)
    train_a_little(generator, seed=1)
    average.update(0)
    state = generator.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in average.network.state_dict().items())


def test_a_restart_forgets_the_past() -> None:
    generator = make_generator()
    average = EMAGenerator(generator, 0.999)
    for step in range(2):
        train_a_little(generator, seed=step)
        average.update(step)
    train_a_little(generator, seed=2)
    average.restart()
    state = generator.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in average.network.state_dict().items())


def test_the_average_starts_as_a_copy_that_shares_nothing() -> None:
    generator = make_generator()
    before = copy_of(generator)
    average = EMAGenerator(generator, 0.999)
    train_a_little(generator, seed=1)
    assert all(torch.equal(value, before[name]) for name, value in average.network.state_dict().items())


def test_the_average_is_in_evaluation_mode_without_gradients_and_leaves_the_generator_in_training() -> None:
    generator = make_generator()
    average = EMAGenerator(generator, 0.999)
    average.update(0)
    assert not any(module.training for module in average.network.modules())
    assert not any(parameter.requires_grad for parameter in average.network.parameters())
    assert all(module.training for module in generator.modules())
    assert all(parameter.requires_grad for parameter in generator.parameters())


def test_a_weight_used_in_two_places_is_averaged_once() -> None:
    shared = nn.Linear(3, 3).double()
    network = nn.Sequential(shared, nn.ReLU(), shared)
    average = EMAGenerator(network, DECAY)
    before = shared.weight.detach().clone()
    with torch.no_grad():
        shared.weight.add_(1.0)
    average.update(0)
    torch.testing.assert_close(average.network.state_dict()["0.weight"], before + 1.0 - DECAYS[0])


# --- spectral norm ---


def spectral_generator(name: str = "dcgan") -> nn.Module:
    return build_generator(generator_spec(name, 5, square(16), 1, 4, "batch", spectral_norm=True)).double()


def vectors(network: nn.Module) -> list[Tensor]:
    """The singular vectors of every normalised weight."""
    return [value for name, value in network.named_buffers() if name.endswith(("._u", "._v"))]


def effective_norms(network: nn.Module) -> list[float]:
    """The largest singular value of every weight as it is used; a transposed convolution's outputs are its columns."""
    norms = []
    for module in network.modules():
        if isinstance(module, nn.ConvTranspose2d):
            norms.append(module.weight.transpose(0, 1).flatten(1))
        elif isinstance(module, (nn.Conv2d, nn.Linear)):
            norms.append(module.weight.flatten(1))
    return [float(torch.linalg.matrix_norm(weight, ord=2)) for weight in norms]


def drift(generator: nn.Module, steps: int) -> None:
    """As training does: a pass, then a small change of every weight."""
    for step in range(steps):
        generator(draw(3, 5, seed=step))
        with torch.no_grad():
            for number, parameter in enumerate(generator.parameters()):
                change = draw(*parameter.shape, seed=1000 * number + step % 2)
                parameter.add_(change, alpha=0.03 * float(parameter.std(correction=0)))


@pytest.mark.parametrize("name", ["dcgan", "sagan"])
def test_the_weights_of_an_averaged_generator_have_the_spectral_norm_one(name: str) -> None:
    generator = spectral_generator(name)
    average = EMAGenerator(generator, 0.9)
    for step in range(60):
        drift(generator, 1)
        average.update(step)
    norms = effective_norms(average.network)
    assert len(norms) == (3 if name == "dcgan" else 3 + 2 * 4)
    assert norms == pytest.approx([1.0] * len(norms), abs=0.03)


def test_the_singular_vectors_of_an_averaged_generator_are_the_newest_and_of_unit_length() -> None:
    generator = spectral_generator()
    average = EMAGenerator(generator, 0.999)
    for step in range(3):
        generator(draw(3, 5, seed=step))
        with torch.no_grad():
            for parameter in generator.parameters():
                parameter.copy_(draw(*parameter.shape, seed=step))
        average.update(step)
    ours, theirs = vectors(average.network), vectors(generator)
    assert len(ours) == 6
    assert all(torch.equal(*pair) for pair in zip(ours, theirs, strict=True))
    assert [float(vector.norm()) for vector in ours] == pytest.approx([1.0] * 6, rel=1e-12)


def test_the_original_weights_under_spectral_norm_are_averaged() -> None:
    generator = spectral_generator()
    average = EMAGenerator(generator, DECAY)
    name = "body.0.parametrizations.weight.original"
    before = copy_of(generator)[name]
    drift(generator, 1)
    average.update(0)
    expected = DECAYS[0] * before + (1 - DECAYS[0]) * generator.state_dict()[name]
    torch.testing.assert_close(average.network.state_dict()[name], expected, rtol=1e-12, atol=0)
    assert not torch.equal(expected, before)


def test_a_restart_takes_the_singular_vectors_too() -> None:
    generator = spectral_generator()
    average = EMAGenerator(generator, 0.999)
    drift(generator, 2)
    average.restart()
    state = generator.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in average.network.state_dict().items())


def test_half_of_the_average_is_older_than_the_half_life() -> None:
    config = Config(batch_size=64, ema_half_life=640)
    assert ema_decay_of(config) ** 10 == pytest.approx(0.5)
    assert ema_decay_of(Config(ema_decay=0.97)) == 0.97
