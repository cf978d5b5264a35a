"""Feature extractors: networks that turn images into features, from TorchScript and ONNX files."""

import hashlib
import io
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wgan_dist.config.programs import is_program
from wgan_dist.utils import files
from wgan_dist.utils.errors import UserError

# The numbers of images of the first calls: two of them tell a free batch size from a fixed one.
TRIAL_BATCHES = (2, 3)


@dataclass(frozen=True)
class Extractor:
    """A feature extractor.

    `extract` maps images uint8 [n, c, h, w] to features [n, d] by layer, `features` is the layer in which distances are
    measured. `sha256` is that of the file, and `description` names the extractor in protocols.
    """

    extract: Callable[[Tensor], dict[str, Tensor]]
    sha256: str
    description: str
    features: str


def read_file(setting: str, path: Path) -> bytes:
    """Read a file that a setting names; raises UserError if that fails."""
    try:
        return files.read_file(path, files.MAX_WEIGHT_BYTES)
    except OSError as error:
        raise UserError(f"{setting}={path}: cannot be read: {error.strerror}") from error


def to_host(features: Tensor) -> Tensor:
    """Move features to host memory, in float32 unless they are in float64."""
    return features.detach().to("cpu", torch.promote_types(features.dtype, torch.float32))


def check_finite(setting: str, path: Path, layers: Iterable[Tensor]) -> None:
    """Raise UserError if features are not finite."""
    if not all(bool(torch.isfinite(features).all()) for features in layers):
        raise UserError(f"{setting}={path}: gives features that are not finite")


def end_of_message(error: Exception) -> str:
    """Return the end of an error message on one line: torch says last what happened."""
    return " ".join(str(error).split())[-200:]


def _open_onnx(content: bytes) -> Callable[[Tensor], Any]:
    import onnxruntime  # 30 MB that only an extractor in ONNX needs

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4  # it would print names of the file as they are; its exceptions say the same
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    inputs = [(value.name, value.type) for value in session.get_inputs()]
    if len(inputs) != 1 or inputs[0][1] != "tensor(uint8)" or len(session.get_outputs()) != 1:
        raise ValueError(f"takes {inputs} and gives {len(session.get_outputs())} outputs")
    return lambda images: torch.from_numpy(session.run(None, {inputs[0][0]: images.cpu().numpy()})[0])


def _open_torchscript(content: bytes, device: torch.device) -> Callable[[Tensor], Any]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit.*deprecated.*")
        module = torch.jit.load(io.BytesIO(content), device).eval()
    return lambda images: module(images.to(device))


def _checked_features(run: Callable[[Tensor], Any], images: Tensor, classes: int) -> Tensor:
    features = run(images)
    if not isinstance(features, Tensor) or not features.is_floating_point():
        raise ValueError(f"gives {features.dtype if isinstance(features, Tensor) else type(features).__name__}")
    if features.dim() != 2 or len(features) != len(images) or (classes and features.shape[1] != classes):
        raise ValueError(f"gives {list(features.shape)}")
    return to_host(features)


def open_extractor(file: str, device: torch.device, shape: tuple[int, ...], classes: int = 0) -> Extractor:
    """Open a TorchScript or ONNX (.onnx) file that maps images uint8 [n, c, h, w] of `shape` to features [n, d].

    With `classes` it is a classifier, whose features are logits [n, classes]. A TorchScript file is a program: open
    only files that you trust. It is run at once on images of zeros.

    Raises:
        UserError: For a file that cannot be opened, for another signature, and for features that are not finite; also
            by later calls of `extract`.
    """
    path = Path(file)
    setting, kind = ("classifier", "logits") if classes else ("feature_extractor", "features")
    content = read_file(setting, path)
    try:
        run = _open_torchscript(content, device) if is_program(path) else _open_onnx(content)
    except Exception as error:  # the exceptions of torch and onnxruntime have no common base
        raise UserError(
            f"{setting}={file}: not a TorchScript or ONNX module that takes uint8 images: {end_of_message(error)}"
        ) from error

    @torch.no_grad()
    def extract(images: Tensor) -> dict[str, Tensor]:
        try:
            features = _checked_features(run, images, classes)
        except Exception as error:
            raise UserError(
                f"{setting}={file}: expected uint8 {list(images.shape)} to {kind} [{len(images)}, {classes or 'd'}]: "
                f"{end_of_message(error)}"
            ) from error
        check_finite(setting, path, [features])
        return {"features": features}

    for count in TRIAL_BATCHES:
        extract(torch.zeros(count, *shape, dtype=torch.uint8))
    sha256 = hashlib.sha256(content).hexdigest()
    # The checksum tells extractors of one name apart: only values of equal protocols are compared.
    return Extractor(extract, sha256, f"{kind} of {path.name} ({sha256[:8]})", "features")
