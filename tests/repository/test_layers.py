"""Data flows one way through the packages: a package imports only packages to its left."""

import ast
import re
from pathlib import Path

import pytest

from tests.processes import REPOSITORY

# The packages in the order of their imports. Modules directly in wgan_dist are commands and the public interface, and
# so is every __main__.
ORDER = (
    "utils",
    "config",
    "distributed",
    "data",
    "ops",
    "models",
    "losses",
    "checkpoints",
    "tracking",
    "evaluation",
    "training",
    "reporting",
    "export",
    "commands",
)
MODULES = {
    ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__"): path
    for folder in ("wgan_dist", "export")
    for path in (REPOSITORY / folder).rglob("*.py")
}
# Only these packages know the library that starts the processes, and only this one knows the processes.
ACCELERATE = {"distributed", "tracking", "training", "commands"}
TORCH_DISTRIBUTED = {"distributed"}
# A file that others copy whole, and packages that start within a fraction of a second.
STANDS_ALONE = "export.sampler"
WITHOUT_TORCH = ("wgan_dist.config", "wgan_dist.config.command_line", "wgan_dist.utils.rng", "wgan_dist.utils.files")


def package_of(module: str) -> str:
    """Return the package of ORDER that a module belongs to."""
    top, *rest = module.split(".")
    if module.endswith("__main__") or (top == "wgan_dist" and (not rest or rest[0] not in ORDER)):
        return "commands"
    return rest[0] if top == "wgan_dist" else top


def imports(path: Path) -> set[str]:
    """Return every module that a file imports, at its top or inside a function."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else node.module for name in inner}
    return found


def test_every_package_has_its_place() -> None:
    assert {package_of(module) for module in MODULES} == set(ORDER)


@pytest.mark.parametrize("package", ORDER)
def test_a_package_imports_only_packages_to_its_left(package: str) -> None:
    upward = {
        (module, imported)
        for module, path in MODULES.items()
        if package_of(module) == package
        for imported in imports(path) & MODULES.keys()
        # The version stands in the package's __init__, which imports nothing.
        if imported != "wgan_dist" and ORDER.index(package_of(imported)) > ORDER.index(package)
    }
    assert upward == set()


@pytest.mark.parametrize(("library", "allowed"), [("accelerate", ACCELERATE), ("torch.distributed", TORCH_DISTRIBUTED)])
def test_only_named_packages_know_the_processes(library: str, allowed: set[str]) -> None:
    users = {
        package_of(module)
        for module, path in MODULES.items()
        if any(f"{each}.".startswith(f"{library}.") for each in imports(path))
    }
    assert users <= allowed


@pytest.mark.parametrize("name", [*WITHOUT_TORCH, STANDS_ALONE])
def test_light_modules_do_not_reach_torch(name: str) -> None:
    reached, waiting = set(), {name}
    while waiting:
        current = waiting.pop()
        reached.add(current)
        parents = {current.rsplit(".", depth)[0] for depth in range(1, current.count(".") + 1)}
        # The names of the package itself are imported when they are first used.
        waiting |= ({each for each in imports(MODULES[current]) if each in MODULES} | parents) - reached - {"wgan_dist"}
        assert not any(each.split(".")[0] == "torch" for each in imports(MODULES[current])), current
    assert name != STANDS_ALONE or not imports(MODULES[name]) & MODULES.keys()


def test_nothing_unpickles() -> None:
    """A checkpoint or generator of a stranger must not be able to run code."""
    for path in MODULES.values():
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"(?<!safetensors\.)torch\.load\((?!.*weights_only=True)", text), path
        assert "import pickle" not in text, path
