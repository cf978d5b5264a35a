"""`python -m tests.theory.parallel_lines`: what a critic and a discriminator see of two parallel lines.

Example 1 of Arjovsky et al. 2017: the real points are (0, y), the generated ones (θ, y), y uniform on [0, 1]. The
Wasserstein distance is |θ|, with a gradient everywhere; the Jensen-Shannon divergence is log 2 for every θ ≠ 0, with
none. Here both are what trained networks say, and gradients are autograd's.
"""

import argparse
import math
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import torch
from torch import Tensor

from wgan_dist.losses.adversarial import LOSSES
from wgan_dist.losses.gradient_penalty import PENALTIES, gradient_norms
from wgan_dist.losses.modules import CriticLoss, CriticMasks
from wgan_dist.models.registry import build_critic, critic_spec
from wgan_dist.ops.double_backward import input_gradient
from wgan_dist.utils import rng

DISTANCES = (0.25, 0.5, 1.0, 2.0)
FEATURES, BATCH, STEPS, LEARNING_RATE = 64, 256, 800, 2e-3
PENALTY_WEIGHT = 50.0
GRID_PLACES = 200


@dataclass(frozen=True)
class Seen:
    """What the trained networks say of lines at `distance`.

    `wasserstein` is the critic's estimate over its measured Lipschitz constant; `divergence` the discriminator's
    Jensen-Shannon divergence in nats; the gradients are of each generator loss in θ: of the critic's (over its
    Lipschitz constant), and of the minimax one log(1 − D).
    """

    distance: float
    lipschitz: float
    wasserstein: float
    critic_gradient: float
    divergence: float
    minimax_gradient: float


def _line(place: float | Tensor, seed: int, counter: int) -> Tensor:
    y = torch.as_tensor(rng.uniform(seed, "lines", counter, (BATCH,)), dtype=torch.float32)
    return torch.stack([torch.ones(BATCH) * place, y], dim=1)


def _train(loss: str, penalty: str, distance: float, seed: int) -> CriticLoss:
    """A critic of the package's own, trained by its own objective until the learning rate has fallen to zero."""
    critic = build_critic(critic_spec("points", 1, 2, FEATURES, "none"), seed)
    objective = CriticLoss(critic, LOSSES[loss], PENALTIES.get(penalty), PENALTY_WEIGHT)
    optimizer = torch.optim.Adam(objective.parameters(), LEARNING_RATE, betas=(0.5, 0.9))
    decay = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, STEPS)
    for step in range(STEPS):
        alpha = torch.as_tensor(rng.uniform(seed, "alpha", step, (BATCH,)), dtype=torch.float32)
        optimizer.zero_grad()
        total, _ = objective(_line(0.0, seed, 2 * step), _line(distance, seed, 2 * step + 1), alpha, CriticMasks())
        total.backward()
        optimizer.step()
        decay.step()
    return objective


def lipschitz_constant(critic: torch.nn.Module, distance: float) -> float:
    """The greatest gradient norm over a dense grid of the rectangle between the lines."""
    x, y = torch.linspace(0.0, distance, GRID_PLACES), torch.linspace(0.0, 1.0, GRID_PLACES)
    return float(gradient_norms(input_gradient(critic, torch.cartesian_prod(x, y))).detach().max())


def _in_theta(critic: torch.nn.Module, distance: float, seed: int, minimax: bool) -> float:
    """|d loss / dθ| of the generator whose only parameter is θ."""
    theta = torch.tensor(distance, requires_grad=True)
    scores = critic(_line(theta, seed, -1))
    loss = torch.nn.functional.logsigmoid(-scores).mean() if minimax else -scores.mean()
    return abs(float(torch.autograd.grad(loss, theta)[0]))


def look(distance: float, seed: int = 0) -> Seen:
    """Train both on lines at `distance` and measure."""
    critic = _train("wasserstein", "gp", distance, seed).critic
    discriminator = _train("bce", "none", distance, seed)
    real, fake = _line(0.0, seed, -2), _line(distance, seed, -1)
    constant = lipschitz_constant(critic, distance)
    with torch.no_grad():
        estimate = float(critic(real).mean() - critic(fake).mean())
        cross_entropy = float(discriminator(real, fake, torch.empty(0), CriticMasks())[0])
    return Seen(
        distance,
        constant,
        estimate / constant,
        _in_theta(critic, distance, seed, minimax=False) / constant,
        math.log(2.0) - cross_entropy / 2.0,  # Goodfellow et al. 2014, theorem 1
        _in_theta(discriminator.critic, distance, seed, minimax=True),
    )


def draw(seen: list[Seen], path: Path) -> None:
    """Both distances, and both gradients, over θ."""
    from matplotlib.figure import Figure

    figure = Figure((8, 3), 120, layout="constrained")
    left, right = figure.subplots(1, 2)
    theta = [each.distance for each in seen]
    left.plot([0, 2], [0, 2], color="grey", linewidth=0.8, label="|θ|")
    left.axhline(math.log(2.0), color="grey", linestyle=":", label="log 2")
    left.plot(
        theta, [each.wasserstein for each in seen], "o", color="tab:blue", label="critic, over its Lipschitz constant"
    )
    left.plot(theta, [each.divergence for each in seen], "s", color="tab:orange", label="discriminator's JS")
    left.set(xlabel="θ", ylabel="distance it reports")
    right.semilogy(theta, [each.critic_gradient for each in seen], "o-", color="tab:blue", label="Wasserstein")
    right.semilogy(theta, [each.minimax_gradient for each in seen], "s-", color="tab:orange", label="log(1 − D)")
    right.set(xlabel="θ", ylabel="|d generator loss / dθ|")
    left.legend(fontsize=7)
    right.legend(fontsize=7)
    figure.savefig(path)


def main() -> None:
    """Print the table and draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("parallel_lines.png"))
    given = parser.parse_args()
    seen = [look(distance) for distance in DISTANCES]
    print(" | ".join(field.name for field in fields(Seen)))
    for each in seen:
        print(" | ".join(f"{value:.4g}" for value in astuple(each)))
    draw(seen, given.out)
    print(given.out)


if __name__ == "__main__":
    main()
