"""An ONNX file makes onnxruntime load no library and read no other file, as docs/security.md says."""

import ctypes
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper

from export.sampler import Sampler, SamplerError
from tests.faults.hostile.graphs import WEIGHT, external, graph
from wgan_dist.evaluation.extractors import open_extractor
from wgan_dist.utils.errors import UserError

MAPS = Path("/proc/self/maps")
LIBRARY = "planted.so"


def own_operator() -> bytes:
    return graph([WEIGHT], nodes=[helper.make_node("Run", ["z"], ["images"], domain="evil", library=LIBRARY)])


def compiled_part() -> bytes:
    """A node that holds what another program compiled: for some devices that is a library beside the file."""
    node = helper.make_node(
        "EPContext", ["z"], ["images"], domain="com.microsoft", embed_mode=0, ep_cache_context=LIBRARY, main_context=1
    )
    model = onnx.load_from_string(graph([WEIGHT], nodes=[node]))
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return model.SerializeToString()


def own_settings() -> bytes:
    """Settings of a session, which onnxruntime takes from a file only if an environment variable says so."""
    model = onnx.load_from_string(graph([WEIGHT]))
    settings = {"register_custom_ops_library": LIBRARY, "custom_ops_library": LIBRARY, "enable_profiling": 1}
    model.metadata_props.add(key="ort_config", value=json.dumps({"session_options": settings}))
    return model.SerializeToString()


def weights_in_a_library() -> bytes:
    return graph([external(LIBRARY)])


def _sample(path: Path) -> None:
    Sampler(path, provider="cpu").sample(1)


def _extract(path: Path) -> None:
    open_extractor(str(path), torch.device("cpu"), (1, 2, 2))


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A shared library in the working folder, beside the graph."""
    if not MAPS.exists():
        pytest.skip("needs Linux, which lists the libraries of a process")
    monkeypatch.chdir(tmp_path)
    extension = next(Path(np.__file__).parent.rglob("_umath_tests*.so"))
    return Path(shutil.copy(extension, tmp_path / LIBRARY))


@pytest.mark.parametrize("make", [own_operator, compiled_part, own_settings, weights_in_a_library])
@pytest.mark.parametrize("use", [_sample, _extract])
def test_no_library_is_loaded(make: Callable[[], bytes], use: Callable[[Path], None], library: Path) -> None:
    path = library.with_name("g.onnx")
    path.write_bytes(make())
    try:
        use(path)
        assert make is own_settings  # its graph is a good one
    except (SamplerError, UserError):
        pass
    assert str(library) not in MAPS.read_text()
    assert sorted(each.name for each in library.parent.iterdir()) == ["g.onnx", LIBRARY]


def test_a_loaded_library_would_be_seen(library: Path) -> None:
    ctypes.CDLL(str(library))
    assert str(library) in MAPS.read_text()


def test_no_other_file_is_read(library: Path) -> None:
    """The weights that a file says lie beside it would fit."""
    path = library.with_name("g.onnx")
    library.with_name("w").write_bytes(np.full(8, 0.5, np.float32).tobytes())
    path.write_bytes(graph([external("w")]))
    assert onnx.load(path).graph.initializer[0].raw_data  # another reader finds them
    with pytest.raises(SamplerError, match="onnxruntime cannot load it"):
        Sampler(path, provider="cpu")
