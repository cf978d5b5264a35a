"""The name of an output says what is written there: a file by its suffix, or a folder."""

from collections.abc import Callable
from pathlib import Path

import pytest

from export.settings import BundleSettings, OnnxSettings, ProgramSettings, TorchScriptSettings, WebSettings
from wgan_dist.config.fields import from_flags
from wgan_dist.config.output_paths import check_file, check_file_or_folder, check_folder
from wgan_dist.data.__main__ import inspect_settings
from wgan_dist.evaluate import EvaluateSettings
from wgan_dist.reporting.options import ReportOptions
from wgan_dist.utils.errors import UserError

FILES = {
    ".onnx": lambda out: from_flags(OnnxSettings, {"ckpt": "run", "out": out}),
    ".pt": lambda out: from_flags(TorchScriptSettings, {"ckpt": "run", "out": out}),
    ".pt2": lambda out: from_flags(ProgramSettings, {"ckpt": "run", "out": out}),
    ".json": lambda out: from_flags(EvaluateSettings, {"ckpt": "run", "out": out}),
    ".png": lambda out: inspect_settings({"words": ["inspect", "digits"], "out": out}),
    ".html": lambda out: from_flags(ReportOptions, {"runs": ["run"], "out": out}),
}


@pytest.fixture(autouse=True)
def run_in_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a folder that the report takes for a run."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").touch()


@pytest.mark.parametrize(("suffix", "settings"), FILES.items())
def test_each_command_writes_its_own_kind_of_file(suffix: str, settings: Callable[[str], object]) -> None:
    settings(f"a{suffix}")
    settings(f"new/a{suffix.upper()}")
    for out in (*(f"a{other}" for other in FILES if other != suffix), "a", "a/", f"a{suffix}/", "run"):
        with pytest.raises(UserError, match=f"^out={out}: expected a file ending in {suffix}$"):
            settings(out)


@pytest.mark.parametrize("settings", [BundleSettings, WebSettings])
def test_folders_have_no_suffix_unless_they_end_in_a_separator_or_exist(settings: type, tmp_path: Path) -> None:
    (tmp_path / "old.v1").mkdir()
    for out in ("cats", "cats/", "cats.v2/", "old.v1", "deep.er/cats"):
        from_flags(settings, {"ckpt": "run", "out": out})
    for out in ("cats.zip", "page.html", "cats.v2"):
        with pytest.raises(UserError, match=f"^out={out}: expected a folder; a name with a suffix needs a / at its en"):
            from_flags(settings, {"ckpt": "run", "out": out})


def test_a_folder_exists_or_ends_in_a_separator(tmp_path: Path) -> None:
    for out in ("a.png", "A.PNG", "new/", "run", str(tmp_path)):
        check_file_or_folder(out, ".png")
    for out in ("new", "a.gif", "a"):
        with pytest.raises(
            UserError, match=f"^out={out}: expected a file ending in .png, or a folder: one that exists"
        ):
            check_file_or_folder(out, ".png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(UserError, match=r"^out=folder.png: expected a file ending in .png"):
        check_file("folder.png", ".png")
    check_folder("folder.png")
