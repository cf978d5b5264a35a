"""The distance that a 1-Lipschitz critic measures, against closed forms and against critics under other constraints.

    python -m tests.benchmarks.distance                         # all parts that need no data set
    python -m tests.benchmarks.distance points --repeats=5
    python -m tests.benchmarks.distance fashion --data=TRAIN --test=TEST   # folders of Fashion-MNIST's idx files

A translation by s has the distance ‖s‖. The ratios are means over the repeats, with other samples and other seeds.
"""

import argparse
import dataclasses
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import conv2d, pad

from wgan_dist.config.image_size import ImageSize, square
from wgan_dist.data.datasets import ImageDataset, open_images
from wgan_dist.data.image_settings import ImageSettings
from wgan_dist.data.synthetic import DRAWS
from wgan_dist.evaluation.lipschitz_distance import (
    IMAGE_TRAINING,
    POINT_TRAINING,
    CriticTraining,
    Distance,
    lipschitz_distance,
)
from wgan_dist.losses.adversarial import LOSSES
from wgan_dist.losses.gradient_penalty import PENALTIES, clip_weights
from wgan_dist.losses.modules import CriticLoss, CriticMasks
from wgan_dist.models.registry import POINT_SIZE, build_critic, critic_spec
from wgan_dist.utils import rng

CPU = torch.device("cpu")
SHIFT, LEVEL = 2.0, 0.95
SAMPLES, DIMENSIONS = 2000, (2, 16, 128)
METHODS = ("gp", "lp", "spectral norm", "clip")
# As the papers have them, but for a learning rate at which 500 steps suffice.
PENALTY_WEIGHT, CLIP, METHOD_RATE = 10.0, 0.01, 1e-3
# The trials of the confidence limit and of the p-value are small and many.
TRIALS, TRIAL_SAMPLES, TRIAL_STEPS = 100, 400, 30
EQUAL_TRIALS, EQUAL_STEPS, FASHION_SAMPLES = 40, 50, 500
NOISES, BLURS, MISSING = (0.0, 0.05, 0.1, 0.2, 0.4), (1, 3, 5, 7), (0, 1, 3, 5)
TIMED_STEPS = 10


class Case(NamedTuple):
    """Two sets of points whose distance is known."""

    name: str
    draw: Callable[[int, int], tuple[Tensor, Tensor]]
    truth: float


def _normal(seed: int, stream: str, count: int, dimensions: int) -> Tensor:
    return torch.as_tensor(rng.normal(seed, stream, 0, (count, dimensions)), dtype=torch.float32)


def translated(dimensions: int, shift: float) -> Case:
    """Return normal points and others translated by `shift` along the diagonal."""

    def draw(count: int, seed: int) -> tuple[Tensor, Tensor]:
        vector = shift / dimensions**0.5
        return _normal(seed, "a", count, dimensions), _normal(seed, "b", count, dimensions) + vector

    return Case(f"normal, {dimensions} dimensions", draw, shift)


def _lines(count: int, seed: int) -> tuple[Tensor, Tensor]:
    heights = torch.as_tensor(rng.uniform(seed, "lines", 0, (2, count)), dtype=torch.float32)
    return torch.stack([torch.zeros(count), heights[0]], 1), torch.stack([torch.ones(count), heights[1]], 1)


def _gaussians(count: int, seed: int) -> tuple[Tensor, Tensor]:
    first, second = (torch.as_tensor(DRAWS["8gaussians"](count, 2 * seed + k), dtype=torch.float32) for k in (0, 1))
    return first, second + torch.tensor([0.8, 0.6])


CASES = (
    *(translated(dimensions, SHIFT) for dimensions in DIMENSIONS),
    Case("parallel lines", _lines, 1.0),
    Case("8 Gaussians, shifted", _gaussians, 1.0),
)


def measure(first: Tensor, second: Tensor, seed: int, training: CriticTraining = POINT_TRAINING) -> Distance:
    """Return the distance of two sets by a Lipschitz critic."""
    return lipschitz_distance(first, second, training, seed, CPU)


def estimate_under(method: str, first: Tensor, second: Tensor, seed: int) -> float:
    """Return the estimate of a critic under another constraint, trained on one half of points, on the other half."""
    half, sn = len(first) // 2, method == "spectral norm"
    critic = build_critic(critic_spec("points", POINT_SIZE, first.shape[1], POINT_TRAINING.features, "auto", sn), seed)
    loss = CriticLoss(critic, LOSSES["wasserstein"], PENALTIES.get(method), PENALTY_WEIGHT)
    rate = METHOD_RATE if method != "clip" else METHOD_RATE / 2
    optimizer = torch.optim.Adam(critic.parameters(), rate, betas=(0.5, 0.9))
    size = POINT_TRAINING.batch_size
    for step in range(POINT_TRAINING.steps):
        rows = [torch.from_numpy(rng.permutation(seed, f"rows.{each}", step, half)[:size]) for each in "ab"]
        alpha = torch.as_tensor(rng.uniform(seed, "alpha", step, (size,)), dtype=torch.float32)
        optimizer.zero_grad()
        loss(first[:half][rows[0]], second[:half][rows[1]], alpha, CriticMasks())[0].backward()
        optimizer.step()
        if method == "clip":
            clip_weights(list(critic.parameters()), CLIP)
    with torch.no_grad():
        return float(critic(first[half:]).mean() - critic(second[half:]).mean())


def print_points(repeats: int) -> None:
    """Print the estimates of known distances, by each method."""
    print(f"{SAMPLES:,} points of each set; estimate / truth, mean of {repeats}; lower limit / truth at {LEVEL:g}")
    print(f"{'':24}{'lipschitz':>11}{'lower':>8}{'linear':>8}" + "".join(f"{name:>15}" for name in METHODS))
    for case in CASES:
        sets = [case.draw(SAMPLES, seed) for seed in range(repeats)]
        found = [measure(*pair, seed) for seed, pair in enumerate(sets)]
        linear = np.mean([fold.critic.is_linear for distance in found for fold in distance.folds])
        ratios = [np.mean([each.estimate for each in found]), np.mean([each.lower(LEVEL) for each in found])]
        others = [np.mean([estimate_under(name, *pair, seed) for seed, pair in enumerate(sets)]) for name in METHODS]
        values = "".join(f"{value / case.truth:>15.3f}" for value in others)
        print(f"{case.name:24}{ratios[0] / case.truth:>11.3f}{ratios[1] / case.truth:>8.3f}{linear:>8.0%}{values}")


def print_coverage(trials: int) -> None:
    """Print how often the lower limit is above the truth, and the p-value of equal laws below 1 − LEVEL."""
    training = dataclasses.replace(POINT_TRAINING, steps=TRIAL_STEPS)
    conditions = f"{TRIAL_SAMPLES} points, {TRIAL_STEPS} steps"
    for dimensions in (2, 16):
        shifted, equal = translated(dimensions, SHIFT), translated(dimensions, 0.0)
        found = [measure(*shifted.draw(TRIAL_SAMPLES, seed), seed, training) for seed in range(trials)]
        above = sum(each.lower(LEVEL) > SHIFT for each in found)
        share = np.mean([each.estimate for each in found]) / SHIFT
        print(
            f"{dimensions} dimensions, {conditions}: the lower limit is above the truth in {above} of {trials} trials "
            f"(estimate / truth {share:.3f})",
            flush=True,
        )
        found = [measure(*equal.draw(TRIAL_SAMPLES, 1000 + seed), seed, training) for seed in range(EQUAL_TRIALS)]
        positive, small = sum(each.lower(LEVEL) > 0 for each in found), sum(each.p_value < 0.05 for each in found)
        print(
            f"{dimensions} dimensions, {conditions}, equal laws: the lower limit is above 0 in {positive} of "
            f"{EQUAL_TRIALS} trials, and p < 0.05 in {small}",
            flush=True,
        )


def _pixels(images: ImageDataset, rows: NDArray[np.int64]) -> Tensor:
    return torch.from_numpy(np.array(images.pixels[rows])).float() / 127.5 - 1.0


def _blurred(images: Tensor, side: int) -> Tensor:
    """Return images averaged over squares of an odd side."""
    kernel = torch.full((1, 1, side, side), side**-2.0)
    return conv2d(pad(images, (side // 2,) * 4, mode="replicate"), kernel)


def _changed_digits(images: ImageDataset, seed: int) -> tuple[Tensor, dict[str, dict[str, Tensor]]]:
    """Return one half of the digits, drawn by a seed, and what is made of the other half, by change and by amount."""
    assert images.labels
    order = rng.permutation(seed, "digits", 0, len(images))
    half = len(order) // 2
    pixels, labels = _pixels(images, order), torch.from_numpy(images.labels.values[order])
    first, second, classes = pixels[:half], pixels[half:], labels[half:]
    noise = torch.as_tensor(rng.normal(seed, "noise", 0, tuple(second.shape)), dtype=torch.float32)
    return first, {
        "noise of deviation": {f"{value:g}": second + value * noise for value in NOISES},
        "mean over squares of side": {f"{side}": _blurred(second, side) for side in BLURS},
        "classes left out": {f"{count}": second[classes >= count] for count in MISSING},
    }


def print_digits(repeats: int, cache_dir: str) -> None:
    """Print the distance of one half of the digits from the other half with noise, blurred, and without classes."""
    images = open_images(("digits",), ImageSettings(square(16), labels="auto"), cache_dir)
    divided = [_changed_digits(images, seed) for seed in range(repeats)]
    print(f"digits at 16×16, {len(divided[0][0])} of each set; mean of {repeats}, and mean of the lower limit")
    for name, amounts in divided[0][1].items():
        for amount in amounts:
            found = [
                measure(first, changed[name][amount], seed, IMAGE_TRAINING)
                for seed, (first, changed) in enumerate(divided)
            ]
            values = np.mean([[each.estimate, each.lower(LEVEL)] for each in found], 0)
            print(f"{name} {amount}: {values[0]:.2f} (≥ {values[1]:.2f})", flush=True)


def print_fashion(folders: tuple[str, str], cache_dir: str) -> None:
    """Print how often training and test images of Fashion-MNIST are told apart."""
    settings, training = ImageSettings(square(28)), dataclasses.replace(IMAGE_TRAINING, steps=EQUAL_STEPS)
    parts = [open_images((folder,), settings, cache_dir) for folder in folders]
    found = []
    for trial in range(EQUAL_TRIALS):
        rows = [rng.permutation(trial, part.name, 0, len(part))[:FASHION_SAMPLES] for part in parts]
        sets = [_pixels(part, chosen) for part, chosen in zip(parts, rows, strict=True)]
        found.append(measure(sets[0], sets[1], trial, training))
    print(
        f"Fashion-MNIST, {FASHION_SAMPLES:,} images of each part, {EQUAL_STEPS} steps: p < 0.05 in "
        f"{sum(each.p_value < 0.05 for each in found)} of {EQUAL_TRIALS} trials, mean estimate "
        f"{np.mean([each.estimate for each in found]):.3f}, lower limit above 0 in "
        f"{sum(each.lower(LEVEL) > 0 for each in found)}"
    )


def _seconds(name: str, size: ImageSize, channels: int, features: int, penalty: str, batch: int) -> float:
    critic = build_critic(critic_spec(name, size, channels, features, "auto"))
    loss = CriticLoss(critic, LOSSES["wasserstein"], PENALTIES.get(penalty), PENALTY_WEIGHT)
    optimizer = torch.optim.Adam(critic.parameters(), 1e-4, fused=True)
    shape = (batch, channels) if size == POINT_SIZE else (batch, channels, *size)
    real, fake, alpha = torch.randn(shape), torch.randn(shape), torch.rand(batch)
    times = []
    for _ in range(TIMED_STEPS):
        start = time.perf_counter()
        optimizer.zero_grad()
        loss(real, fake, alpha, CriticMasks())[0].backward()
        optimizer.step()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def print_times() -> None:
    """Print the time of a critic iteration, in torch's own operations, beside that of a penalty of equal width."""
    rows = (("points", POINT_SIZE, 2, 64, 256), ("dcgan", square(32), 1, 32, 64), ("dcgan", square(64), 3, 32, 64))
    for name, size, channels, features, batch in rows:
        seconds = _seconds("lipschitz", size, channels, features, "none", batch)
        penalised = _seconds(name, size, channels, features, "gp", batch)
        print(
            f"critic iteration, {size.in_words}, {channels} channels, {features} features, batch {batch}, threads "
            f"{torch.get_num_threads()}: lipschitz {1e3 * seconds:.1f} ms, {name} with gp {1e3 * penalised:.1f} ms"
        )


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = ("points", "coverage", "digits", "times", "fashion")
    parser.add_argument("parts", nargs="*", default=parts[:-1], help=f"some of {', '.join(parts)}")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--trials", type=int, default=TRIALS)
    parser.add_argument("--data", default="fashion_mnist")
    parser.add_argument("--test", default="fashion_mnist")
    parser.add_argument("--cache_dir", default="~/.cache/wgan_dist")
    given = parser.parse_args()
    run: dict[str, Callable[[], None]] = {
        "points": lambda: print_points(given.repeats),
        "coverage": lambda: print_coverage(given.trials),
        "digits": lambda: print_digits(given.repeats, given.cache_dir),
        "times": print_times,
        "fashion": lambda: print_fashion((given.data, given.test), given.cache_dir),
    }
    for part in given.parts:
        run[part]()


if __name__ == "__main__":
    main()
