"""Write the folder of the web page: the generator, the JavaScript, the runtime and the HTML."""

import json
from pathlib import Path

import jinja2

import wgan_dist
from export.output_folder import ONNX_FILE, output_folder, write_generator
from export.parity import print_written
from export.sampler import Sampler
from export.settings import WebSettings
from export.web import runtime
from wgan_dist.utils.files import write_bytes

PAGE, MANIFEST = "index.html", "page.json"
# The metadata that the page shows besides the shape of the images. Files of other programs may lack any of it.
SHOWN_METADATA = ("data", "description", "license", "network", "generator_steps", "source_sha256")
SOURCES = {
    "page": ("page.css", "calls.js", "display.js", "worker.js", "start.js"),
    "javascript": ("latents.js", "values.js", "classes.js", "sampler.js", "png.js"),
}
# The template and the script of the page, by what the generator makes.
PAGES = {"images": (PAGE, "page.js"), "points": ("points.html", "points.js")}


def _served_name(name: str) -> str:
    """Return a file's name on the page: some servers do not serve .mjs files as scripts."""
    return name.replace(".mjs", ".js")


def _write_runtime(folder: Path, settings: WebSettings, makes_points: bool) -> tuple[dict[str, dict[str, object]], str]:
    """Write the variants of onnxruntime-web; return the names of their files, and the version.

    The networks for points are so small that they need no graphics card.
    """
    manifest: dict[str, dict[str, object]] = {}
    version = ""
    for name in ("wasm", "webgpu") if settings.webgpu and not makes_points else ("wasm",):
        variant = runtime.VARIANTS[name]
        files = runtime.read(variant, settings.runtime, settings.cache_dir)
        for file_name, content in files.items():
            write_bytes(folder / _served_name(file_name), content)
        manifest[name] = {
            "module": _served_name(variant.module),
            "loader": _served_name(variant.loader),
            "binary": _served_name(variant.binary),
            "bytes": len(files[variant.binary]),
        }
        version = runtime.version(files[variant.module])
    return manifest, version


def _samples(sampler: Sampler) -> str:
    return "points" if sampler.makes_points else "images"


def _render(sampler: Sampler, onnx_bytes: int, runtime_version: str) -> str:
    """Return the HTML of the page. The template engine escapes all texts, which come from the generator's file."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "page"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    samples = _samples(sampler)
    template, script = PAGES[samples]
    return environment.get_template(template).render(
        samples=samples,
        script=script,
        metadata=dict.fromkeys(SHOWN_METADATA, "") | sampler.metadata,
        sampler=sampler,
        onnx_file=ONNX_FILE,
        onnx_bytes=onnx_bytes,
        runtime_version=runtime_version,
        version=wgan_dist.__version__,
    )


def _write_page(folder: Path, sampler: Sampler, settings: WebSettings) -> None:
    runtimes, version = _write_runtime(folder, settings, sampler.makes_points)
    onnx_bytes = (folder / ONNX_FILE).stat().st_size
    script = PAGES[_samples(sampler)][1]
    for source, names in (SOURCES | {"page": (*SOURCES["page"], script)}).items():
        for name in names:
            write_bytes(folder / name, (Path(__file__).parent / source / name).read_bytes())
    manifest = {"graph": ONNX_FILE, "bytes": onnx_bytes, "runtimes": runtimes}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    (folder / PAGE).write_text(_render(sampler, onnx_bytes, version), encoding="utf-8")


def export_web(settings: WebSettings) -> None:
    """Write the page that the settings describe, and print its size and how near the generator is to the network."""
    with output_folder(settings.out, MANIFEST) as folder:
        sampler, text = write_generator(settings, folder)
        _write_page(folder, sampler, settings)
    size = sum(path.stat().st_size for path in Path(settings.out).iterdir())
    print_written(Path(settings.out) / PAGE, f"{size / 1e6:.1f} MB in all; generator {text}")
