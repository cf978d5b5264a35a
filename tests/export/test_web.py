"""The folder of the page: its files, its texts, and that no other file is lost. test_web_page.py opens it."""

import hashlib
import json
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import onnx
import pytest

from export.web import runtime as web_runtime
from tests.exports import export_web
from tests.generators import point_spec, write_generator
from tests.processes import REPOSITORY, run
from wgan_dist.checkpoints import generator_file
from wgan_dist.utils.errors import UserError


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a folder with files named like those of the runtime, which is all that writing a page needs."""
    folder = tmp_path_factory.mktemp("dist")
    for variant in web_runtime.VARIANTS.values():
        for name in variant.files:
            (folder / name).write_text(f"/*! ONNX Runtime Web v9.8.7-test */ {name}")
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_folder_lists_its_files_with_checksums(exported_dcgan: Path, runtime: Path, tmp_path: Path) -> None:
    page = tmp_path / "a" / "page"
    export_web({"ckpt": str(exported_dcgan), "out": str(page), "runtime": str(runtime)})
    subprocess.run(["sha256sum", "-c", "--strict", "SHA256SUMS"], cwd=page, check=True, capture_output=True)
    listed = [line.split("  ")[1] for line in (page / "SHA256SUMS").read_text().splitlines()]
    assert sorted([*listed, "SHA256SUMS"]) == sorted(content(page))
    about = json.loads((page / "page.json").read_text())
    assert about["bytes"] == (page / about["graph"]).stat().st_size
    assert sorted(about["runtimes"]) == ["wasm", "webgpu"]
    for names in about["runtimes"].values():
        assert names["bytes"] == (page / names["binary"]).stat().st_size
        assert (page / names["module"]).is_file()
        assert (page / names["loader"]).is_file()
    assert not list(page.glob("*.mjs"))
    assert [path.name for path in page.parent.iterdir()] == ["page"]


def test_without_webgpu_its_runtime_is_left_out(exported_dcgan: Path, runtime: Path, tmp_path: Path) -> None:
    export_web({"ckpt": str(exported_dcgan), "out": str(tmp_path / "p"), "runtime": str(runtime), "webgpu": "false"})
    assert list(json.loads((tmp_path / "p" / "page.json").read_text())["runtimes"]) == ["wasm"]
    assert [path.name for path in (tmp_path / "p").glob("*.wasm")] == ["ort-wasm-simd-threaded.wasm"]


def with_metadata(path: Path, **texts: str) -> Path:
    """Change the metadata of an ONNX file."""
    model = onnx.load(path)
    about = {each.key: each.value for each in model.metadata_props} | {f"wgan_dist.{k}": v for k, v in texts.items()}
    onnx.helper.set_model_props(model, about)
    onnx.save(model, path)
    return path


def test_an_onnx_file_is_copied_and_its_texts_are_escaped(exported_dcgan: Path, runtime: Path, tmp_path: Path) -> None:
    graph = tmp_path / "any name.onnx"
    shutil.copy(exported_dcgan, graph)
    with_metadata(graph, description="cats <b>&", license='"><script>alert(1)</script>', data="{{ 7 * 6 }}")
    export_web({"ckpt": str(graph), "out": str(tmp_path / "p"), "runtime": str(runtime)})
    assert (tmp_path / "p" / "generator.onnx").read_bytes() == graph.read_bytes()
    text = (tmp_path / "p" / "index.html").read_text()
    assert "<title>Cats &lt;b&gt;&amp; from a" in text
    assert "{{ 7 * 6 }}" in text
    assert "<script>alert" not in text
    assert "16 × 16, RGB" in text
    assert "onnxruntime-web 9.8.7-test" in text


def test_only_the_metadata_for_sampling_are_required(exported_dcgan: Path, runtime: Path, tmp_path: Path) -> None:
    graph = tmp_path / "generator.onnx"
    model = onnx.load(exported_dcgan)
    needed = {f"wgan_dist.{name}" for name in ("latent_dim", "latent_distribution", "image_size", "channels")}
    about = {each.key: each.value for each in model.metadata_props if each.key in needed}
    assert len(about) == len(needed)
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, about)
    onnx.save(model, graph)
    export_web({"ckpt": str(graph), "out": str(tmp_path / "p"), "runtime": str(runtime)})
    text = (tmp_path / "p" / "index.html").read_text()
    assert "<title>Generated images from a" in text
    assert "<dt>Trained on</dt><dd>not stated</dd>" in text
    assert "unknown generator steps" in text
    assert "SHA-256" not in text


def test_an_unchanged_page_is_replaced(exported_dcgan: Path, runtime: Path, tmp_path: Path) -> None:
    settings = {"ckpt": str(exported_dcgan), "out": str(tmp_path / "p"), "runtime": str(runtime)}
    (tmp_path / "p").mkdir()
    export_web(settings)
    before = content(tmp_path / "p")
    export_web(settings | {"webgpu": "false"})
    assert len(content(tmp_path / "p")) == len(before) - 3
    export_web(settings)
    assert content(tmp_path / "p") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p"]


@pytest.mark.parametrize("change", ["a file more", "a file changed", "a folder more", "not a page", "a file"])
def test_other_files_are_never_replaced(change: str, exported_dcgan: Path, runtime: Path, tmp_path: Path) -> None:
    page = tmp_path / "p"
    settings = {"ckpt": str(exported_dcgan), "out": str(page), "runtime": str(runtime)}
    if change == "a file":
        page.write_text("mine")
    elif change == "not a page":
        page.mkdir()
        (page / "index.html").write_text("mine")
        digest = hashlib.sha256(b"mine").hexdigest()
        (page / "SHA256SUMS").write_text(f"{digest}  index.html\n")
    else:
        export_web(settings)
        if change == "a folder more":
            (page / "mine").mkdir()
        else:
            (page / {"a file more": "CNAME", "a file changed": "page.css"}[change]).write_text("mine")
    before = page.read_bytes() if page.is_file() else sorted(page.iterdir())
    with pytest.raises(UserError, match=r"^out=.*p: exists and would be lost; expected a new name"):
        export_web(settings)
    assert before == (page.read_bytes() if page.is_file() else sorted(page.iterdir()))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p"]


@pytest.mark.parametrize(("dimensions", "shape"), [(1, "1 dimension"), (16, "16 dimensions")])
def test_the_page_of_points_speaks_of_points(dimensions: int, shape: str, runtime: Path, tmp_path: Path) -> None:
    ckpt = write_generator(tmp_path, point_spec(dimensions), "p.npy")
    export_web({"ckpt": str(ckpt), "out": str(tmp_path / "p"), "runtime": str(runtime)})
    text = (tmp_path / "p" / "index.html").read_text()
    assert f"<dt>Points</dt><dd>{shape}</dd>" in text
    assert "image" not in text.replace("data-image-size", "")
    files = content(tmp_path / "p")
    assert {"points.js", "calls.js"} <= files.keys()
    assert "page.js" not in files
    assert list(json.loads(files["page.json"])["runtimes"]) == ["wasm"]


def test_errors_are_named_and_leave_no_file(exported_dcgan: Path, runtime: Path, tmp_path: Path) -> None:
    stranger = tmp_path / "stranger.onnx"
    stranger.write_text("not a graph")
    before = sorted(tmp_path.iterdir())
    for given, reason in (
        ({"ckpt": str(stranger)}, r"^ckpt=.*stranger\.onnx: it is not an ONNX file, or damaged"),
        ({"ckpt": "missing.onnx"}, r"^ckpt=missing\.onnx: expected an existing file or folder"),
        ({"ckpt": ""}, "^ckpt=: expected an existing file or folder"),
        ({"ckpt": str(exported_dcgan), "out": ""}, "^out: expected --out="),
        (
            {"ckpt": str(exported_dcgan), "out": "page.html"},
            r"^out=page\.html: expected a folder; a name with a suffix",
        ),
        ({"ckpt": str(exported_dcgan), "runtime": str(tmp_path)}, r"runtime=.*dist folder.*ort\.wasm\.min\.mjs"),
    ):
        with pytest.raises(UserError, match=reason):
            export_web({"out": str(tmp_path / "p"), "runtime": str(runtime)} | given)
        assert sorted(tmp_path.iterdir()) == before


def test_the_npm_package_is_checked_and_its_absence_is_one_line(
    exported_dcgan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["-m", "export.web", f"--ckpt={exported_dcgan}", "--out=p", "--cache_dir=cache"]
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / web_runtime.ARCHIVE).write_bytes(b"another package")
    done = run(sys.executable, *arguments, cwd=tmp_path, fails=2)
    assert done.stderr.startswith("error: cache/onnxruntime-web-1.30.0.tgz: its SHA-512 is not that of")
    (tmp_path / "cache" / web_runtime.ARCHIVE).unlink()
    monkeypatch.setenv("PATH", str(tmp_path))
    done = run(sys.executable, *arguments, cwd=tmp_path, fails=2)
    assert done.stderr.startswith("error: onnxruntime-web: npm is not installed")
    assert "--runtime=" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "p").exists()


def test_another_package_from_npm_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    npm = tmp_path / "npm"
    npm.write_text(f'#!/bin/sh\nfor last; do :; done\necho other > "${{last#*=}}/{web_runtime.ARCHIVE}"\n')
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    with pytest.raises(UserError, match="SHA-512 is not that of onnxruntime-web"):
        web_runtime.read(web_runtime.VARIANTS["wasm"], "", str(tmp_path / "cache"))
    npm.write_text("#!/bin/sh\necho no network >&2\nexit 1\n")
    with pytest.raises(UserError, match=r"npm pack failed \(no network\)"):
        web_runtime.read(web_runtime.VARIANTS["wasm"], "", str(tmp_path / "cache"))
    assert not (tmp_path / "cache").exists()


def test_every_file_of_the_page_is_installed_with_it() -> None:
    package_data = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    installed = {path for pattern in package_data["export"] for path in (REPOSITORY / "export").glob(pattern)}
    others = {path for path in (REPOSITORY / "export").rglob("*") if path.is_file() and path.suffix != ".py"}
    assert {path for path in others if "__pycache__" not in path.parts} <= installed


def test_the_page_describes_the_network_of_a_run(run_dir: Path, runtime: Path, tmp_path: Path) -> None:
    export_web({"ckpt": str(run_dir), "out": str(tmp_path / "p"), "runtime": str(runtime)})
    text = (tmp_path / "p" / "index.html").read_text()
    source = generator_file.load(run_dir / generator_file.EMA_FILE)
    assert source.sha256 in text
    assert "digits: handwritten digits" in text
    assert source.description.license in text
    assert "6 generator steps" in text
