"""A generator as an ONNX file, computed by onnxruntime on the device."""

import importlib.util
from collections.abc import Iterator

import numpy as np
import torch

from tests.gpu_session.machine import Machine
from tests.gpu_session.runs import train
from tests.gpu_session.small_runs import settings_in
from tests.gpu_session.table import Row, at_most, not_tried
from wgan_dist.checkpoints import generator_file

NEEDED = ("onnx", "onnxruntime", "onnxscript")
IMAGES = 64


def _compare(machine: Machine) -> Iterator[Row]:
    # A machine without these packages can still run the rest of the session.
    import onnxruntime

    from export.onnx_file import write_onnx
    from export.sampler import PROVIDERS, Sampler, to_uint8
    from export.settings import OnnxSettings

    available, provider = onnxruntime.get_available_providers(), PROVIDERS[machine.device.type]
    if provider not in available:
        yield not_tried("images", f"onnxruntime {onnxruntime.__version__} has no {provider}: {', '.join(available)}")
        return
    run_dir, out = machine.scratch / "exported", machine.scratch / "generator.onnx"
    train(settings_in(machine.scratch, run_dir=str(run_dir), max_steps="1"))
    write_onnx(OnnxSettings(ckpt=str(run_dir), out=str(out)))
    network = generator_file.load(generator_file.locate(str(run_dir), "ema")).network
    sampler = Sampler(out, provider)
    z = sampler.latents(IMAGES)
    with torch.no_grad():
        expected = to_uint8(network(torch.from_numpy(z)).numpy())
    difference = np.abs(sampler.images(z).astype(int) - expected.astype(int)).max()
    yield at_most(f"{IMAGES} images by {provider}, levels of 255 from the network on the CPU", float(difference), 1)


def onnx(machine: Machine) -> Iterator[Row]:
    """Compare the images of an ONNX file on the device with those of the network on the CPU."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        yield not_tried("images", f"not installed: {', '.join(missing)}")
    else:
        yield from _compare(machine)
