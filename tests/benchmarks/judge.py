"""Judge generators by a small classifier that is trained on the labels of real images.

    python -m tests.benchmarks.judge digits --image_size=32 --ckpt=runs/0001,runs/0002
    python -m tests.benchmarks.judge fashion/ --image_size=32 --ckpt=runs/conditional --count=10000

    python -m tests.benchmarks.judge fashion/ --unseen=fashion_test/ --image_size=32 --ckpt=runs/0001 --count=10000

The classifier learns three quarters of the images, chosen by their content, and is read on the others. With --unseen it
learns all of them, and is read on one half of other images: --half=choose to choose settings by, --half=report to
report what was chosen.

For each generator the command prints the share of its images whose class is the one that was asked for, beside the
classifier's accuracy on unseen real images, and the Fréchet distance to the unseen real images in the classifier's last
hidden layer: of all images, and the mean over classes. The images of an unconditional generator are sorted by the
classifier. The floor is that of the learned real images. `--out=FOLDER` writes the classifier as TorchScript files for
--classifier (logits.pt) and --feature_extractor (features.pt).
"""

import argparse
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from wgan_dist.checkpoints import generator_file
from wgan_dist.config.image_size import parse_image_size
from wgan_dist.data.datasets import ImageDataset, open_images
from wgan_dist.data.holdout import split_holdout
from wgan_dist.data.image_settings import ImageSettings
from wgan_dist.data.labels import Labels
from wgan_dist.evaluation.metrics.feature_distances import frechet_distance
from wgan_dist.models.inference import generate, sample_latents
from wgan_dist.utils import rng
from wgan_dist.utils.class_draws import sample_classes

FEATURES, WIDTHS = 64, (32, 64, 128)
STEPS, BATCH, LEARNING_RATE = 2000, 128, 1e-3
# The share of the images on which the classifier is read, the shifts of training images in pixels, and a seed of
# samples that no other command uses.
UNSEEN, SHIFT, SEED = 0.25, 2, 1234


class Features(nn.Module):
    """Maps images uint8 [n, c, h, w] to features [n, 64]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        pairs = zip((channels, *WIDTHS), WIDTHS, strict=False)
        self.convolutions = nn.ModuleList(nn.Conv2d(before, after, 3, 2, 1) for before, after in pairs)
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in WIDTHS)
        self.pool = nn.AdaptiveAvgPool2d(4)
        self.last = nn.Linear(WIDTHS[-1] * 16, FEATURES)

    def forward(self, images: Tensor) -> Tensor:
        x = images.float() / 127.5 - 1.0
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = F.relu(norm(convolution(x)))
        return F.relu(self.last(self.pool(x).flatten(1)))


@dataclass(frozen=True)
class Judge:
    """A trained classifier: its features, and its output layer."""

    features: Features
    output: nn.Linear

    @torch.no_grad()
    def read(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features [n, 64] and the classes [n] of images uint8."""
        features = torch.cat([self.features(part) for part in images.split(500)])
        return features, self.output(features).argmax(1)

    def save(self, folder: Path, shape: tuple[int, ...]) -> None:
        """Write both as TorchScript files."""
        folder.mkdir(parents=True, exist_ok=True)
        example = torch.zeros(2, *shape, dtype=torch.uint8)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*torch.jit.*deprecated.*")
            for name, network in {
                "features": self.features,
                "logits": nn.Sequential(self.features, self.output).eval(),
            }.items():
                torch.jit.save(torch.jit.trace(network, example), str(folder / f"{name}.pt"))


def _shifted(images: Tensor, step: int) -> Tensor:
    """Return images shifted by up to two pixels, each batch by one shift."""
    down, right = (2.0 * rng.uniform(0, "judge.shift", step, (2,)) * SHIFT - SHIFT).round().astype(int).tolist()
    return torch.roll(images, (down, right), (2, 3))


def train_judge(pixels: Tensor, labels: Labels) -> Judge:
    """Train a classifier by Adam with a rate that falls to zero; the same at every call."""
    torch.manual_seed(0)
    features, output = Features(pixels.shape[1]), nn.Linear(FEATURES, len(labels.classes))
    optimizer = torch.optim.Adam([*features.parameters(), *output.parameters()], LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, STEPS)
    targets = torch.from_numpy(labels.values)
    for step in range(STEPS):
        rows = torch.from_numpy((rng.uniform(0, "judge.rows", step, (BATCH,)) * len(pixels)).astype(np.int64))
        optimizer.zero_grad()
        F.cross_entropy(output(features(_shifted(pixels[rows], step))), targets[rows]).backward()
        optimizer.step()
        schedule.step()
    return Judge(features.eval(), output)


def class_distance(features: Tensor, classes: Tensor, real: Tensor, real_classes: Tensor) -> float:
    """Return the mean over classes of the Fréchet distance; NaN if a class has fewer than two images."""
    distances = []
    for number in range(int(real_classes.max()) + 1):
        of_class = features[classes == number]
        distances.append(frechet_distance(of_class, real[real_classes == number]) if len(of_class) > 1 else np.nan)
    return float(np.mean(distances))


@dataclass(frozen=True)
class Judged:
    """A trained judge, the images uint8 [n, c, h, w] and classes [n] on which it is read, and those it learned."""

    judge: Judge
    unseen: tuple[Tensor, Tensor]
    learned: tuple[Tensor, Tensor]
    shape: tuple[int, ...]


def _rows(images: ImageDataset, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    assert images.labels is not None
    return torch.from_numpy(images.pixels[rows]), torch.from_numpy(images.labels.rows(rows).values)


def make_judge(data: str, unseen: str, half: str, settings: ImageSettings, cache_dir: str) -> Judged:
    """Train a judge on `data`, and choose what it is read on, as the text of this module says."""
    images = open_images(tuple(data.split(",")), settings, cache_dir)
    assert images.labels is not None
    if unseen:
        others = open_images(tuple(unseen.split(",")), settings, cache_dir)
        halves = split_holdout(others, 0.5)
        rows, learned = (halves.training if half == "choose" else halves.held_out), np.arange(len(images))
        read = _rows(others, rows)
    else:
        split = split_holdout(images, UNSEEN)
        learned, read = split.training, _rows(images, split.held_out)
    judge = train_judge(torch.from_numpy(images.pixels[learned]), images.labels.rows(learned))
    return Judged(judge, read, _rows(images, learned), images.shape)


def draw(path: Path, count: int, weights: str = "ema") -> tuple[Tensor, Tensor | None]:
    """Return images uint8 [n, c, h, w] of a generator, and the classes that were asked for."""
    loaded = generator_file.load(generator_file.locate(str(path), weights))
    about = loaded.description
    z = sample_latents(count, about.latent_dim, about.latent_distribution, SEED)
    labels = sample_classes(count, np.array(about.class_shares), SEED) if about.classes else None
    images = torch.from_numpy(generate(loaded.network, z, labels=labels).transpose(0, 3, 1, 2).copy())
    return images, None if labels is None else torch.from_numpy(labels)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--image_size", default="32", type=parse_image_size)
    parser.add_argument("--channels", type=int)
    parser.add_argument("--labels", default="auto")
    parser.add_argument("--unseen", default="", help="other images with labels, which the classifier does not learn")
    parser.add_argument("--half", default="choose", choices=("choose", "report"))
    parser.add_argument("--weights", default="ema", choices=("ema", "raw"))
    parser.add_argument("--ckpt", default="", help="runs or generator files, with commas")
    parser.add_argument("--count", type=int, default=2000, help="images of each generator")
    parser.add_argument("--out", type=Path, help="folder for logits.pt and features.pt")
    parser.add_argument("--cache_dir", default="~/.cache/wgan_dist")
    return parser.parse_args()


def main() -> None:
    given = arguments()
    settings = ImageSettings(given.image_size, given.channels, labels=given.labels)
    judged = make_judge(given.data, given.unseen, given.half, settings, given.cache_dir)
    judge, (unseen, real_classes), (learned, of_learned) = judged.judge, judged.unseen, judged.learned
    if given.out:
        judge.save(given.out, judged.shape)
    real, read = judge.read(unseen)
    accuracy = float((read == real_classes).float().mean())
    print(f"unseen real images: {len(unseen):,}, accuracy {accuracy:.2%}")
    floor, _ = judge.read(learned[: given.count])
    distances = (
        frechet_distance(floor, real),
        class_distance(floor, of_learned[: given.count], real, real_classes),
    )
    print("floor, learned real images: distance {:.2f}, mean of classes {:.2f}".format(*distances))
    for path in filter(None, given.ckpt.split(",")):
        pictures, asked = draw(Path(path), given.count, given.weights)
        features, found = judge.read(pictures)
        said = "unconditional, sorted by the classifier"
        if asked is not None:
            right = float((found == asked).float().mean())
            said = f"asked class {right:.2%}, {right / accuracy:.1%} of the accuracy on unseen real images"
        distance = frechet_distance(features, real)
        of_classes = class_distance(features, found if asked is None else asked, real, real_classes)
        print(f"{path}: {said}; distance {distance:.2f}, mean of classes {of_classes:.2f}", flush=True)


if __name__ == "__main__":
    main()
