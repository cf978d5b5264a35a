"""What is built and installed: the wheel's files and metadata, and every command from an empty folder."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.conftest import TINY
from tests.processes import HANG_SECONDS, REPOSITORY

PACKAGES, BESIDE = ("wgan_dist", "export"), ("tests", "launch", "docs", ".ci")
NOT_SOURCES = shutil.ignore_patterns(".git", ".venv", "build", "dist", "runs", "*.egg-info", "__pycache__", ".*_cache")
PLATFORMS = {
    "Linux, x86": {"sys_platform": "linux", "platform_machine": "x86_64"},
    "Linux, ARM": {"sys_platform": "linux", "platform_machine": "aarch64"},
    "Windows": {"sys_platform": "win32", "platform_machine": "AMD64"},
    "macOS": {"sys_platform": "darwin", "platform_machine": "arm64"},
}

pytestmark = pytest.mark.slow


def sources(folders: tuple[str, ...]) -> set[str]:
    """Every file below folders of the repository, but for what running it leaves."""
    paths = (path for folder in folders for path in (REPOSITORY / folder).rglob("*") if path.is_file())
    return {str(path.relative_to(REPOSITORY)) for path in paths if "__pycache__" not in path.parts}


def _run(*command: str | Path, cwd: Path, **environment: str) -> str:
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env=clean | environment,
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The source distribution, and the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("build")
    shutil.copytree(REPOSITORY, folder / "copy", ignore=NOT_SOURCES)
    _run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder / "out", ".", cwd=folder / "copy")
    (archive,), (wheel,) = ((folder / "out").glob(pattern) for pattern in ("*.tar.gz", "*.whl"))
    return archive, wheel


@pytest.fixture(scope="module")
def python(built: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a new environment with the wheel in it, and what the wheel needs where it is already."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    interpreter = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    pip = (sys.executable, "-m", "pip", "--python", interpreter, "--disable-pip-version-check", "install", "--quiet")
    _run(*pip, "--no-deps", "--no-index", built[1], cwd=folder)
    own = Path(_run(interpreter, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip())
    # A line of a .pth file is searched last, and .pth files there, as those of an editable install, are not read.
    (own / "shared.pth").write_text(sysconfig.get_path("purelib"))
    return interpreter


def test_the_wheel_holds_all_of_both_packages_and_nothing_else(built: tuple[Path, Path]) -> None:
    names = set(zipfile.ZipFile(built[1]).namelist())
    about = {name for name in names if name.split("/")[0].endswith(".dist-info")}
    assert names - about == sources(PACKAGES)
    assert {"wgan_dist/py.typed", "wgan_dist/config/recipes/digits.yaml", "wgan_dist/reporting/page.html"} <= names
    assert any(name.endswith("licenses/LICENSE") for name in about)


def test_the_source_distribution_holds_all_that_its_tests_need(built: tuple[Path, Path]) -> None:
    with tarfile.open(built[0]) as archive:
        names = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    assert sources(PACKAGES + BESIDE) <= names
    assert {"README.md", "CONTRIBUTING.md", "CITATION.cff", "accelerate_config.yaml", "pyproject.toml"} <= names
    assert not [name for name in names if "__pycache__" in name]


def test_the_metadata_asks_for_one_onnxruntime_on_every_platform(built: tuple[Path, Path]) -> None:
    wheel = zipfile.ZipFile(built[1])
    (name,) = (name for name in wheel.namelist() if name.endswith("METADATA"))
    about = Parser().parsestr(wheel.read(name).decode())
    needs = [Requirement(line) for line in about.get_all("Requires-Dist", [])]
    for platform in PLATFORMS.values():
        wanted = [each.name for each in needs if not each.marker or each.marker.evaluate(platform | {"extra": ""})]
        assert len([each for each in wanted if each.startswith("onnxruntime")]) == 1, platform
        assert "datasets" not in wanted
    extras = {
        extra: [each.name for each in needs if each.marker and extra in str(each.marker)] for extra in ("hf", "wds")
    }
    assert extras == {"hf": ["datasets"], "wds": ["webdataset"]}
    assert about["Requires-Python"] == ">=3.11"


def test_every_step_of_the_way_works_from_an_empty_folder(python: Path, tmp_path: Path) -> None:
    where = _run(python, "-c", "import wgan_dist, export; print(wgan_dist.__file__, export.__file__)", cwd=tmp_path)
    assert all(Path(path).is_relative_to(python.parent.parent) for path in where.split())
    assert "catfaces64" in _run(python, "-m", "wgan_dist.recipes", cwd=tmp_path)
    own = {"max_steps": "1", "run_dir": "run", "cache_dir": str(tmp_path / "cache")}
    flags = [f"--{name}={value}" for name, value in (TINY | own).items()]
    _run(python, "-m", "wgan_dist.train", *flags, cwd=tmp_path)
    assert (tmp_path / "run" / "README.md").is_file()
    _run(python, "-m", "wgan_dist.report", "run", "--timing=false", cwd=tmp_path)
    _run(python, "-m", "export.onnx", "--ckpt=run", "--out=generator.onnx", cwd=tmp_path)
    _run(python, "-m", "export.sampler", "generator.onnx", "--count=4", cwd=tmp_path)
    assert (tmp_path / "grid.png").is_file()
