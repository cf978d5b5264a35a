"""Methods that condition a generator on the class of a sample, except class-conditional BatchNorm, a layer."""

import torch
from torch import Tensor, nn

# An embedding has as many values as there are classes, up to this number.
MAX_EMBEDDING = 128


def embedding_size(classes: int) -> int:
    """Return the number of values of the embedding of a class."""
    return min(classes, MAX_EMBEDDING)


class EmbeddingGenerator(nn.Module):
    """A generator of any family whose latent vector is joined to a learned embedding of the class (Mirza and Osindero
    2014, with an embedding instead of a one-hot vector).

    Args:
        generator: A generator of latents of length latent_dim + embedding_size(classes).
        classes: The number of classes.
    """

    def __init__(self, generator: nn.Module, classes: int) -> None:
        super().__init__()
        self.generator = generator
        self.embedding = nn.Embedding(classes, embedding_size(classes))

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        """Map z [n, latent_dim] and labels int64 [n] to samples."""
        return self.generator(torch.cat([z, self.embedding(labels).to(z.dtype)], 1))
