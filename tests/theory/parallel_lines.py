"""`python -m tests.theory.parallel_lines`: the distances that a critic and a discriminator report of parallel lines.

Example 1 of Arjovsky et al. 2017: the real points are (0, y), the generated ones (θ, y), y uniform on [0, 1]. The
Wasserstein distance is |θ|, with a gradient everywhere; the Jensen-Shannon divergence is log 2 for every θ ≠ 0, without
a gradient. Here trained networks estimate both, and autograd computes the gradients.
"""

import argparse
import math
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import torch
from torch import Tensor

from wgan_dist.config.image_size import square
from wgan_dist.evaluation.lipschitz_distance import POINT_TRAINING, lipschitz_distance
from wgan_dist.losses.adversarial import LOSSES
from wgan_dist.losses.gradient_penalty import PENALTIES, gradient_norms
from wgan_dist.losses.modules import CriticLoss, CriticMasks
from wgan_dist.models.registry import build_critic, critic_spec
from wgan_dist.ops.double_backward import input_gradient
from wgan_dist.utils import rng

DISTANCES = (0.25, 0.5, 1.0, 2.0)
FEATURES, BATCH, STEPS, LEARNING_RATE = 64, 256, 800, 2e-3
PENALTY_WEIGHT = 50.0
# The points of each line of the certified estimate, and the level of its lower limit.
CERTIFIED_POINTS, LEVEL = 1000, 0.95
GRID_POINTS = 200


@dataclass(frozen=True)
class Estimates:
    """The estimates of trained networks for lines at `distance`.

    `wasserstein` is the critic's estimate divided by its measured Lipschitz constant, and `divergence` is the
    discriminator's Jensen-Shannon divergence in nats. The gradients are those of the generator losses in θ: of the
    critic's, divided by its Lipschitz constant, and of the minimax loss log(1 − D).
    """

    distance: float
    lipschitz: float
    wasserstein: float
    critic_gradient: float
    divergence: float
    minimax_gradient: float


def _line(x: float | Tensor, seed: int, counter: int, count: int = BATCH) -> Tensor:
    y = torch.as_tensor(rng.uniform(seed, "lines", counter, (count,)), dtype=torch.float32)
    return torch.stack([torch.ones(count) * x, y], dim=1)


def _train(loss: str, penalty: str, distance: float, seed: int) -> CriticLoss:
    """Train a critic of the package with its loss module until the learning rate has fallen to zero."""
    critic = build_critic(critic_spec("points", square(1), 2, FEATURES, "none"), seed)
    loss_module = CriticLoss(critic, LOSSES[loss], PENALTIES.get(penalty), PENALTY_WEIGHT)
    optimizer = torch.optim.Adam(loss_module.parameters(), LEARNING_RATE, betas=(0.5, 0.9))
    decay = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, STEPS)
    for step in range(STEPS):
        alpha = torch.as_tensor(rng.uniform(seed, "alpha", step, (BATCH,)), dtype=torch.float32)
        optimizer.zero_grad()
        total, _ = loss_module(_line(0.0, seed, 2 * step), _line(distance, seed, 2 * step + 1), alpha, CriticMasks())
        total.backward()
        optimizer.step()
        decay.step()
    return loss_module


def lipschitz_constant(critic: torch.nn.Module, distance: float) -> float:
    """Return the greatest gradient norm on a dense grid over the rectangle between the lines."""
    x, y = torch.linspace(0.0, distance, GRID_POINTS), torch.linspace(0.0, 1.0, GRID_POINTS)
    return float(gradient_norms(input_gradient(critic, torch.cartesian_prod(x, y))).detach().max())


def _gradient_in_theta(critic: torch.nn.Module, distance: float, seed: int, minimax: bool) -> float:
    """Return |d loss / dθ| of a generator whose only parameter is θ."""
    theta = torch.tensor(distance, requires_grad=True)
    scores = critic(_line(theta, seed, -1))
    loss = torch.nn.functional.logsigmoid(-scores).mean() if minimax else -scores.mean()
    return abs(float(torch.autograd.grad(loss, theta)[0]))


def estimate(distance: float, seed: int = 0) -> Estimates:
    """Train a critic and a discriminator on lines at `distance` and measure their estimates."""
    critic = _train("wasserstein", "gp", distance, seed).critic
    discriminator = _train("bce", "none", distance, seed)
    real, fake = _line(0.0, seed, -2), _line(distance, seed, -1)
    constant = lipschitz_constant(critic, distance)
    with torch.no_grad():
        difference = float(critic(real).mean() - critic(fake).mean())
        cross_entropy = float(discriminator(real, fake, torch.empty(0), CriticMasks())[0])
    return Estimates(
        distance,
        constant,
        difference / constant,
        _gradient_in_theta(critic, distance, seed, minimax=False) / constant,
        math.log(2.0) - cross_entropy / 2.0,  # Goodfellow et al. 2014, theorem 1
        _gradient_in_theta(discriminator.critic, distance, seed, minimax=True),
    )


def certified(distance: float, seed: int = 0) -> tuple[float, float]:
    """Return the estimate of critics that are 1-Lipschitz by construction, on points unseen by them, and its limit."""
    lines = _line(0.0, seed, -3, CERTIFIED_POINTS), _line(distance, seed, -4, CERTIFIED_POINTS)
    found = lipschitz_distance(*lines, POINT_TRAINING, seed, torch.device("cpu"))
    return found.estimate, found.lower(LEVEL)


def draw(estimates: list[Estimates], bounds: list[tuple[float, float]], path: Path) -> None:
    """Draw the distances and both gradients over θ."""
    from matplotlib.figure import Figure

    figure = Figure((8, 3), 120, layout="constrained")
    left, right = figure.subplots(1, 2)
    theta = [values.distance for values in estimates]
    left.plot([0, 2], [0, 2], color="grey", linewidth=0.8, label="|θ|")
    left.axhline(math.log(2.0), color="grey", linestyle=":", label="log 2")
    left.plot(
        theta,
        [values.wasserstein for values in estimates],
        "o",
        color="tab:blue",
        label="critic / Lipschitz constant",
    )
    left.plot(
        theta, [lower for _, lower in bounds], "_", color="tab:green", markersize=12, label="certified lower limit"
    )
    left.plot(theta, [values.divergence for values in estimates], "s", color="tab:orange", label="discriminator's JS")
    left.set(xlabel="θ", ylabel="reported distance")
    right.semilogy(theta, [values.critic_gradient for values in estimates], "o-", color="tab:blue", label="Wasserstein")
    right.semilogy(
        theta, [values.minimax_gradient for values in estimates], "s-", color="tab:orange", label="log(1 − D)"
    )
    right.set(xlabel="θ", ylabel="|d generator loss / dθ|")
    left.legend(fontsize=7)
    right.legend(fontsize=7)
    figure.savefig(path)


def main() -> None:
    """Print the table and draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("parallel_lines.png"))
    out = parser.parse_args().out
    estimates = [estimate(distance) for distance in DISTANCES]
    bounds = [certified(distance) for distance in DISTANCES]
    print(" | ".join([*(field.name for field in fields(Estimates)), "certified", "lower limit"]))
    for values, bound in zip(estimates, bounds, strict=True):
        print(" | ".join(f"{value:.4g}" for value in (*astuple(values), *bound)))
    draw(estimates, bounds, out)
    print(out)


if __name__ == "__main__":
    main()
