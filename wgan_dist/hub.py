"""A trained generator as an object: from a run, a file or the Hub, and to the Hub."""

import copy
import os
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelHubMixin, hf_hub_download
from numpy.typing import NDArray
from torch import Tensor, nn

from export.sampler import grid, latents, write_picture
from wgan_dist.checkpoints import generator_file
from wgan_dist.checkpoints.generator_file import EMA_FILE, Artifact, Description
from wgan_dist.config import is_run
from wgan_dist.model_card import LIBRARY, card, save_card
from wgan_dist.reporting.runs import read_run
from wgan_dist.sample import images_of, points_of
from wgan_dist.utils.errors import UserError
from wgan_dist.utils.files import write_bytes

PICTURE, PICTURED = "samples.png", 64
HUB_KEYWORDS = ("revision", "token", "cache_dir", "force_download", "local_files_only")


class Generator(nn.Module, ModelHubMixin, library_name=LIBRARY):
    """A trained generator, with what its file says about itself.

    Attributes: `network`, the torch module; `description`, an `artifact.Description`; and from it `latent_dim`,
    `latent_distribution` (normal or uniform), `image_size`, `channels`, `makes_points`.

    On disk and on the Hub it is `generator.safetensors`, which describes itself and has a checksum, beside a model card
    (`README.md`), a grid of samples (`samples.png`) and `config.json`, the description once more, for the Hub itself.
    """

    def __init__(self, network: nn.Module, description: Description) -> None:
        """`network` maps z [n, latent_dim] to images [n, channels, size, size] in [−1, 1], or to points [n, 2]."""
        super().__init__()
        self.network, self.description = network, description
        self._run: Path | None = None

    @property
    def latent_dim(self) -> int:
        """The length of the latent vector z."""
        return self.description.latent_dim

    @property
    def latent_distribution(self) -> str:
        """What z is drawn from: normal, N(0, 1), or uniform, U[−1, 1)."""
        return self.description.latent_distribution

    @property
    def image_size(self) -> int:
        """Height and width of an image in pixels; 1 for points."""
        return self.description.image_size

    @property
    def channels(self) -> int:
        """1 grey, 3 RGB, 4 RGBA; 2 for points, their coordinates."""
        return self.description.channels

    @property
    def makes_points(self) -> bool:
        """Whether it makes points of the plane rather than images."""
        return self.description.makes_points

    def forward(self, z: Tensor) -> Tensor:
        """Latent vectors z [n, latent_dim] → images [n, channels, size, size] in [−1, 1], or points [n, 2]."""
        samples: Tensor = self.network(z)
        return samples

    def sample(self, count: int, seed: int = 0) -> NDArray[Any]:
        """`count` images, uint8 [count, height, width, channels], or points float32 [count, 2].

        The same for the same seed, the first k for any count, and those of `export.sampler` but for rounding: computed
        in float32 and evaluation mode, whatever this module is in, on its device. Raises UserError for a count below 1
        or a seed below 0.
        """
        if count < 1:
            raise UserError(f"count={count}: expected at least 1")
        if seed < 0:
            raise UserError(f"seed={seed}: expected at least 0")
        z = latents(count, self.latent_dim, self.latent_distribution, seed)
        source = Artifact(copy.deepcopy(self.network).eval(), self.description, "")
        return points_of(source, z) if self.makes_points else images_of(source, z)

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | Path, *, generator: str = "", **of_hub: Any
    ) -> "Generator":
        """A generator in evaluation mode, from a run folder, a checkpoint folder, a generator.safetensors, a folder
        that `save_pretrained` wrote, or, where there is no such path, by its name on the Hub.

        `generator="module:Class"` names the class of a network of one's own, which no file can choose by itself. For
        the Hub, keywords of huggingface_hub's hf_hub_download: revision, token, cache_dir, force_download,
        local_files_only. What config.json says there is not read: the generator's file describes itself.

        Raises UserError for what is no generator, is damaged or was written by a newer version, and for a name that the
        Hub does not have, or does not give.
        """
        unknown = of_hub.keys() - HUB_KEYWORDS
        if unknown:
            raise TypeError(f"unknown keywords {', '.join(sorted(unknown))}; known are {', '.join(HUB_KEYWORDS)}")
        name = os.fspath(pretrained_model_name_or_path)
        if Path(name).exists():
            return cls._from_path(Path(name), generator)
        try:
            path = hf_hub_download(name, EMA_FILE, **of_hub)
        except (OSError, ValueError) as error:  # the Hub's own are among them
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise UserError(f"{name}: there is no such path here, and the Hub does not give it: {reason}") from error
        return cls._from_path(Path(path), generator)

    @classmethod
    def _from_path(cls, path: Path, own_class: str) -> "Generator":
        loaded = generator_file.load(generator_file.locate(str(path), "ema"), own_class)
        generator = cls(loaded.network, loaded.description)
        generator._run = path if path.is_dir() and is_run(path) else None
        return generator.eval()

    def _to_bytes(self) -> bytes:
        return generator_file.to_bytes(self.network.state_dict(), self.description)

    def _is_of_run(self, run: Path) -> bool:
        """Whether these are the very weights of the run, so that its figures are theirs."""
        file = run / EMA_FILE
        return file.is_file() and file.read_bytes() == self._to_bytes()

    def _save_pretrained(self, save_directory: Path) -> None:
        """Called by huggingface_hub: the file, a picture and the card, each whole or not at all."""
        write_bytes(save_directory / EMA_FILE, self._to_bytes())
        if not self.makes_points:
            write_picture(grid(self.sample(PICTURED)), save_directory / PICTURE)
        save_card(save_directory, str(self.generate_model_card()))

    def generate_model_card(self, *args: Any, **kwargs: Any) -> ModelCard:
        """The model card, as huggingface_hub's class of that name, with the settings and figures of the run that this
        was read from, if it was, and has its weights still. Takes no notice of its arguments.
        """
        run = read_run(self._run, self._run.resolve().name) if self._run and self._is_of_run(self._run) else None
        return card(self.description, run, "" if self.makes_points else PICTURE)
