"""Write a bundle: a folder with a generator and everything another program needs to sample from it."""

import importlib.metadata
from pathlib import Path

import export.sampler
from export.output_folder import (
    CHECKSUMS,
    ONNX_FILE,
    is_onnx,
    output_folder,
    sampler_errors_name_ckpt,
    write_generator,
)
from export.parity import print_written
from export.sampler import Sampler, enlarged, grid, write_picture
from export.settings import BundleSettings
from wgan_dist.reporting.model_card import card_text, save_card
from wgan_dist.utils.console import print_now
from wgan_dist.utils.errors import UserError
from wgan_dist.utils.files import write_bytes

SAMPLER, EXAMPLE, GRID = "sampler.py", "example.py", "grid.png"
# The licence of the code. The model card names that of the generator.
LICENCE = "LICENSE.sampler"
GRID_IMAGES = 64
EXAMPLE_TEXT = f'''"""Generate the sixteen images of seed 0:  python {EXAMPLE}"""

from pathlib import Path

from {SAMPLER.removesuffix(".py")} import Sampler

images = Sampler(Path(__file__).with_name("{ONNX_FILE}")).sample(16, seed=0)  # [16, height, width, channels]
print(images.shape, images.dtype)
'''
PACKAGES = ("numpy", "onnxruntime")


def _licence() -> bytes:
    """Return the text of the licence of sampler.py."""
    path = Path(export.__file__).resolve().parent.parent / "LICENSE"
    if path.is_file():  # in a clone, whose metadata may lack the licence
        return path.read_bytes()
    text = importlib.metadata.distribution("wgan_dist").read_text("licenses/LICENSE")
    assert text, "wgan_dist is installed without its licence"
    return text.encode()


def _requirements() -> str:
    """Return this package's own requirements of numpy and onnxruntime, the latter by the name that runs everywhere."""
    required = [line.partition(";")[0].strip() for line in importlib.metadata.requires("wgan_dist") or []]
    return "".join(f"{next(line for line in required if line.startswith(f'{name}>'))}\n" for name in PACKAGES)


def _write_files(settings: BundleSettings, folder: Path, sampler: Sampler) -> None:
    """Write all files but the generator and the checksums. A generator that is an ONNX file gets no model card."""
    if not is_onnx(settings.ckpt):
        save_card(folder, card_text(Path(settings.ckpt), GRID, settings.weights, settings.precision))
    write_bytes(folder / SAMPLER, Path(export.sampler.__file__).read_bytes())
    write_bytes(folder / EXAMPLE, EXAMPLE_TEXT.encode())
    write_bytes(folder / "requirements.txt", _requirements().encode())
    write_bytes(folder / LICENCE, _licence())
    with sampler_errors_name_ckpt(settings, folder / ONNX_FILE):
        images = sampler.values.picture(sampler.sample(GRID_IMAGES, seed=0))
    write_picture(enlarged(grid(images)), folder / GRID)


def export_bundle(settings: BundleSettings) -> None:
    """Write the folder that the settings describe, and print how near the generator is to the network."""
    with output_folder(settings.out, SAMPLER) as folder:
        sampler, text = write_generator(settings, folder, settings.precision)
        if sampler.makes_points:
            raise UserError(f"ckpt={settings.ckpt}: this generator makes points; expected a generator of images")
        _write_files(settings, folder, sampler)
    print_written(settings.out, f"generator {text}")
    print_now(f"check the files in it with: sha256sum -c {CHECKSUMS}")
