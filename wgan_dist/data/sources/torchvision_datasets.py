"""Data sets that torchvision downloads."""

from pathlib import Path
from typing import Any

from wgan_dist.data.sources.base import ImageListing, Source
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
    listing = ImageListing([f"{name}[{index}]" for index in range(len(samples))], lambda index: samples[index][0])
    return Source(name, hash_of([name, len(samples)]), lambda: listing)
