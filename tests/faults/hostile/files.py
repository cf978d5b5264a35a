"""Generators, checkpoints and recipes made to do harm, and what reads them."""

import json
import os
import shutil
import struct
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from tests.checkpoint_files import save_files
from tests.faults.hostile.bombs import pickle_bomb, tar_slip, zip_bomb
from tests.faults.hostile.case import Case, Place
from tests.faults.tiny import SETTINGS
from wgan_dist.checkpoints import generator_file, manifest, safetensors_io
from wgan_dist.config import load_config
from wgan_dist.train import train


def safetensors_file(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    """A file with any header: a JSON value, or text as it is."""
    text = (header if isinstance(header, str) else json.dumps(header)).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def parts(content: bytes) -> tuple[dict[str, Any], bytes]:
    """The header and the data of a file."""
    size = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + size]), content[8 + size :]


def with_about(content: bytes, **changes: Any) -> bytes:
    """A generator file with other words about itself, and a checksum that agrees with them."""
    header, data = parts(content)
    about = json.loads(header["__metadata__"]["wgan_dist"]) | changes
    state = safetensors_io.from_bytes(content, "honest")
    about["sha256"] = generator_file._checksum(about, state)
    return safetensors_file(header | {"__metadata__": {"wgan_dist": json.dumps(about)}}, data)


def generators(honest: bytes, place: Path) -> Iterator[tuple[str, bytes]]:
    """Files in place of a generator.safetensors."""
    header, data = parts(honest)
    name = next(key for key in header if key != "__metadata__")
    entry = header[name]
    network = json.loads(header["__metadata__"]["wgan_dist"])["network"]

    def changed(**changes: Any) -> bytes:
        return safetensors_file(header | {name: entry | changes}, data)

    def arguments(**changes: Any) -> bytes:
        return with_about(honest, network=network | {"arguments": network["arguments"] | changes})

    yield "pickle", pickle_bomb(place)
    yield "torch.save's zip", zip_bomb(place)
    yield "tar", tar_slip(place)
    yield "empty", b""
    yield "seven bytes", b"\0" * 7
    yield "header of 2^63 bytes", safetensors_file(header, data, 1 << 63)
    yield "header longer than the file", safetensors_file(header, data, len(honest) * 2)
    yield "header of 100 MB of blanks", safetensors_file(" " * 100_000_000, b"")
    yield "header nested 100,000 deep", safetensors_file("[" * 100_000 + "]" * 100_000)
    yield "header of another kind", safetensors_file([1, 2, 3])
    yield "no metadata", safetensors_file({name: entry}, data)
    yield "metadata that is no text", safetensors_file(header | {"__metadata__": {"wgan_dist": 5}}, data)
    yield "metadata nested", safetensors_file(header | {"__metadata__": {"wgan_dist": "[" * 100_000}}, data)
    doubled = json.dumps(header)[:-1] + f', "{name}": {json.dumps(entry)}}}'
    yield "duplicate key", safetensors_file(doubled, data)
    yield "duplicate key, other shape", safetensors_file(doubled.replace(str(entry["shape"]), "[1]"), data)
    yield "wrong dtype", changed(dtype="I32")
    yield "unknown dtype", changed(dtype="Z99")
    yield "wrong shape", changed(shape=[1, *entry["shape"]])
    yield "shape of 2^62", changed(shape=[1 << 62])
    yield "negative shape", changed(shape=[-1])
    yield "overlapping", changed(data_offsets=[0, len(data)])
    yield "offsets beyond the end", changed(data_offsets=[0, len(data) * 2])
    yield "offsets reversed", changed(data_offsets=entry["data_offsets"][::-1])
    yield (
        "a tensor too many",
        safetensors_file(header | {"more": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}, data),
    )
    for version in (99, "1", True, -1, None, 1.5, 10**400):
        yield f"format version {str(version)[:9]}", with_about(honest, format_version=version)
    for key, value in (("latent_distribution", "zipf"), ("weights", "averaged"), ("value_range", [0.0, 1.0])):
        yield f"{key} {value}", with_about(honest, **{key: value})
    for named in ("os:system", "../mlp", "", 7, None, ["mlp"]):
        yield f"network named {named}", with_about(honest, network=network | {"name": named})
    impossible: list[tuple[str, Any]] = [
        ("features", 10**5),
        ("features", 10**30),
        ("latent_dim", 10**12),
        ("image_size", 10**9),
        ("channels", -3),
        ("features", 0),
        ("norm", "os:system"),
    ]
    for key, value in impossible:
        yield f"network of {key} {str(value)[:9]}", arguments(**{key: value})
    yield "a network's argument that it has not", arguments(path=str(place))


def with_manifest(folder: Path, changes: dict[str, bytes]) -> None:
    """Put other content into a checkpoint, with a manifest that agrees."""
    files = manifest.read_folder(folder) | changes
    shutil.rmtree(folder)
    save_files(folder, files)


def rewrite_manifest(folder: Path, entries: object) -> None:
    """Any manifest."""
    (folder / "manifest.json").write_text(entries if isinstance(entries, str) else json.dumps(entries))


def checkpoints(place: Path) -> Iterator[tuple[str, Callable[[Path], object]]]:
    """What is done to a checkpoint's folder before the run is resumed."""
    named = {"bytes": 5, "sha256": "0" * 64}
    for file in ("generator_raw.safetensors", "critic.safetensors", "critic_optimizer.safetensors", "state.json"):
        bomb = pickle_bomb(place)
        yield f"pickle as {file}, its manifest agreeing", partial(with_manifest, changes={file: bomb})
    for name in ("../../config.yaml", "/etc/passwd", "/dev/zero", "", ".", "a\0b", "x" * 5000):
        yield f"manifest naming {name[:20]!r}", partial(rewrite_manifest, entries={name: named})
    yield "manifest nested", lambda folder: rewrite_manifest(folder, "[" * 100_000)
    yield "manifest of 64 MB", lambda folder: rewrite_manifest(folder, " " * (64 << 20))
    yield "manifest of a number of 10^6 digits", lambda folder: rewrite_manifest(folder, "1" * 1_000_000)

    def link(folder: Path, target: str) -> None:
        (folder / "critic.safetensors").unlink()
        (folder / "critic.safetensors").symlink_to(target)

    yield "a link to /dev/zero", lambda folder: link(folder, "/dev/zero")
    yield "a link to itself", lambda folder: link(folder, "critic.safetensors")

    def pipe(folder: Path) -> None:
        (folder / "critic.safetensors").unlink()
        os.mkfifo(folder / "critic.safetensors")

    yield "a pipe", pipe
    for key, value in (
        ("state", {"step": "x"}),
        ("config", {"n_critic": [1]}),
        ("config", {"evil": 1}),
        ("grad_scalers", 5),
        ("state", {"step": 1e308}),
    ):
        yield f"state of {key} {value}", partial(_change_state, key=key, value=value)
    yield "state nested", lambda folder: with_manifest(folder, {"state.json": b"[" * 100_000})


def _change_state(folder: Path, key: str, value: object) -> None:
    state = json.loads((folder / "state.json").read_text()) | {key: value}
    with_manifest(folder, {"state.json": json.dumps(state).encode()})


LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
YAML = {
    "a Python object": "n_critic: !!python/object/apply:os.mkdir [PLACE]\n",
    "a Python name": "data: !!python/name:os.system\n",
    "a billion laughs": LAUGHS + "data: *i\n",
    "an alias to itself": "data: &x [*x]\n",
    "merged keys": "base: &b {n_critic: 3}\n<<: *b\n",
    "nested 10,000 deep": "data: " + "[" * 10_000 + "\n",
    "a megabyte": "data: " + "x" * (1 << 20) + "\n",
    "a list of settings": "- n_critic\n",
    "a tab": "\tn_critic: 1\n",
    "a zero byte": "n_critic: \0\n",
    "a number of 5,000 digits": "n_critic: " + "1" * 5000 + "\n",
    "not a number": "critic_lr: .nan\n",
    "infinity": "critic_lr: .inf\n",
    "two documents": "n_critic: 3\n---\nn_critic: 4\n",
    "a number as setting": "3: 4\n",
    "a list as setting": "? [a, b]\n: 4\n",
    "a setting of the command line": "run_dir: /PLACE\n",
    "a class to import": "generator: turtledemo.clock:Clock\n",
    "a critic to import": "critic: turtledemo.clock:Clock\n",
    "trackers to start": "trackers: mlflow\n",
    "TorchScript to run": "feature_extractor: evil.pt\nevaluate_every: 5\n",
    "a classifier to run": "classifier: evil.pt\nlabels: auto\nevaluate_every: 5\n",
    "a number that only Python understands": "image_size: 0_8\n",
    "a number of another script": "image_size: \N{FULLWIDTH DIGIT EIGHT}\n",
    "an unknown distribution": "latent_distribution: zipf\n",
}
# The recipes that are also tried as the config.yaml of a run to resume.
CONFIGS = (
    "a Python object",
    "a billion laughs",
    "a class to import",
    "a critic to import",
    "trackers to start",
    "TorchScript to run",
    "a number that only Python understands",
)


def generator_cases(place: Place) -> Iterator[Case]:
    """Every reader of a generator file."""
    for name, content in generators((place.run_dir / generator_file.EMA_FILE).read_bytes(), place.pwned):
        path = place.file("generator.safetensors", content)
        yield Case(f"generator: {name}", partial(generator_file.load, path))
        if name in ("pickle", "torch.save's zip", "tar"):
            start = SETTINGS | {"cache_dir": str(place.cache_dir), "run_dir": str(path.parent / "run")}
            yield Case(f"init_from: {name}", partial(train, start | {"init_from": str(path)}))
            yield Case(f"data: {name}", partial(train, start | {"data": str(path)}))


def checkpoint_cases(place: Place) -> Iterator[Case]:
    """A run resumed from a checkpoint of a stranger."""
    for name, harm in checkpoints(place.pwned):
        run = place.run()
        harm(next((run / "checkpoints").glob("step-*")))
        yield Case(f"checkpoint: {name}", partial(train, {"run_dir": str(run), "resume": "true"}))
    run = place.run()
    (run / "metrics.jsonl").write_bytes(b"\0" * 99 + b"\n")
    more = {"run_dir": str(run), "resume": "true", "max_steps": "9"}
    yield Case("metrics.jsonl of zeros", partial(train, more))


def recipe_cases(place: Place) -> Iterator[Case]:
    """Recipes, and the config.yaml of a run."""
    texts = {name: text.replace("PLACE", str(place.pwned)).encode() for name, text in YAML.items()}
    for name, content in (texts | {"not UTF-8": b"\xff\xfe\xff n_critic: 1"}).items():
        path = place.file("recipe.yaml", content)
        yield Case(f"recipe: {name}", partial(load_config, {"recipe": str(path), "data": "digits"}))
    for name in CONFIGS:
        run = place.run()
        (run / "config.yaml").write_bytes(texts[name])
        yield Case(f"config.yaml: {name}", partial(train, {"run_dir": str(run), "resume": "true"}))
