"""`python -m export.web`: a page on which anyone draws from a trained generator, in their own browser."""

import json
from dataclasses import dataclass
from pathlib import Path

import jinja2

import wgan_dist
from export.output_folder import GRAPH, FolderSettings, handed_on, write_graph
from export.sampler import Sampler
from export.web import runtime
from wgan_dist.config import command_line
from wgan_dist.config.fields import from_flags, setting
from wgan_dist.utils.files import write_bytes

USAGE = """
Write a folder with a web page that draws from a trained generator, all in the visitor's browser.

  python -m export.web --ckpt=runs/0001 --out=page/
  python -m http.server --directory page/

Any server of files will do, in any folder; the page fetches nothing from elsewhere.
"""
PAGE, MARK = "index.html", "page.json"
# What the page tells of a generator besides its shape; another program's file may leave any of it out.
TOLD = ("data", "description", "license", "network", "generator_steps", "source_sha256")
SOURCES = {
    "page": ("page.css", "page.js", "worker.js", "start.js"),
    "javascript": ("latents.js", "sampler.js", "png.js"),
}


@dataclass(frozen=True)
class WebSettings(FolderSettings):
    """What the page is told."""

    webgpu: bool = setting(True, "with the runtime for graphics cards, 27 MB that only browsers with WebGPU load")
    runtime: str = setting("", f"dist folder of {runtime.PACKAGE}, instead of npm's package")
    cache_dir: str = setting("~/.cache/wgan_dist", "folder of npm's package")


def _served(name: str) -> str:
    """A file's name on the page: servers that do not know .mjs serve it as no script."""
    return name.replace(".mjs", ".js")


def _write_runtime(folder: Path, settings: WebSettings) -> tuple[dict[str, dict[str, object]], str]:
    """Write the variants of onnxruntime-web; where each one's files are, and its version."""
    places: dict[str, dict[str, object]] = {}
    version = ""
    for name in ("wasm", "webgpu") if settings.webgpu else ("wasm",):
        variant = runtime.VARIANTS[name]
        files = runtime.read(variant, settings.runtime, settings.cache_dir)
        for each, content in files.items():
            write_bytes(folder / _served(each), content)
        places[name] = {
            "module": _served(variant.module),
            "loader": _served(variant.loader),
            "binary": _served(variant.binary),
            "bytes": len(files[variant.binary]),
        }
        version = runtime.version(files[variant.module])
    return places, version


def _render(sampler: Sampler, graph_bytes: int, runtime_version: str) -> str:
    """The page; texts of the generator's file are escaped by the template engine wherever they are put."""
    here = Path(__file__).parent / "page"
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(here), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    return environment.get_template(PAGE).render(
        about=dict.fromkeys(TOLD, "") | sampler.metadata,
        sampler=sampler,
        graph=GRAPH,
        graph_bytes=graph_bytes,
        runtime_version=runtime_version,
        version=wgan_dist.__version__,
    )


def _write_page(folder: Path, sampler: Sampler, settings: WebSettings) -> None:
    runtimes, version = _write_runtime(folder, settings)
    graph_bytes = (folder / GRAPH).stat().st_size
    for source, names in SOURCES.items():
        for name in names:
            write_bytes(folder / name, (Path(__file__).parent / source / name).read_bytes())
    about = {"graph": GRAPH, "bytes": graph_bytes, "runtimes": runtimes}
    (folder / MARK).write_text(json.dumps(about, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    (folder / PAGE).write_text(_render(sampler, graph_bytes, version), encoding="utf-8")


def export_web(flags: dict[str, str]) -> None:
    """Write the page that the texts of settings describe; what the command line does."""
    settings = from_flags(WebSettings, flags)
    with handed_on(settings.out, MARK) as folder:
        sampler, words = write_graph(settings, folder)
        _write_page(folder, sampler, settings)
    size = sum(path.stat().st_size for path in Path(settings.out).iterdir())
    print(f"{Path(settings.out) / PAGE}: {size / 1e6:.1f} MB in all; generator {words}")


if __name__ == "__main__":
    command_line.run(export_web, WebSettings, USAGE)
