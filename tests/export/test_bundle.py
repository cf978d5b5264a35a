"""A bundle is complete, has checksums, and samples in programs that do not use this package."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from export.output_folder import output_folder
from export.sampler import Sampler, enlarged, grid
from tests.exports import export_bundle
from tests.generators import small_spec, write_generator
from tests.processes import REPOSITORY, run
from wgan_dist.utils.errors import UserError

FILES = [
    "LICENSE.sampler",
    "README.md",
    "SHA256SUMS",
    "example.py",
    "generator.onnx",
    "grid.png",
    "requirements.txt",
    "sampler.py",
]


@pytest.fixture
def generator(exported_dcgan: Path) -> Path:
    """The generator file that the bundle is made of."""
    return exported_dcgan.with_suffix(".safetensors")


@pytest.fixture(scope="module")
def original(exported_dcgan: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that is written once; the tests get copies of it."""
    out = tmp_path_factory.mktemp("app") / "cats"
    export_bundle({"ckpt": str(exported_dcgan.with_suffix(".safetensors")), "out": str(out)})
    return out


@pytest.fixture
def bundle(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "app" / "cats"))


def test_a_bundle_contains_what_a_program_needs(bundle: Path, exported_dcgan: Path) -> None:
    assert sorted(path.name for path in bundle.iterdir()) == FILES
    assert (bundle / "sampler.py").read_bytes() == (REPOSITORY / "export" / "sampler.py").read_bytes()
    assert (bundle / "LICENSE.sampler").read_bytes() == (REPOSITORY / "LICENSE").read_bytes()
    assert (bundle / "requirements.txt").read_text() == "numpy>=2\nonnxruntime>=1.22\n"
    assert (bundle / "generator.onnx").read_bytes() == exported_dcgan.read_bytes()
    with Image.open(bundle / "grid.png") as picture:
        assert (np.asarray(picture) == enlarged(grid(Sampler(bundle / "generator.onnx").sample(64)))).all()


def test_the_checksums_detect_a_changed_file(bundle: Path) -> None:
    check = ["sha256sum", "-c", "--strict", "--quiet", "SHA256SUMS"]
    assert subprocess.run(check, cwd=bundle).returncode == 0
    for name in sorted(set(FILES) - {"SHA256SUMS"}):
        content = (bundle / name).read_bytes()
        (bundle / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        assert subprocess.run(check, cwd=bundle, capture_output=True).returncode == 1, name
        (bundle / name).write_bytes(content)


def test_a_program_can_include_the_folder_as_it_is(bundle: Path, tmp_path: Path) -> None:
    """The bundle is moved into another program, which is started from a third folder."""
    vendored = tmp_path / "program" / "vendor"
    shutil.move(bundle, vendored)
    (tmp_path / "elsewhere").mkdir()
    done = run(sys.executable, str(vendored / "example.py"), cwd=tmp_path / "elsewhere")
    assert done.stdout == "(16, 16, 16, 3) uint8\n"
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_the_model_card_describes_the_run(run_dir: Path, tmp_path: Path) -> None:
    export_bundle({"ckpt": str(run_dir), "out": str(tmp_path / "bundle")})
    card = (tmp_path / "bundle" / "README.md").read_text()
    assert card.startswith("---\n")
    assert "grid.png" in card


def test_an_onnx_file_gets_no_model_card(exported_dcgan: Path, tmp_path: Path) -> None:
    export_bundle({"ckpt": str(exported_dcgan), "out": str(tmp_path / "bundle")})
    assert sorted(path.name for path in (tmp_path / "bundle").iterdir()) == sorted(set(FILES) - {"README.md"})


def test_a_bundle_can_contain_int8(generator: Path, int8_file: Path, tmp_path: Path) -> None:
    export_bundle({"ckpt": str(generator), "out": str(tmp_path / "bundle"), "precision": "int8"})
    assert (tmp_path / "bundle" / "generator.onnx").read_bytes() == int8_file.read_bytes()


def test_only_an_unchanged_bundle_is_replaced(bundle: Path, generator: Path, tmp_path: Path) -> None:
    export_bundle({"ckpt": str(generator), "out": str(bundle)})
    (bundle / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="exists and would be lost"):
        export_bundle({"ckpt": str(generator), "out": str(bundle)})
    assert (bundle / "notes.txt").read_text() == "mine"
    assert sorted(path.name for path in bundle.iterdir()) == sorted([*FILES, "notes.txt"])


def test_folders_of_similar_names_are_left_alone(bundle: Path, generator: Path) -> None:
    others = [bundle.with_name(name) for name in (".cats.old", f".cats.{os.getpid()}.partial", ".cats.partial")]
    for other in others:
        other.mkdir()
        (other / "mine").write_text("precious")
    export_bundle({"ckpt": str(generator), "out": str(bundle)})
    assert [(other / "mine").read_text() for other in others] == ["precious"] * 3
    assert set(bundle.parent.iterdir()) == {bundle, *others}


def test_what_is_added_during_the_export_is_kept(bundle: Path) -> None:
    def export_slowly() -> None:
        with output_folder(str(bundle), "sampler.py") as folder:
            (folder / "new").write_text("")
            (bundle / "notes.txt").write_text("mine")

    with pytest.raises(UserError, match="exists and would be lost"):
        export_slowly()
    assert sorted(path.name for path in bundle.iterdir()) == sorted([*FILES, "notes.txt"])
    assert list(bundle.parent.iterdir()) == [bundle]


def test_a_page_is_not_replaced_by_a_bundle(generator: Path, tmp_path: Path) -> None:
    """Both have checksums, but one command does not replace the folder of the other."""
    folder = tmp_path / "page"
    folder.mkdir()
    (folder / "page.json").write_text("{}")
    sums = subprocess.run(["sha256sum", "page.json"], cwd=folder, capture_output=True, text=True, check=True).stdout
    (folder / "SHA256SUMS").write_text(sums)
    with pytest.raises(UserError, match="exists and would be lost"):
        export_bundle({"ckpt": str(generator), "out": str(folder)})


def test_a_bundle_that_fails_leaves_nothing(tmp_path: Path) -> None:
    path = write_generator(tmp_path, small_spec("points"), "8gaussians")
    with pytest.raises(UserError, match="makes points"):
        export_bundle({"ckpt": str(path), "out": str(tmp_path / "bundle")})
    assert list(tmp_path.iterdir()) == [path]
