"""Measure the effect of augmentation on few images of Fashion-MNIST, for the table of docs/few_images.md.

    python -m tests.benchmarks.few_images fashion/ fashion_test/ --images=500 --seeds=0,1 --runs=runs/few

The folders hold the idx files of the training and of the test part. For each seed the command draws so many training
images, trains on them with each augmentation for equally many steps, and prints the Fréchet distance of 10,000
generated images to all test images, by a classifier of all training images (`tests.benchmarks.judge`). Beside it stands
the memorisation: the median distance of 2,000 generated images to the nearest image that the run has seen or held out,
divided by that of 2,000 test images; a generator that copies has less than 1. Runs that are in the folder of --runs
already are not trained again. Nothing else should run on the machine.
"""

import argparse
import json
import struct
import subprocess
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tests.benchmarks.judge import draw, train_judge
from tests.processes import PYTHON
from wgan_dist.checkpoints.generator_file import EMA_FILE
from wgan_dist.checkpoints.run_dir import METRICS_FILE
from wgan_dist.config.config import AUGMENTATIONS
from wgan_dist.config.image_size import square
from wgan_dist.data.datasets import ImageDataset, open_images
from wgan_dist.data.image_settings import ImageSettings
from wgan_dist.data.sources.idx import read_idx
from wgan_dist.evaluation.metrics.feature_distances import frechet_distance
from wgan_dist.evaluation.metrics.neighbours import nearest

CACHE, SIZE = "~/.cache/wgan_dist", 32
GENERATED, COMPARED = 10_000, 2_000
RECIPE = [
    *("--recipe=fashion_mnist", "--generator_features=32", "--critic_features=16"),
    *("--sample_every=0", "--evaluate_every=0", "--checkpoint_every=0", "--log_every=100"),
]
# The flags of each experiment.
EXPERIMENTS = {name: [f"--augment={name}"] for name in AUGMENTATIONS} | {
    "adaptive-translation": ["--augment=adaptive", "--augment_policy=translation"]
}


def write_subset(data: Path, folder: Path, count: int, seed: int) -> None:
    """Write `count` of the training images, drawn by `seed`, as an idx file."""
    (source,) = data.glob("train-images-idx3-ubyte*")
    images = np.asarray(read_idx(source))
    rows = np.sort(np.random.default_rng(seed).permutation(len(images))[:count])
    folder.mkdir(parents=True, exist_ok=True)
    header = struct.pack(">IIII", 0x803, count, *images.shape[1:])
    (folder / "train-images-idx3-ubyte").write_bytes(header + images[rows].tobytes())


def train(data: Path, run: Path, experiment: str, steps: int, seed: int) -> None:
    """Train a run, unless it is there."""
    if (run / EMA_FILE).exists():
        return
    flags = [f"--data={data}", f"--max_steps={steps}", f"--seed={seed}", f"--run_dir={run}", *EXPERIMENTS[experiment]]
    subprocess.run([*PYTHON, "-m", "wgan_dist.train", *RECIPE, *flags], check=True, stdout=subprocess.DEVNULL)


def memorisation(generated: Tensor, unseen: Tensor, images: ImageDataset) -> float:
    """Return the median distance of generated images to the nearest of `images`, over that of unseen images."""
    medians = [np.median(nearest(some[:COMPARED], images.pixels).distances) for some in (generated, unseen)]
    return float(medians[0] / medians[1])


def course(run: Path) -> str:
    """Return the seconds of a run, and the augmentation's probability at its end if it is adaptive."""
    records = [json.loads(line) for line in (run / METRICS_FILE).read_text().splitlines()]
    seconds, probability = sum(record["seconds"] for record in records), records[-1].get("augment_probability")
    return f"{seconds:.0f} s" + ("" if probability is None else f", probability {probability:.2f} at the end")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("unseen")
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--steps", type=int, default=14_000)
    parser.add_argument("--seeds", default="0,1")
    parser.add_argument("--only", default=",".join(EXPERIMENTS))
    parser.add_argument("--runs", type=Path, default=Path("runs/few_images"))
    return parser.parse_args()


def main() -> None:
    given, settings = arguments(), ImageSettings(square(SIZE), channels=1, labels="auto")
    learned, unseen = (open_images((str(data),), settings, CACHE) for data in (given.data, given.unseen))
    assert learned.labels is not None
    judge, pixels = train_judge(torch.from_numpy(np.array(learned.pixels)), learned.labels), np.array(unseen.pixels)
    real, _ = judge.read(torch.from_numpy(pixels))
    floor, _ = judge.read(torch.from_numpy(np.array(learned.pixels[:GENERATED])))
    print(f"floor: {frechet_distance(floor, real):.2f}", flush=True)
    for seed in map(int, given.seeds.split(",")):
        subset = given.runs / f"images-{given.images}-{seed}"
        write_subset(given.data, subset, given.images, seed)
        images = open_images((str(subset),), ImageSettings(square(SIZE), channels=1), CACHE)
        for experiment in given.only.split(","):
            run = given.runs / f"{experiment}-{given.images}-{given.steps}-{seed}"
            train(subset, run, experiment, given.steps, seed)
            generated, _ = draw(run, GENERATED)
            distance = frechet_distance(judge.read(generated)[0], real)
            copied = memorisation(generated, torch.from_numpy(pixels), images)
            print(f"{run.name}: {distance:.2f}, memorisation {copied:.3f}, {course(run)}", flush=True)


if __name__ == "__main__":
    main()
