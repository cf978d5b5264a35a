"""The classes of samples that torch computes, chosen as `export.sampler` chooses them."""

import numpy as np
from numpy.typing import NDArray

from export.sampler import Label, SamplerError, class_numbers
from wgan_dist.checkpoints.generator_file import Description
from wgan_dist.utils.class_draws import sample_classes
from wgan_dist.utils.errors import UserError


def sample_labels(description: Description, count: int, seed: int, label: Label = None) -> NDArray[np.int64] | None:
    """Return the classes int64 [count] of the first samples of a seed; None for a generator without classes.

    They are those of `label`, the name or number of one class or a sequence with one for each sample, and by default
    drawn by their shares in the training data. Raises UserError for a label that does not exist.
    """
    if label is None:
        return sample_classes(count, np.array(description.class_shares), seed) if description.classes else None
    try:
        return class_numbers(label, count, description.classes)
    except SamplerError as error:
        raise UserError(str(error)) from error
