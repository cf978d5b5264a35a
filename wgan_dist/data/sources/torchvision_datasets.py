"""Data sets that torchvision downloads."""

from pathlib import Path
from typing import Any

import numpy as np

from wgan_dist.data.sources.base import ImageListing, Source
from wgan_dist.data.sources.class_names import ClassNames
from wgan_dist.data.sources.paths import error_line, hash_of, how_to_download
from wgan_dist.utils.errors import UserError

# The class of torchvision.datasets, and its arguments besides root and download.
TORCHVISION: dict[str, tuple[str, dict[str, Any]]] = {
    "mnist": ("MNIST", {"train": True}),
    "fashion_mnist": ("FashionMNIST", {"train": True}),
    "kmnist": ("KMNIST", {"train": True}),
    "emnist": ("EMNIST", {"train": True, "split": "balanced"}),
    "cifar10": ("CIFAR10", {"train": True}),
    "cifar100": ("CIFAR100", {"train": True}),
    "svhn": ("SVHN", {"split": "train"}),
    "stl10": ("STL10", {"split": "unlabeled"}),
    "celeba": ("CelebA", {"split": "all"}),
    "flowers102": ("Flowers102", {"split": "train"}),
    "food101": ("Food101", {"split": "train"}),
    "oxford_iiit_pet": ("OxfordIIITPet", {"split": "trainval"}),
}


# The names under which its data sets keep the numbers of the classes; some have no public one.
TARGETS = ("targets", "labels", "_labels")


def classes_of(samples: Any) -> ClassNames | None:
    """Return the classes of a data set of torchvision; an image whose number has no name, such as -1, has none."""
    targets = next((getattr(samples, name) for name in TARGETS if hasattr(samples, name)), None)
    if targets is None:
        return None
    numbers = np.asarray(targets).tolist()
    order = getattr(samples, "classes", None)
    names = order or [str(number) for number in range(max(numbers, default=0) + 1)]
    return ClassNames([names[number] if 0 <= number < len(names) else None for number in numbers], order)


def torchvision_source(name: str, cache_dir: Path, download: bool) -> Source:
    """Return the source of a data set in TORCHVISION, which lies in `cache_dir`/torchvision.

    If it is not there, it is downloaded, unless `download` is false.

    Raises:
        UserError: If the data set cannot be downloaded, stored or read.
    """
    import torchvision.datasets  # takes seconds to import, and 200 MB

    class_name, arguments = TORCHVISION[name]
    try:
        samples = getattr(torchvision.datasets, class_name)(cache_dir / "torchvision", download=download, **arguments)
    except (OSError, RuntimeError, ImportError, ValueError, AssertionError) as error:
        instead = f"put downloaded files into {cache_dir}/torchvision" if download else how_to_download(name, cache_dir)
        raise UserError(f"data={name}: cannot be loaded: {error_line(error)}; {instead}") from error
    names = [f"{name}[{index}]" for index in range(len(samples))]
    listing = ImageListing(names, lambda index: samples[index][0], classes=lambda: classes_of(samples))
    return Source(name, hash_of([name, len(samples)]), lambda: listing)
