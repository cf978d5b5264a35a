"""How near a run on Fashion-MNIST comes to it, by a classifier of its garments.

    python -m wgan_dist.train --recipe=fashion_mnist --data=DATA --run_dir=runs/fashion --keep_checkpoints=100
    python -m tests.benchmarks.fashion_frechet DATA runs/fashion --out=fashion_frechet.png

DATA is the folder of the four idx files. Trains a small classifier on the labels, takes its last hidden layer as the
features, and prints the Fréchet distance of every checkpoint's averaged generator to the training images, with the
floor that real test images leave. Counted on both sides alike: 10,000 images against 60,000.
"""

import argparse
import gzip
import time
import warnings
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from export.loaders import open_generator
from wgan_dist.checkpoints.generator_file import EMA_FILE
from wgan_dist.checkpoints.run_dir import CHECKPOINTS, checkpoint_position
from wgan_dist.config import Config
from wgan_dist.config.image_size import square
from wgan_dist.data.datasets import ImageDataset, open_images
from wgan_dist.data.holdout import split_holdout
from wgan_dist.data.image_settings import ImageSettings
from wgan_dist.data.sources.idx import read_idx
from wgan_dist.data.transforms import to_pixels
from wgan_dist.evaluation.evaluator import Evaluator, make_evaluator
from wgan_dist.utils import rng

SIZE, CLASSES, FEATURES = 32, 10, 128
EPOCHS, BATCH, LEARNING_RATE = 3, 128, 1e-3
COUNT = 10_000
LABELS_HEADER = 8
CACHE = "~/.cache/wgan_dist"


class Features(nn.Module):
    """uint8 [n, 1, 32, 32] → [n, 128]."""

    def __init__(self) -> None:
        super().__init__()
        widths = (1, 32, 64, 128)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, 3, stride=2, padding=1) for before, after in zip(widths, widths[1:], strict=False)
        )
        self.last = nn.Linear(widths[-1] * 16, FEATURES)

    def forward(self, images: Tensor) -> Tensor:
        x = images.float() / 127.5 - 1.0
        for convolution in self.convolutions:
            x = F.relu(convolution(x))
        return F.relu(self.last(x.flatten(1)))


def file_in(folder: Path, name: str) -> Path:
    """Plain or gzipped."""
    return folder / name if (folder / name).is_file() else folder / f"{name}.gz"


def labels(folder: Path, name: str) -> NDArray[np.uint8]:
    """Of an idx file of one dimension."""
    path = file_in(folder, name)
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return np.frombuffer(content, np.uint8, offset=LABELS_HEADER)


def held_back(folder: Path) -> Tensor:
    """The test images, as training sees images: uint8 [10000, 1, 32, 32]."""
    pictures = read_idx(file_in(folder, "t10k-images-idx3-ubyte"))
    return torch.from_numpy(
        np.stack([to_pixels(Image.fromarray(each), square(SIZE), 1, "ffffff") for each in pictures])
    )


def train_classifier(images: ImageDataset, targets: NDArray[np.uint8]) -> tuple[Features, nn.Linear]:
    """Three epochs of Adam; the same at every call."""
    torch.manual_seed(0)
    features, answer = Features(), nn.Linear(FEATURES, CLASSES)
    optimizer = torch.optim.Adam([*features.parameters(), *answer.parameters()], LEARNING_RATE)
    for epoch in range(EPOCHS):
        order = rng.permutation(0, "classifier.order", epoch, len(images))
        for rows in np.split(order, range(BATCH, len(order), BATCH)):
            pixels, wanted = torch.from_numpy(images.pixels[rows]), torch.from_numpy(targets[rows].astype(np.int64))
            optimizer.zero_grad()
            F.cross_entropy(answer(features(pixels)), wanted).backward()
            optimizer.step()
    return features.eval(), answer


@torch.no_grad()
def accuracy(features: Features, answer: nn.Linear, pixels: Tensor, targets: NDArray[np.uint8]) -> float:
    """The share of right answers."""
    said = torch.cat([answer(features(part)).argmax(1) for part in pixels.split(500)])
    return float((said.numpy() == targets).mean())


def evaluation_by(features: Features, images: ImageDataset, file: Path) -> Evaluator:
    """The Fréchet distance to all training images, by `features` as they are read from a TorchScript `file`."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit.*deprecated.*")
        torch.jit.save(torch.jit.trace(features, torch.zeros(2, *images.shape, dtype=torch.uint8)), str(file))
    config = Config(
        metrics=("frechet_distance",), feature_extractor=str(file), evaluation_images=COUNT, seed=0, cache_dir=CACHE
    )
    return make_evaluator(config, images, split_holdout(images, 0.0), torch.device("cpu"), real_count=len(images))


def draw_curve(steps: list[int], distances: list[float], floor: float, out: Path) -> None:
    """The distance over generator steps, and the floor."""
    figure = Figure((6.4, 4.0), 120, layout="constrained")
    axes = figure.add_subplot(yscale="log", xlabel="generator steps", ylabel="Fréchet distance")
    axes.plot(steps, distances, marker="o", label="averaged generator, to the training images")
    axes.axhline(
        floor, color="tab:green", linestyle="--", label=f"real test images, to the training images: {floor:.2f}"
    )
    axes.legend(frameon=False)
    FigureCanvasAgg(figure).print_png(str(out))  # type: ignore[no-untyped-call]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--out", type=Path, default=Path("fashion_frechet.png"))
    return parser.parse_args()


def main() -> None:
    given = arguments()
    torch.set_num_threads(1)
    images = open_images((str(given.data),), ImageSettings(square(SIZE), channels=1), CACHE)
    test = held_back(given.data)
    began = time.monotonic()
    features, answer = train_classifier(images, labels(given.data, "train-labels-idx1-ubyte"))
    right = accuracy(features, answer, test, labels(given.data, "t10k-labels-idx1-ubyte"))
    print(f"classifier: {right:.1%} of the test images right after {time.monotonic() - began:.0f} s", flush=True)
    evaluation = evaluation_by(features, images, given.out.with_suffix(".pt"))
    floor = evaluation.measure(lambda part: test[part])["frechet_distance"]
    print(f"real test images: {floor:.2f}   {evaluation.protocol('frechet_distance')}", flush=True)
    places = {folder: checkpoint_position(folder.name) for folder in (given.run / CHECKPOINTS).iterdir()}
    steps, distances = [], []
    for folder, place in sorted((folder, place) for folder, place in places.items() if place):
        subject = open_generator(folder / EMA_FILE, "", COUNT, 0)
        steps.append(place[0])
        distances.append(evaluation.measure(subject.draw)["frechet_distance"])
        print(f"step {place[0]:>6}: {distances[-1]:8.2f}", flush=True)
    draw_curve(steps, distances, floor, given.out)


if __name__ == "__main__":
    main()
