"""The generated images that metrics are computed from: each process makes its share, the first process gets all."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from wgan_dist import distributed
from wgan_dist.data.samplers import to_network_inputs
from wgan_dist.evaluation.extractors import Extractor
from wgan_dist.evaluation.protocol import PIXEL_IMAGES
from wgan_dist.models.layers import MINIBATCH_GROUP
from wgan_dist.utils.errors import UserError
from wgan_dist.utils.images import as_uint8, to_uint8
from wgan_dist.utils.levels import Levels

BATCH_SIZE = 64

# Returns the samples with these numbers, the same at every call: images in [−1, 1] or in uint8, or points.
Generate = Callable[[slice], Tensor]
# Returns the critic's scores [n] of samples, images in [−1, 1] or points, and of their labels or None.
Score = Callable[[Tensor, Tensor | None], Tensor]


def own_share(count: int) -> slice:
    """Return this process's part of `count` samples; a group that a critic compares stays in one part."""
    return distributed.rank_slice(count, MINIBATCH_GROUP)


def batches(part: slice) -> Iterator[slice]:
    """Split a range of rows into batches of at most 64."""
    starts = range(part.start, part.stop, BATCH_SIZE)
    return (slice(start, min(start + BATCH_SIZE, part.stop)) for start in starts)


@dataclass(frozen=True)
class GeneratedSet:
    """The properties of generated images that metrics need.

    `pixels` [p, c, h, w] are the first 1,024 images, in uint8 for data of 8 bits and else in [−1, 1]. `scores` float64
    [s] are the critic's scores of the first ones; `features` [n, d] are of all, by extractor and layer. `is_finite`
    [processes] is false where a process has generated a value that is not finite.
    """

    pixels: Tensor
    features: dict[tuple[str, str], Tensor]
    scores: Tensor
    is_finite: Tensor

    def gather(self) -> "GeneratedSet":
        """Join the sets of all processes on the first one; every process must call it."""
        features = {key: distributed.gather(self.features[key]) for key in sorted(self.features)}
        pixels, scores, is_finite = map(distributed.gather, (self.pixels, self.scores, self.is_finite))
        return GeneratedSet(pixels, features, scores, is_finite)


def in_type_of_data(samples: Tensor, levels: Levels) -> Tensor:
    """Return images in uint8 or [−1, 1] as they are compared: in uint8 for data of 8 bits, else in [−1, 1]."""
    if levels.is_eight_bit:
        return samples if samples.dtype == torch.uint8 else to_uint8(samples.double())
    return to_network_inputs(samples, torch.float32).clamp(-1.0, 1.0)


def generate_set(
    generate: Generate,
    part: slice,
    shape: tuple[int, ...],
    levels: Levels,
    extractors: Mapping[str, Extractor],
    score: Score | None,
    scored: int,
    labels: Tensor | None = None,
) -> GeneratedSet:
    """Generate the images of `part`, extract their features and score those of the first `scored` images.

    `labels` are the classes of all images, or None.

    Raises:
        UserError: For images of another shape than `shape`.
    """
    dtype = torch.uint8 if levels.is_eight_bit else torch.float32
    pixels, scores = [torch.zeros(0, *shape, dtype=dtype)], [torch.zeros(0).double()]
    features: dict[tuple[str, str], list[Tensor]] = {}
    is_finite = True
    for batch in batches(part):
        samples = generate(batch)
        images = in_type_of_data(samples, levels).cpu()
        is_finite = is_finite and bool(torch.isfinite(samples).all())
        if tuple(images.shape[1:]) != shape:
            raise UserError(f"the generated images are {list(images.shape[1:])}, and the real ones are {list(shape)}")
        pixels.append(images[: max(0, PIXEL_IMAGES - batch.start)])
        to_score = samples[: max(0, scored - batch.start)]
        if score is not None and len(to_score):
            of_batch = None if labels is None else labels[batch][: len(to_score)]
            scores.append(score(to_score, of_batch).double().flatten().cpu())
        for name, extractor in extractors.items():
            for layer, values in extractor.extract(as_uint8(images)).items():
                features.setdefault((name, layer), []).append(values)
    joined = {key: torch.cat(values) for key, values in features.items()}
    return GeneratedSet(torch.cat(pixels), joined, torch.cat(scores), torch.tensor([is_finite]))
