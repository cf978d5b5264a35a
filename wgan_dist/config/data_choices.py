"""The data sets that --data knows by name, and the check that what it names exists, without opening anything."""

import os
from collections.abc import Iterable
from pathlib import Path

from wgan_dist.config.fields import unknown_name
from wgan_dist.config.text_lists import HUGGING_FACE, path_exists, split_reference
from wgan_dist.utils.errors import UserError

# The grey images that need neither files nor a download: the digits of this package, and those that it draws.
BUILT_IN = ("digits", "random_field")
# The names of points, and those of torchvision's data sets, beside the built-in images.
POINTS = ("8gaussians", "25gaussians", "swissroll")
DATA_SETS = (
    *BUILT_IN,
    *POINTS,
    "mnist",
    "fashion_mnist",
    "kmnist",
    "emnist",
    "cifar10",
    "cifar100",
    "svhn",
    "stl10",
    "celeba",
    "flowers102",
    "food101",
    "oxford_iiit_pet",
)


def unknown_data(data: str) -> UserError:
    """Return the error for a value of --data that names nothing: a path, or a name like those of the data sets."""
    if os.sep in data or data.startswith((".", "~")) or Path(data).suffix[1:].isalpha():
        return UserError(f"data={data}: there is no such folder or file")
    return unknown_name("data (no folder of that name, and not a data set)", data, list(DATA_SETS))


def check_data_exist(data: Iterable[str]) -> None:
    """Check that there is something under each value of --data.

    Patterns and names on the Hub are not checked.

    Raises:
        UserError: For the first value that names nothing.
    """
    for value in data:
        if value.startswith(HUGGING_FACE):
            name = split_reference(value.removeprefix(HUGGING_FACE))[0]
            if name.startswith(("~", ".", os.sep)) and not path_exists(name):
                raise UserError(f"data={value}: there is no such folder")
        elif value not in DATA_SETS and "{" not in value and not path_exists(value):
            raise unknown_data(value)
