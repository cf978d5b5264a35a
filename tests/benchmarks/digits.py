"""Judge generators of the package's digits, for the tables of docs/quality.md.

    python -m tests.benchmarks.digits runs/0001,runs/0002 --count=2000

A support vector classifier (scikit-learn's SVC) of 1,000 real digits reads the generated ones. The command prints the
median of its certainty, which is the probability of the class that it chooses, the share of the rarest digit, and the
recall of Kynkäänniemi et al. 2019 with k = 3 in the space of pixels: the share of the real digits that lie within the
distance of some generated digit to its third-nearest generated digit.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.svm import SVC
from torch import Tensor

from tests.benchmarks.judge import draw
from wgan_dist.config.image_size import square
from wgan_dist.data.datasets import open_images
from wgan_dist.data.image_settings import ImageSettings

SIZE, LEARNED, NEIGHBOUR = 32, 1000, 3


def real_digits(cache_dir: str) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the digits as values in [0, 1] [n, 1024], and their classes [n]."""
    pixels = open_images(("digits",), ImageSettings(square(SIZE), channels=1), cache_dir).pixels
    return np.asarray(pixels).reshape(len(pixels), -1) / 255, load_digits().target


def train_classifier(images: NDArray[np.float64], classes: NDArray[np.int64]) -> SVC:
    """Return a classifier of the first 1,000 digits."""
    return SVC(probability=True, random_state=0).fit(images[:LEARNED], classes[:LEARNED])


def recall(generated: Tensor, real: Tensor) -> float:
    """Return the recall of points [n, d] of as many generated as real ones."""
    radii = torch.cdist(generated, generated).kthvalue(NEIGHBOUR + 1, dim=1).values  # the nearest one is itself
    return float((torch.cdist(real, generated) <= radii).any(1).double().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ckpt", help="runs or generator files, with commas")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--weights", default="ema", choices=("ema", "raw"))
    parser.add_argument("--cache_dir", default="~/.cache/wgan_dist")
    given = parser.parse_args()
    real, classes = real_digits(given.cache_dir)
    classifier = train_classifier(real, classes)
    certainty = np.median(classifier.predict_proba(real[LEARNED:]).max(1))
    print(f"{len(real) - LEARNED} real digits that it did not learn: median certainty {certainty:.3f}")
    for path in given.ckpt.split(","):
        images, _ = draw(Path(path), given.count, given.weights)
        generated = images.reshape(len(images), -1).numpy() / 255
        probabilities = classifier.predict_proba(generated)
        rarest = np.bincount(probabilities.argmax(1), minlength=10).min() / len(generated)
        recalled = recall(torch.from_numpy(generated[: len(real)]), torch.from_numpy(real))
        said = (
            f"median certainty {np.median(probabilities.max(1)):.3f}, rarest digit {rarest:.1%}, recall {recalled:.3f}"
        )
        print(f"{path}: {said}", flush=True)


if __name__ == "__main__":
    main()
