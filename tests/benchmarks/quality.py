"""Compare recipes and plain loops on Fashion-MNIST in equal time, for the table of docs/quality.md.

    python -m tests.benchmarks.quality fashion/ fashion_test/ --seconds=600
    python -m tests.benchmarks.quality fashion/ fashion_test/ --steps=3000 --only="cosine,gamma 3" --half=choose

The folders hold the idx files of the training and of the test part. Each experiment first measures its speed in a short
run, and then trains for as many generator steps as fit into the time, so that its schedule ends with it; with --steps
it trains for so many, and the result does not depend on the machine's speed. The judge
(`tests.benchmarks.judge`) learns all training images and is read on one half of the test images. The command prints
the Fréchet distance of 10,000 generated images, of the averaged weights and of the last ones, and the floor, which is
that of 10,000 training images. Nothing else should run on the machine.
"""

import argparse
import json
import math
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from tests.benchmarks import textbook
from tests.benchmarks.judge import Judge, draw, make_judge
from tests.processes import PYTHON
from wgan_dist.checkpoints.run_dir import METRICS_FILE
from wgan_dist.config.image_size import square
from wgan_dist.data.datasets import open_images
from wgan_dist.data.image_settings import ImageSettings
from wgan_dist.data.transforms import to_pixels
from wgan_dist.evaluation.metrics.feature_distances import frechet_distance

SIZE, COUNT, LATENT_DIM = 32, 10_000, 100
# The generator steps of the run that measures the speed, and those before it counts.
MEASURED, SKIPPED = 200, 100
QUIET = ["--sample_every=0", "--evaluate_every=0", "--checkpoint_every=100epoch"]

RECIPE = "--recipe=fashion_mnist"
# The flags of each experiment. "former" is what the recipe fashion_mnist was before them.
EXPERIMENTS: dict[str, list[str]] = {
    "fashion_mnist": [RECIPE],
    "fashion_mnist_wgan_gp": ["--recipe=fashion_mnist_wgan_gp"],
    "former": [
        *(RECIPE, "--loss=wasserstein", "--penalty=gp", "--gp_weight=10", "--penalty_every=1", "--n_critic=3"),
        *("--generator=dcgan", "--critic=dcgan", "--critic_norm=auto", "--lr_decay=linear", "--lr_decay_start=0"),
        *("--generator_features=24", "--critic_features=24", "--critic_lr=3e-4", "--generator_lr=3e-4"),
        "--betas=0.5,0.9",
    ],
}
# Changes of the recipe with a generator of 32 features and a critic of 16.
NARROW = (RECIPE, "--generator_features=32", "--critic_features=16")
VARIANTS: dict[str, list[str]] = {
    "narrow": [*NARROW],
    "gamma 3": [*NARROW, "--gp_weight=3"],
    "rates 0.001": [*NARROW, "--critic_lr=0.001", "--generator_lr=0.001"],
    "rates 0.003": [*NARROW, "--critic_lr=0.003", "--generator_lr=0.003"],
    "critic's rate 0.001": [*NARROW, "--critic_lr=0.001"],
    "generator's rate 0.001": [*NARROW, "--generator_lr=0.001"],
    "beta2 0.9": [*NARROW, "--betas=0,0.9"],
    "beta1 0.5": [*NARROW, "--betas=0.5,0.99"],
    "decay from a quarter": [*NARROW, "--lr_decay_start=0.25"],
    "decay from three quarters": [*NARROW, "--lr_decay_start=0.75"],
    "cosine": [*NARROW, "--lr_decay=cosine", "--lr_decay_start=0"],
    "half batch": [*NARROW, "--batch_size=32"],
    "features 64, 16": [RECIPE, "--generator_features=64", "--critic_features=16"],
    "features 24, 32": [RECIPE, "--generator_features=24", "--critic_features=32"],
    "features 32, 32": [RECIPE, "--generator_features=32", "--critic_features=32"],
}
ALL = EXPERIMENTS | VARIANTS


def _train(data: str, run: Path, flags: list[str], seed: int) -> None:
    command = [*PYTHON, "-m", "wgan_dist.train", f"--data={data}", f"--run_dir={run}", f"--seed={seed}"]
    subprocess.run([*command, *QUIET, *flags], check=True, stdout=subprocess.DEVNULL)


def _seconds(run: Path, after: int = 0) -> float:
    """Return the seconds of the steps after a step; each record has those since the record before it."""
    records = [json.loads(line) for line in (run / METRICS_FILE).read_text().splitlines()]
    return sum(record.get("seconds", 0.0) for record in records if record["step"] > after)


def steps_in(seconds: float, data: str, folder: Path, flags: list[str]) -> int:
    """Return how many generator steps fit into the time, by a short run."""
    run = folder / "speed"
    _train(data, run, [*flags, f"--max_steps={MEASURED}", "--log_every=50"], 0)
    return int(seconds * (MEASURED - SKIPPED) / _seconds(run, SKIPPED))


def train(steps: int, data: str, folder: Path, flags: list[str], seed: int) -> tuple[Path, float]:
    """Train for so many generator steps; returns the folder of the run, and the seconds that it took."""
    run = folder / "run"
    _train(data, run, [*flags, f"--max_steps={steps}", "--log_every=100"], seed)
    return run, _seconds(run)


def _epochs(images: Tensor, batch_size: int) -> Iterator[Tensor]:
    while True:
        for rows in torch.randperm(len(images)).split(batch_size):
            if len(rows) == batch_size:
                yield images[rows].float() / 127.5 - 1.0


Loop = Callable[[Iterator[Tensor]], tuple[nn.Module, textbook.Step, Callable[[int], Tensor]]]


def _plain_dcgan(reals: Iterator[Tensor]) -> tuple[nn.Module, textbook.Step, Callable[[int], Tensor]]:
    critic, generator = textbook.dcgan_critic(channels=1), textbook.dcgan_generator(LATENT_DIM, channels=1)

    def latent(count: int = 64) -> Tensor:
        return torch.randn(count, LATENT_DIM, 1, 1)

    return generator, textbook.step_b(critic, generator, reals, latent), latent


def _plain_mlp(reals: Iterator[Tensor]) -> tuple[nn.Module, textbook.Step, Callable[[int], Tensor]]:
    critic, generator = textbook.mlp_critic(), textbook.mlp_generator()

    def latent(count: int = 64) -> Tensor:
        return torch.randn(count, LATENT_DIM)

    return generator, textbook.step_clip(critic, generator, reals, latent), latent


# Plain loops, with the size of their images.
LOOPS: dict[str, tuple[int, Loop]] = {"plain DCGAN": (64, _plain_dcgan), "plain MLP with clipping": (28, _plain_mlp)}


def train_loop(data: str, size: int, loop: Loop, seed: int, seconds: float, most: float) -> tuple[Tensor, int]:
    """Train a plain loop for `seconds`, or for at most `most` generator steps.

    Returns generated images uint8 [n, 1, size, size] and the steps.
    """
    torch.manual_seed(seed)
    images = open_images((data,), ImageSettings(square(size), channels=1), "~/.cache/wgan_dist")
    generator, step, latent = loop(_epochs(torch.from_numpy(np.array(images.pixels)), 64))
    steps, end = 0, time.monotonic() + seconds
    while steps < most and time.monotonic() < end:
        step()
        steps += 1
    with torch.no_grad():
        parts = [generator(latent(250)) for _ in range(COUNT // 250)]
    return (torch.cat(parts) * 127.5 + 127.5).round().clamp(0, 255).byte(), steps


def resized(images: Tensor) -> Tensor:
    """Return images uint8 [n, 1, h, w] at the size of the judge, resized as training resizes images."""
    pictures = (Image.fromarray(image[0].numpy()) for image in images)
    return torch.from_numpy(np.stack([to_pixels(picture, square(SIZE), 1, "ffffff") for picture in pictures]))


def distance(judge: Judge, images: Tensor, real: Tensor) -> float:
    """Return the Fréchet distance of images uint8 to the features `real`."""
    return frechet_distance(judge.read(images)[0], real)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("unseen")
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--steps", type=int, help="generator steps, instead of a time")
    parser.add_argument("--only", default=",".join([*EXPERIMENTS, *LOOPS]), help="experiments, with commas")
    parser.add_argument("--half", default="report", choices=("choose", "report"))
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    given = arguments()
    settings = ImageSettings(square(SIZE), channels=1, labels="auto")
    judged = make_judge(given.data, given.unseen, given.half, settings, "~/.cache/wgan_dist")
    real, _ = judged.judge.read(judged.unseen[0])
    print(f"floor: {distance(judged.judge, judged.learned[0][:COUNT], real):.2f}", flush=True)
    for name in given.only.split(","):
        if name in LOOPS:
            time_and_steps = (math.inf, given.steps) if given.steps else (given.seconds, math.inf)
            images, steps = train_loop(given.data, *LOOPS[name], given.seed, *time_and_steps)
            print(f"{name}: {steps:,} steps, {distance(judged.judge, resized(images), real):.2f}", flush=True)
            continue
        with tempfile.TemporaryDirectory() as folder:
            flags = ALL[name]
            steps = given.steps or steps_in(given.seconds, given.data, Path(folder), flags)
            run, seconds = train(steps, given.data, Path(folder), flags, given.seed)
            of_weights = [distance(judged.judge, draw(run, COUNT, weights)[0], real) for weights in ("ema", "raw")]
        print(
            f"{name}: {steps:,} steps in {seconds:.0f} s, {of_weights[0]:.2f}, last weights {of_weights[1]:.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
