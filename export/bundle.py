"""`python -m export.bundle`: a folder that another program takes as it is, with all it needs to draw images."""

import importlib.metadata
from dataclasses import dataclass
from pathlib import Path

import export.sampler
from export.network import FP32
from export.onnx import INT8
from export.output_folder import GRAPH, SUMS, FolderSettings, as_user_errors, handed_on, is_graph, write_graph
from export.sampler import Sampler, grid, write_picture
from wgan_dist.config import command_line
from wgan_dist.config.fields import from_flags, setting
from wgan_dist.reporting.model_card import card_text, save_card
from wgan_dist.utils.files import write_bytes

USAGE = """
Write a folder for another program to take whole: the generator as an ONNX file, the sampler that needs numpy and
onnxruntime alone, an example, the model card, a grid of samples, the licence, and a checksum of every file.

  python -m export.bundle --ckpt=runs/0001 --out=cats/
  python cats/example.py
"""
SAMPLER, EXAMPLE, GRID = "sampler.py", "example.py", "grid.png"
# Of the code: the generator has one of its own, or none.
LICENCE = "LICENSE.sampler"
GRID_IMAGES = 64
EXAMPLE_TEXT = f'''"""Sixteen images of seed 0, from any folder:  python {EXAMPLE}"""

from pathlib import Path

from {SAMPLER.removesuffix(".py")} import Sampler

images = Sampler(Path(__file__).with_name("{GRAPH}")).sample(16, seed=0)  # uint8 [16, height, width, channels]
print(images.shape, images.dtype)
'''
PACKAGES = ("numpy", "onnxruntime")


@dataclass(frozen=True)
class BundleSettings(FolderSettings):
    """What the command is told."""

    precision: str = setting(FP32, "what the graph computes in: int8 is faster on a CPU", choices=(FP32, INT8))


def _licence() -> bytes:
    """The text under which sampler.py is handed on."""
    beside = Path(export.__file__).resolve().parent.parent / "LICENSE"
    if beside.is_file():  # of a repository, whose metadata may lack it
        return beside.read_bytes()
    text = importlib.metadata.distribution("wgan_dist").read_text("licenses/LICENSE")
    assert text, "wgan_dist is installed without its licence"
    return text.encode()


def _requirements() -> str:
    """The least versions are those of this package; onnxruntime is wanted by the name that runs everywhere."""
    wanted = importlib.metadata.requires("wgan_dist") or []
    lines = [
        next(each.partition(";")[0].strip() for each in wanted if each.startswith(f"{name}>")) for name in PACKAGES
    ]
    return "".join(f"{line}\n" for line in lines)


def _write_bundle(settings: BundleSettings, folder: Path, sampler: Sampler) -> None:
    """All but the graph, which is there already, and the checksums, which come last. A graph file has no card."""
    if not is_graph(settings.ckpt):
        save_card(folder, card_text(Path(settings.ckpt), GRID, settings.weights, settings.precision))
    write_bytes(folder / SAMPLER, Path(export.sampler.__file__).read_bytes())
    write_bytes(folder / EXAMPLE, EXAMPLE_TEXT.encode())
    write_bytes(folder / "requirements.txt", _requirements().encode())
    write_bytes(folder / LICENCE, _licence())
    with as_user_errors(settings, folder / GRAPH):
        images = sampler.sample(GRID_IMAGES, seed=0)
    write_picture(grid(images), folder / GRID)


def export_bundle(flags: dict[str, str]) -> None:
    """Write the folder that the texts of settings describe; what the command line does."""
    settings = from_flags(BundleSettings, flags)
    with handed_on(settings.out, SAMPLER) as folder:
        sampler, words = write_graph(settings, folder, settings.precision)
        _write_bundle(settings, folder, sampler)
    print(f"{settings.out}: generator {words}; sha256sum -c {SUMS} in it checks the files")


if __name__ == "__main__":
    command_line.run(export_bundle, BundleSettings, USAGE)
