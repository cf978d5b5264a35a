"""A trained generator as a torch module that is loaded from and saved to files and the Hugging Face Hub."""

import copy
import os
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelHubMixin, hf_hub_download
from numpy.typing import NDArray
from torch import Tensor, nn

from export.labels import sample_labels
from export.sampler import ImageValues, Label, SamplerError, enlarged, grid, whole_number, write_picture
from wgan_dist.checkpoints import generator_file
from wgan_dist.checkpoints.generator_file import EMA_FILE, Description
from wgan_dist.checkpoints.safetensors_io import copy_to_host
from wgan_dist.config import is_run
from wgan_dist.models.inference import generate, sample_latents
from wgan_dist.reporting.model_card import LIBRARY, build_card, save_card
from wgan_dist.reporting.run_data import read_run
from wgan_dist.utils.errors import UserError
from wgan_dist.utils.files import write_bytes

PICTURE, PICTURE_IMAGES = "samples.png", 64
HUB_KEYWORDS = ("revision", "token", "cache_dir", "force_download", "local_files_only")


class Generator(nn.Module, ModelHubMixin, library_name=LIBRARY):
    """A trained generator and its description.

    On disk and on the Hub it is a `generator.safetensors`, which contains its description and a checksum, beside a
    model card (`README.md`), a grid of samples (`samples.png`) and a copy of the description for the Hub
    (`config.json`).

    Attributes:
        network: The torch module.
        description: A `wgan_dist.checkpoints.generator_file.Description`.
    """

    def __init__(self, network: nn.Module, description: Description) -> None:
        """Wrap a network: z [n, latent_dim] and, with classes, label int64 [n] → images [n, channels, height, width] in
        [−1, 1], or points [n, d].
        """
        super().__init__()
        self.network, self.description = network, description
        self._run: Path | None = None

    def __repr__(self) -> str:
        """Return what the generator makes, from what, and how long it was trained; `network` has the layers."""
        about = self.description
        output = "" if self.makes_points else f"image_size={about.image_size}, channels={self.channels}, "
        values = {
            "latent_dim": self.latent_dim,
            "latent_distribution": self.latent_distribution,
            "steps": about.steps,
            "network": about.network.name,
            "data": about.data,
        }
        return f"Generator({output}{', '.join(f'{name}={value!r}' for name, value in values.items())})"

    @property
    def latent_dim(self) -> int:
        """The length of the latent vector z."""
        return self.description.latent_dim

    @property
    def latent_distribution(self) -> str:
        """The distribution of z: `normal`, N(0, 1), or `uniform`, U[−1, 1)."""
        return self.description.latent_distribution

    @property
    def image_size(self) -> tuple[int, int]:
        """The height and width of an image in pixels; (1, 1) for points."""
        return self.description.image_size

    @property
    def channels(self) -> int:
        """The number of channels, such as 1 (grey), 3 (RGB) or 4 (RGBA); of points the dimension."""
        return self.description.channels

    @property
    def makes_points(self) -> bool:
        """True if the samples are points, not images."""
        return self.description.makes_points

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes by their numbers from 0; none without classes."""
        return self.description.classes

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """Map latent vectors z [n, latent_dim] to images [n, channels, height, width] in [−1, 1], or points [n, d].

        A generator with classes needs the numbers of the classes, `label` int64 [n].
        """
        samples: Tensor = self.network(z) if label is None else self.network(z, label)
        return samples

    def sample(self, count: int, seed: int = 0, label: Label = None) -> NDArray[Any]:
        """Return images [count, height, width, channels] in the values of the training data, or points [count, d].

        Images are uint8, uint16 or float32 as the data are, and points float32.

        With classes, `label` is the name of a class or its number, or a sequence with one for each sample; without it
        the classes are drawn with their frequencies in the training data. The same seed gives the same samples,
        whatever the count, and the same as `export.sampler` up to rounding. They are computed on the device of this
        module, in float32 and evaluation mode; the module itself is not changed.
        Raises UserError for a count below 1, a seed below 0 or a label that does not exist, and FloatingPointError for
        samples that are not finite.
        """
        try:
            count, seed = whole_number("count", count, 1), whole_number("seed", seed, 0)
        except SamplerError as error:
            raise UserError(str(error)) from error
        z = sample_latents(count, self.latent_dim, self.latent_distribution, seed)
        labels = sample_labels(self.description, count, seed, label)
        return generate(copy.deepcopy(self.network).eval(), z, self.description.levels, labels)

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | Path, *, generator: str = "", **hub_options: Any
    ) -> "Generator":
        """Load a generator in evaluation mode.

        Raises UserError for a file that is not a generator, is damaged or was written by a newer version, and for a
        name that is neither a path nor on the Hub.

        Args:
            pretrained_model_name_or_path: A run folder, a checkpoint folder, a generator.safetensors, a folder that
                `save_pretrained` wrote, or, if no such path exists, a name on the Hub.
            generator: The module:Class of a custom network. A file alone never makes this package import code.
            hub_options: Keywords of `huggingface_hub.hf_hub_download`: revision, token, cache_dir, force_download,
                local_files_only. The config.json on the Hub is not read, because the generator file has its own
                description.
        """
        unknown = hub_options.keys() - HUB_KEYWORDS
        if unknown:
            raise TypeError(f"unknown keywords {', '.join(sorted(unknown))}; expected {', '.join(HUB_KEYWORDS)}")
        name = os.fspath(pretrained_model_name_or_path)
        if Path(name).exists():
            return cls._from_path(Path(name), generator)
        try:
            path = hf_hub_download(name, EMA_FILE, **hub_options)
        except (OSError, ValueError) as error:  # includes the exceptions of huggingface_hub
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise UserError(f"{name}: no such path exists, and the Hub cannot provide it: {reason}") from error
        return cls._from_path(Path(path), generator)

    @classmethod
    def _from_path(cls, path: Path, own_class: str) -> "Generator":
        loaded = generator_file.load(generator_file.locate(str(path), "ema"), own_class)
        generator = cls(loaded.network, loaded.description)
        generator._run = path if is_run(path) else None
        return generator.eval()

    def _to_bytes(self) -> bytes:
        return generator_file.to_bytes(copy_to_host(self.network.state_dict()), self.description)

    def _has_weights_of(self, run: Path) -> bool:
        """Return True if the weights are those of the run's generator, so that the run's metrics hold for them."""
        file = run / EMA_FILE
        return file.is_file() and file.read_bytes() == self._to_bytes()

    def _save_pretrained(self, save_directory: Path) -> None:
        """Write the generator file, the samples and the model card; `ModelHubMixin` calls this."""
        write_bytes(save_directory / EMA_FILE, self._to_bytes())
        if not self.makes_points:
            z = sample_latents(PICTURE_IMAGES, self.latent_dim, self.latent_distribution, 0)
            labels = sample_labels(self.description, PICTURE_IMAGES, 0)
            images = ImageValues().picture(generate(copy.deepcopy(self.network).eval(), z, labels=labels))
            write_picture(enlarged(grid(images)), save_directory / PICTURE)
        save_card(save_directory, str(self.generate_model_card()))

    def generate_model_card(self, *args: Any, **kwargs: Any) -> ModelCard:
        """Return the model card; the arguments of the overridden method are ignored.

        It states the settings and metrics of the run that the generator was loaded from, if the weights have not been
        changed since.
        """
        run = read_run(self._run, self._run.resolve().name) if self._run and self._has_weights_of(self._run) else None
        return build_card(self.description, run, "" if self.makes_points else PICTURE)
