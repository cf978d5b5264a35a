"""The built packages: the wheel's files and metadata, and its commands in a new environment."""

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

PACKAGES, OTHER_FOLDERS = ("wgan_dist", "export"), ("tests", "launch", "docs", ".ci")
IGNORED = shutil.ignore_patterns(".git", ".venv", "build", "dist", "runs", "*.egg-info", "__pycache__", ".*_cache")
PLATFORMS = {
    "Linux, x86": {"sys_platform": "linux", "platform_machine": "x86_64"},
    "Linux, ARM": {"sys_platform": "linux", "platform_machine": "aarch64"},
    "Windows": {"sys_platform": "win32", "platform_machine": "AMD64"},
    "macOS": {"sys_platform": "darwin", "platform_machine": "arm64"},
}

pytestmark = pytest.mark.slow


def sources(folders: tuple[str, ...]) -> set[str]:
    """Return every file in folders of the repository, except compiled Python files."""
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
    """Build the source distribution and the wheel."""
    folder = tmp_path_factory.mktemp("build")
    shutil.copytree(REPOSITORY, folder / "copy", ignore=IGNORED)
    _run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder / "out", ".", cwd=folder / "copy")
    (archive,), (wheel,) = ((folder / "out").glob(pattern) for pattern in ("*.tar.gz", "*.whl"))
    return archive, wheel


@pytest.fixture(scope="module")
def python(built: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel into a new environment, which finds the dependencies in this one; return its interpreter."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    interpreter = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    pip = (sys.executable, "-m", "pip", "--python", interpreter, "--disable-pip-version-check", "install", "--quiet")
    _run(*pip, "--no-deps", "--no-index", built[1], cwd=folder)
    site_packages = Path(
        _run(interpreter, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip()
    )
    # Python searches a folder named in a .pth file last, and reads no .pth files there, such as an editable install's.
    (site_packages / "shared.pth").write_text(sysconfig.get_path("purelib"))
    return interpreter


def test_the_wheel_holds_all_of_both_packages_and_nothing_else(built: tuple[Path, Path]) -> None:
    names = set(zipfile.ZipFile(built[1]).namelist())
    metadata = {name for name in names if name.split("/")[0].endswith(".dist-info")}
    assert names - metadata == sources(PACKAGES)
    assert {"wgan_dist/py.typed", "wgan_dist/config/recipes/digits.yaml", "wgan_dist/reporting/page.html"} <= names
    assert any(name.endswith("licenses/LICENSE") for name in metadata)


def test_the_source_distribution_holds_everything_that_its_tests_need(built: tuple[Path, Path]) -> None:
    with tarfile.open(built[0]) as archive:
        names = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    assert sources(PACKAGES + OTHER_FOLDERS) <= names
    assert {"README.md", "CONTRIBUTING.md", "CITATION.cff", "accelerate_config.yaml", "pyproject.toml"} <= names
    assert not [name for name in names if "__pycache__" in name]


def test_the_metadata_requires_one_onnxruntime_on_every_platform(built: tuple[Path, Path]) -> None:
    wheel = zipfile.ZipFile(built[1])
    (name,) = (name for name in wheel.namelist() if name.endswith("METADATA"))
    metadata = Parser().parsestr(wheel.read(name).decode())
    requirements = [Requirement(line) for line in metadata.get_all("Requires-Dist", [])]
    for platform in PLATFORMS.values():
        names = [
            each.name for each in requirements if not each.marker or each.marker.evaluate(platform | {"extra": ""})
        ]
        assert len([each for each in names if each.startswith("onnxruntime")]) == 1, platform
        assert "datasets" not in names
    extras = {
        extra: [each.name for each in requirements if each.marker and extra in str(each.marker)]
        for extra in ("arrays", "hf", "wds")
    }
    assert extras == {"arrays": ["tifffile"], "hf": ["datasets"], "wds": ["webdataset"]}
    assert metadata["Requires-Python"] == ">=3.11"


def test_training_report_export_and_sampling_work_in_an_empty_folder(python: Path, tmp_path: Path) -> None:
    files = _run(python, "-c", "import wgan_dist, export; print(wgan_dist.__file__, export.__file__)", cwd=tmp_path)
    assert all(Path(path).is_relative_to(python.parent.parent) for path in files.split())
    assert "catfaces64" in _run(python, "-m", "wgan_dist.recipes", cwd=tmp_path)
    settings = {"max_steps": "1", "run_dir": "run", "cache_dir": str(tmp_path / "cache")}
    flags = [f"--{name}={value}" for name, value in (TINY | settings).items()]
    _run(python, "-m", "wgan_dist.train", *flags, cwd=tmp_path)
    assert (tmp_path / "run" / "README.md").is_file()
    _run(python, "-m", "wgan_dist.report", "run", "--timing=false", cwd=tmp_path)
    _run(python, "-m", "export.onnx", "--ckpt=run", "--out=generator.onnx", cwd=tmp_path)
    _run(python, "-m", "export.sampler", "generator.onnx", "--count=4", cwd=tmp_path)
    assert (tmp_path / "grid.png").is_file()
