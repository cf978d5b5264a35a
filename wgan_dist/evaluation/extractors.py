"""Networks that turn images into features: Inception as torch-fidelity has it, or a TorchScript or ONNX file."""

import hashlib
import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wgan_dist.utils.errors import UserError

FEATURES, LOGITS = "2048", "logits_unbiased"
INCEPTION_SIZE = 299
# Images of each probe: two numbers of them tell a free batch size from a fixed one.
PROBES = (2, 3)

# Several named sets of features [n, d] of images uint8 [n, c, h, w].
Extract = Callable[[Tensor], dict[str, Tensor]]


@dataclass(frozen=True)
class Extractor:
    """A network that images are judged by: `extract`, the SHA-256 of its file, and words for the protocol.

    `features` is the name of the set that distances are taken in.
    """

    extract: Extract
    sha256: str
    words: str
    features: str


def _read(setting: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{setting}={path}: cannot be read: {error.strerror}") from error


def _on_host(features: Tensor) -> Tensor:
    """In host memory, in float32 unless they are in float64."""
    return features.detach().to("cpu", torch.promote_types(features.dtype, torch.float32))


def as_rgb(images: Tensor) -> Tensor:
    """uint8 [n, 1, 3 or 4, h, w] → [n, 3, h, w]: grey thrice, RGBA without A, as Pillow converts them."""
    return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images[:, :3]


def cached_inception() -> Path:
    """Where torch-fidelity keeps Inception's weights, there or not."""
    from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3

    return Path(torch.hub.get_dir()) / "checkpoints" / URL_INCEPTION_V3.rsplit("/", 1)[-1]


def missing_inception(weights: str) -> str:
    """Why Inception's metrics cannot be computed here, with what to do; nothing if they can."""
    from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3

    if weights or cached_inception().is_file():
        return ""
    return (
        f"needs Inception's weights: {URL_INCEPTION_V3} as {cached_inception()}, or anywhere with "
        "--inception_weights=FILE"
    )


def open_inception(weights: str, device: torch.device) -> Extractor:
    """torch-fidelity's Inception v3 with the weights of a file, or of torch-fidelity's cache.

    Raises UserError when the file cannot be read or holds other weights.
    """
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    if missing := missing_inception(weights):
        raise UserError(f"inception_weights: {missing}")
    path = Path(weights) if weights else cached_inception()
    content = _read("inception_weights", path)
    try:
        # Tensors alone first: torch-fidelity reads whatever a pickle holds, which may be a program.
        torch.load(io.BytesIO(content), "cpu", weights_only=True)
        network = FeatureExtractorInceptionV3(
            "inception-v3-compat", [FEATURES, LOGITS], feature_extractor_weights_path=io.BytesIO(content)
        ).to(device)
    except Exception as error:  # whatever unpickling rubbish raises
        raise UserError(
            f"inception_weights={path}: not the weights of torch-fidelity's Inception: {_short(error)}"
        ) from error

    @torch.no_grad()
    def extract(images: Tensor) -> dict[str, Tensor]:
        found = network(as_rgb(images).to(device))
        named = {name: _on_host(each) for name, each in zip((FEATURES, LOGITS), found, strict=True)}
        _check_finite("inception_weights", path, named.values())
        return named

    words = f"torch-fidelity's Inception v3 ({path.name}), resized to {INCEPTION_SIZE}×{INCEPTION_SIZE} in it"
    return Extractor(extract, hashlib.sha256(content).hexdigest(), words, FEATURES)


def _check_finite(setting: str, path: Path, sets: Any) -> None:
    if not all(bool(torch.isfinite(features).all()) for features in sets):
        raise UserError(f"{setting}={path}: gives features that are not finite")


def _onnx(content: bytes) -> Callable[[Tensor], Any]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    inputs = [(each.name, each.type) for each in session.get_inputs()]
    if len(inputs) != 1 or inputs[0][1] != "tensor(uint8)" or len(session.get_outputs()) != 1:
        raise ValueError(f"takes {inputs} and gives {len(session.get_outputs())} outputs")
    return lambda images: torch.from_numpy(session.run(None, {inputs[0][0]: images.cpu().numpy()})[0])


def _torchscript(content: bytes, device: torch.device) -> Callable[[Tensor], Any]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit.*deprecated.*")
        module = torch.jit.load(io.BytesIO(content), device).eval()
    return lambda images: module(images.to(device))


def _features(run: Callable[[Tensor], Any], images: Tensor) -> Tensor:
    found = run(images)
    if not isinstance(found, Tensor) or not found.is_floating_point():
        raise ValueError(f"gives {found.dtype if isinstance(found, Tensor) else type(found).__name__}")
    if found.dim() != 2 or len(found) != len(images):
        raise ValueError(f"gives {list(found.shape)}")
    return _on_host(found)


def _short(error: Exception) -> str:
    """The end of a message: torch begins with where it was, and says last what happened."""
    return " ".join(str(error).split())[-200:]


def open_extractor(file: str, device: torch.device, shape: tuple[int, ...]) -> Extractor:
    """A TorchScript or ONNX (.onnx) file from images uint8 [n, c, h, w] of `shape` to features [n, d].

    It is a program: open only what you trust. Tried at once; raises UserError for a file that is none, for another
    signature, and for features that are not finite, then and at any later images.
    """
    path = Path(file)
    content = _read("feature_extractor", path)
    try:
        run = _onnx(content) if path.suffix == ".onnx" else _torchscript(content, device)
    except Exception as error:  # torch's and onnxruntime's own have no common base
        raise UserError(
            f"feature_extractor={file}: not a TorchScript or ONNX module that takes uint8 images: {_short(error)}"
        ) from error

    @torch.no_grad()
    def extract(images: Tensor) -> dict[str, Tensor]:
        try:
            found = _features(run, images)
        except Exception as error:
            raise UserError(
                f"feature_extractor={file}: expected uint8 {list(images.shape)} to features [{len(images)}, d]: "
                f"{_short(error)}"
            ) from error
        _check_finite("feature_extractor", path, [found])
        return {"features": found}

    for count in PROBES:
        extract(torch.zeros(count, *shape, dtype=torch.uint8))
    return Extractor(extract, hashlib.sha256(content).hexdigest(), f"features of {path.name}", "features")
