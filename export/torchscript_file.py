"""Write a generator as a TorchScript file, and open it."""

import io
import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from export.metadata import METADATA_FILE, metadata
from export.network import Export, in_precision, load
from export.parity import Runner, print_written, torch_runner, write_checked
from export.settings import TorchScriptSettings
from wgan_dist.utils.errors import UserError


@contextmanager
def _no_deprecation_warnings() -> Iterator[None]:
    """Silence torch.jit, which warns of its deprecation at every call; libtorch programs still need it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit.*deprecated.*")
        yield


def to_torchscript(export: Export, precision: str) -> torch.jit.ScriptModule:
    """Trace the network in evaluation mode and freeze it."""
    example = tuple(export.example.values())
    with _no_deprecation_warnings():
        # export.parity checks the file, at several batch sizes.
        return torch.jit.freeze(torch.jit.trace(in_precision(export, precision).eval(), example, check_trace=False))


def open_torchscript(path: Path) -> tuple[dict[str, str], Callable[..., Tensor]]:
    """Return the metadata of a TorchScript file, and a function from the network's inputs to samples.

    Raises UserError for a file that is not a generator written by export.torchscript.
    """
    extra_files = {METADATA_FILE: ""}
    try:
        with _no_deprecation_warnings(), path.open("rb") as file:  # torch opens no path that is not UTF-8
            module = torch.jit.load(file, "cpu", _extra_files=extra_files)
        return dict(json.loads(extra_files[METADATA_FILE])), torch.no_grad()(module)
    except (RuntimeError, ValueError, AttributeError, TypeError) as error:
        raise UserError(f"{path}: not a generator written by export.torchscript: {error}") from error


def _open_runner(path: Path) -> Runner:
    return torch_runner(open_torchscript(path)[1])


def export_torchscript(settings: TorchScriptSettings) -> None:
    """Write a TorchScript file and print how near it is to the network."""
    export = load(settings, settings.SUFFIX)
    content = io.BytesIO()
    about = json.dumps(metadata(export.source, settings.uint8, settings.precision), sort_keys=True)
    script = to_torchscript(export, settings.precision)
    with _no_deprecation_warnings():
        torch.jit.save(script, content, _extra_files={METADATA_FILE: about})
    print_written(export.out, write_checked(export, content.getvalue(), _open_runner, settings))
