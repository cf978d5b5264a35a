"""The probability of augmentations, and how it follows the overfitting of the critic."""

from collections.abc import Sequence

import torch
from torch import Tensor

from wgan_dist.checkpoints.train_state import AugmentationState
from wgan_dist.config.config import AUGMENT_POLICY

# The overfitting above which the probability rises, and below which it falls.
TARGET = 0.5


class AugmentationStrength:
    """The probability of augmentations, which stays as it is or is adapted, and the overfitting that was measured last.

    Attributes:
        probability: A tensor [] on the device.
        probabilities: That of each group of operations, [GROUPS] on the device: 0 for groups that are not applied.
        overfitting: A tensor [] on the device.
        is_active: False where the probability is 0, and images can go to the critic as they are.
    """

    def __init__(
        self,
        probability: float,
        policy: Sequence[str],
        device: torch.device,
        dtype: torch.dtype,
        always_active: bool,
    ) -> None:
        """Begin with a probability of the groups of operations that `policy` names.

        With `always_active` a probability of 0 takes the same way through the critic.
        """
        self.probability = torch.full((), probability, device=device, dtype=dtype)
        self._is_in_policy = torch.tensor([group in policy for group in AUGMENT_POLICY], device=device)
        self.probabilities = self.probability * self._is_in_policy
        self.overfitting = torch.zeros((), device=device, dtype=dtype)
        self._always_active = always_active
        self.is_active = always_active or probability > 0.0

    def state(self) -> AugmentationState:
        """Return the values that a resumed run needs, read back from the device."""
        return AugmentationState(float(self.probability), float(self.overfitting))

    def load(self, state: AugmentationState) -> None:
        """Restore what `state` returned."""
        self.probability.fill_(state.probability)
        self.probabilities.copy_(self.probability * self._is_in_policy)
        self.overfitting.fill_(state.overfitting)
        self.is_active = self._always_active or state.probability > 0.0

    def adapt(self, mean_scores: Tensor, step: float) -> None:
        """Move the probability by `step`, up if the critic overfits more than TARGET, else down; waits for the device.

        Overfitting is r = (E D_train − E D_holdout) / (E D_train − E D_fake), as r_v of Karras et al. 2020 (eq. 1): 0
        for a critic that scores training images as held-out ones, and 1 for one that scores held-out images as
        generated ones. Neither an offset nor the scale of the scores changes it. It is 0 for a critic that does not
        tell training images from generated ones yet. `mean_scores` [3] are D_train, D_holdout and D_fake.
        """
        training, held_out, generated = mean_scores
        overfitting = torch.where(training > generated, (training - held_out) / (training - generated), 0.0)
        self.overfitting.copy_(overfitting.nan_to_num(0.0, 0.0, 0.0))
        self.probability.add_(torch.where(self.overfitting > TARGET, step, -step)).clamp_(0.0, 1.0)
        self.probabilities.copy_(self.probability * self._is_in_policy)
        self.is_active = self._always_active or bool(self.probability > 0.0)


def make_strength(
    name: str, policy: Sequence[str], device: torch.device, dtype: torch.dtype, is_compiled: bool = False
) -> AugmentationStrength | None:
    """Return the strength at the start of a run: 1 for diffaugment, 0 for adaptive, None without augmentation.

    Compiled steps take the same way at every probability, so that they are not compiled anew.
    """
    if name == "none":
        return None
    return AugmentationStrength(float(name == "diffaugment"), policy, device, dtype, always_active=is_compiled)
