"""Data flows one way: a module imports only what is to its left."""

import ast
import re
from pathlib import Path

import pytest

from tests.processes import REPOSITORY

# Left to right. Names on one line know nothing of each other unless ALLOWED_BESIDE says so.
LAYERS = [
    ["wgan_dist", "wgan_dist.errors", "wgan_dist.measures", "export"],
    [
        "wgan_dist.files",
        "wgan_dist.host_memory",
        "wgan_dist.settings",
        "wgan_dist.noise",
        "wgan_dist.ema",
        "wgan_dist.guard",
        "wgan_dist.inner_gradient",
        "wgan_dist.optimizers",
    ],
    ["wgan_dist.signals", "wgan_dist.behind", "wgan_dist.profiling", "wgan_dist.trackers"],
    ["wgan_dist.objectives"],
    ["wgan_dist.cli", "wgan_dist.config", "wgan_dist.weights", "wgan_dist.distributed"],
    ["wgan_dist.data.points"],
    ["wgan_dist.run_folder", "wgan_dist.schedule", "wgan_dist.data.transform", "wgan_dist.data.sources"],
    ["wgan_dist.data.holdout", "wgan_dist.data.archives", "wgan_dist.data.hugging_face"],
    ["wgan_dist.data.shards"],
    ["wgan_dist.data.opening"],
    ["wgan_dist.data.images", "wgan_dist.models.blocks", "wgan_dist.models.instance_norm", "wgan_dist.recipes"],
    ["wgan_dist.data.inspection"],
    [
        "wgan_dist.data.batches",
        "wgan_dist.models.dcgan",
        "wgan_dist.models.mlp",
        "wgan_dist.models.points",
        "wgan_dist.models.kernels",
    ],
    ["wgan_dist.models.resnet", "wgan_dist.models.upsample"],
    ["wgan_dist.data", "wgan_dist.models", "wgan_dist.metrics"],
    ["wgan_dist.metrics.points", "wgan_dist.metrics.sliced_wasserstein", "wgan_dist.metrics.neighbours"],
    ["wgan_dist.metrics.features", "wgan_dist.metrics.extractors"],
    ["wgan_dist.real_features", "wgan_dist.judges"],
    ["wgan_dist.critic_estimate", "wgan_dist.pictures"],
    ["wgan_dist.pace", "wgan_dist.step", "wgan_dist.observe"],
    ["wgan_dist.networks", "wgan_dist.evaluation"],
    ["wgan_dist.players"],
    ["wgan_dist.artifact", "wgan_dist.checkpoint"],
    ["wgan_dist.best"],
    ["wgan_dist.state", "wgan_dist.ending"],
    ["wgan_dist.trainer"],
    ["export.rewrite"],
    ["export.graph"],
    ["export.parity", "export.quantise"],
    ["export.onnx", "export.torchscript", "export.program", "export.sampler", "export.web_runtime"],
    ["export.folders"],
    ["export.web"],
    ["wgan_dist.subjects"],
    ["wgan_dist.data.__main__"],
    ["wgan_dist.sample", "wgan_dist.evaluate", "wgan_dist.summary", "wgan_dist.recipes.__main__"],
    ["wgan_dist.reports", "wgan_dist.reports.runs", "wgan_dist.reports.hardware", "wgan_dist.reports.pictures"],
    ["wgan_dist.model_card"],
    ["export.bundle"],
    ["wgan_dist.hub", "wgan_dist.train"],
    ["wgan_dist.reports.comparison", "wgan_dist.reports.curves", "wgan_dist.reports.figures"],
    ["wgan_dist.reports.frames", "wgan_dist.reports.samples", "wgan_dist.reports.timing"],
    ["wgan_dist.reports.content"],
    ["wgan_dist.reports.page"],
    ["wgan_dist.report"],
]
PLACE = {name: place for place, names in enumerate(LAYERS) for name in names}
FILES = {
    ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__"): path
    for folder in ("wgan_dist", "export")
    for path in (REPOSITORY / folder).rglob("*.py")
}
# Its names are loaded when they are first used: it knows modules only by their names.
PUBLIC = "wgan_dist"
# Only these may know the library that distributes, and these the processes.
ACCELERATE = {
    "wgan_dist.trackers",
    "wgan_dist.distributed",
    "wgan_dist.players",
    "wgan_dist.trainer",
    "wgan_dist.train",
}
TORCH_DISTRIBUTED = {"wgan_dist.distributed"}
# A file that others vendor whole, and what must start within a second.
WITHOUT_OURS = {"export.sampler"}
WITHOUT_TORCH = {
    "wgan_dist.config",
    "wgan_dist.settings",
    "wgan_dist.cli",
    "wgan_dist.noise",
    "wgan_dist.files",
    "wgan_dist.signals",
}


def imports(path: Path) -> set[str]:
    """Every module that a file names in an import, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in FILES else node.module for name in inner}
    return found


def test_every_module_has_its_place() -> None:
    assert sorted(FILES) == sorted(PLACE)


@pytest.mark.parametrize("name", sorted(FILES.keys() - {PUBLIC}))
def test_a_module_imports_only_what_is_to_its_left(name: str) -> None:
    ours = {found for found in imports(FILES[name]) if found in FILES}
    assert {found for found in ours if PLACE[found] >= PLACE[name]} == set()


@pytest.mark.parametrize(("library", "allowed"), [("accelerate", ACCELERATE), ("torch.distributed", TORCH_DISTRIBUTED)])
def test_only_named_modules_know_the_processes(library: str, allowed: set[str]) -> None:
    users = {
        name for name, path in FILES.items() if any(f"{each}.".startswith(f"{library}.") for each in imports(path))
    }
    assert users <= allowed


@pytest.mark.parametrize("name", sorted(WITHOUT_TORCH | WITHOUT_OURS))
def test_light_modules_do_not_reach_torch(name: str) -> None:
    reached, waiting = set(), {name}
    while waiting:
        current = waiting.pop()
        reached.add(current)
        waiting |= {each for each in imports(FILES[current]) if each in FILES} - reached
        assert not any(each.split(".")[0] == "torch" for each in imports(FILES[current])), current
    assert name not in WITHOUT_OURS or reached == {name}


def test_nothing_unpickles() -> None:
    """A checkpoint or generator from a stranger must not be able to run code."""
    for path in FILES.values():
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"(?<!safetensors\.)torch\.load\((?!.*weights_only=True)", text), path
        assert "import pickle" not in text, path
