"""The JavaScript sampler in Node.js computes the same numbers as export/sampler.py."""

import base64
import hashlib
import io
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from export.sampler import (
    ImageValues,
    Sampler,
    class_numbers,
    drawn_classes,
    enlarged,
    grid,
    latents,
    read_values,
)
from tests.export.test_labels import GOOD, HOSTILE, WRONG
from tests.faults.hostile.graphs import ABOUT, WEIGHT, graph
from tests.generators import CLASS_SHARES, CLASSES
from tests.processes import REPOSITORY
from wgan_dist.sampling import interpolate

pytestmark = pytest.mark.browser

# Reads lines [name, arguments], and answers each with the result of the function of that name.
ANSWERS = """
import { createInterface } from "node:readline";
import { readFile } from "node:fs/promises";
import * as all from "./latents.js";
import { png } from "./png.js";
import * as sampler from "./sampler.js";
import * as all_values from "./values.js";
import * as classes from "./classes.js";

const calls = {
  latents: (...given) => [...all.latents(...given)],
  sha256: (text) => Buffer.from(all.sha256(Buffer.from(text, "base64")).buffer).toString("hex"),
  between: (start, end, share, kind) => [...all.between(Float32Array.from(start), Float32Array.from(end), share, kind)],
  moved: (z, ways, a, b, kind) => [...all.moved(Float32Array.from(z), ways, a, b, kind)],
  grid: (images) => Buffer.from(sampler.grid(given(images)).data).toString("base64"),
  enlarged: (picture) => Buffer.from(sampler.enlarged(given(picture)).data).toString("base64"),
  png: async (picture) => Buffer.from(await (await png(given(picture))).arrayBuffer()).toString("base64"),
  check: (...given) => sampler.checkFormat(...given) ?? null,
  images: async (values, metadata) => [...(await opened(values, metadata).images(new Float32Array(2))).data],
  points: async (values, metadata) => {
    const points = await opened(values, metadata).points(new Float32Array(2));
    return { count: points.count, dimensions: points.dimensions, csv: sampler.csv(points) };
  },
  values: (metadata, channels) => all_values.readValues(metadata, channels),
  restored: (floats, shape, metadata, view) => {
    const values = all_values.readValues(metadata, shape.channels);
    const data = all_values.restore(Float32Array.from(floats), shape, values);
    const picture = sampler.picture({ ...shape, data }, values, view);
    return [data.constructor.name, [...data], picture.channels, [...picture.data]];
  },
  classes: (metadata) => classes.readClasses(metadata),
  classNumbers: (...given) => classes.classNumbers(...given),
  drawnClasses: (...given) => classes.drawnClasses(...given),
  inputs: async (label, count, classes) => {
    let inputs;
    const output = { data: new Float32Array(4 * count) };
    const session = { outputNames: ["images"], run: async (given) => ((inputs = given), { images: output }) };
    class Tensor {
      constructor(type, values, shape) {
        this.given = [type, Array.from(values, Number), shape];
      }
    }
    await new sampler.Sampler({ Tensor }, session, classes).images(new Float32Array(2 * count), label);
    return Object.fromEntries(Object.entries(inputs).map(([name, { given }]) => [name, given]));
  },
  metadata: async (path) => sampler.readMetadata(await readFile(path)),
};
const opened = (values, metadata) => {
  const output = { data: Float32Array.from(values, Number) };
  const session = { outputNames: ["images"], run: async () => ({ images: output }) };
  return new sampler.Sampler({ Tensor: Object }, session, metadata);
};
const given = (images) => ({ ...images, data: new Uint8ClampedArray(Buffer.from(images.data, "base64")) });
for await (const line of createInterface({ input: process.stdin })) {
  const [name, values] = JSON.parse(line);
  try {
    console.log(JSON.stringify(await calls[name](...values)));
  } catch (error) {
    console.log(JSON.stringify({ error: error.message }));
  }
}
"""


class Node:
    """A Node.js process that calls the functions of the sampler."""

    def __init__(self) -> None:
        node = shutil.which("node") or pytest.fail("no Node.js found: install it (Debian: apt-get install nodejs)")
        command = [node, "--input-type=module", "-e", ANSWERS]
        where = REPOSITORY / "export" / "web" / "javascript"
        self.process = subprocess.Popen(command, cwd=where, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __call__(self, name: str, *values: object) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([name, values]) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    made = Node()
    yield made
    made.process.kill()
    made.process.communicate()


SEEDS = st.integers(0, 2**70) | st.integers(0, 100)
KINDS = st.sampled_from(["normal", "uniform"])


@pytest.mark.parametrize("seed", ["-5", -5, "", "x", 2.5, "0x10", None])
def test_an_invalid_seed_is_refused(seed: object, node: Node) -> None:
    words = "null" if seed is None else seed
    assert node("latents", 2, 3, "normal", seed)["error"] == f"seed={words}: expected a whole number of at least 0"


@pytest.mark.parametrize("count", [0, -1, 2.5, "abc", ""])
def test_an_invalid_count_is_refused(count: object, node: Node) -> None:
    assert node("latents", count, 3)["error"] == f"count={count}: expected a whole number of at least 1"


@settings(max_examples=200, deadline=None)
@given(seed=SEEDS, count=st.integers(1, 7), latent_dim=st.integers(1, 65), kind=KINDS)
def test_latents_equal_those_of_python(node: Node, seed: int, count: int, latent_dim: int, kind: str) -> None:
    found = np.array(node("latents", count, latent_dim, kind, str(seed)), np.float32)
    expected = latents(count, latent_dim, kind, seed).ravel()
    # The logarithm and the cosine may differ in the last digit of a double, and rounding to float32 at a tie.
    np.testing.assert_allclose(found, expected, rtol=2e-7, atol=1e-15)
    assert (found != expected).mean() <= (0.01 if kind == "normal" else 0)


def test_many_latents_equal_those_of_python_bit_for_bit(node: Node) -> None:
    found = np.array(node("latents", 1000, 128, "normal", 0), np.float32)
    assert (found != latents(1000, 128, "normal", 0).ravel()).sum() <= 3


def test_sha256_equals_hashlib_at_every_length(node: Node) -> None:
    for length in range(200):
        message = bytes(7 * each % 256 for each in range(length))
        assert node("sha256", base64.b64encode(message).decode()) == hashlib.sha256(message).hexdigest(), length


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, share=st.floats(0, 1), latent_dim=st.integers(3, 40), kind=KINDS)
def test_interpolation_equals_that_of_python(node: Node, seed: int, share: float, latent_dim: int, kind: str) -> None:
    start, end = latents(2, latent_dim, kind, seed)
    found = node("between", start.tolist(), end.tolist(), share, kind)
    np.testing.assert_allclose(found, interpolate(start, end, share, kind), rtol=1e-4, atol=1e-5)


def test_moved_latents_have_the_distribution_of_latents(node: Node) -> None:
    size, grid_of_shares = 20_000, (-1.0, -0.6, 0.0, 0.3, 1.0)
    for kind in ("normal", "uniform"):
        z, *ways = latents(3, size, kind, 5).tolist()
        for a in grid_of_shares:
            found = np.array(node("moved", z, ways, a, 0.4, kind))
            expected = latents(1, size, kind, 6)[0]
            quantiles = np.linspace(0.01, 0.99, 25)
            np.testing.assert_allclose(np.quantile(found, quantiles), np.quantile(expected, quantiles), atol=0.08)
            assert np.abs(found).max() <= (1 if kind == "uniform" else 7)
        assert node("moved", z, ways, 0, 0, kind) == pytest.approx(z, abs=1e-6)
        assert np.corrcoef(node("moved", z, ways, 0.2, 0, kind), z)[0, 1] > 0.9
        assert abs(np.corrcoef(node("moved", z, ways, 1, 0, kind), z)[0, 1]) < 0.05


def sent(images: NDArray[np.uint8]) -> dict[str, object]:
    count, height, width, channels = images.shape
    data = base64.b64encode(images.tobytes()).decode()
    return {"count": count, "height": height, "width": width, "channels": channels, "data": data}


@pytest.mark.parametrize("count", [1, 2, 3, 5, 7, 16, 20])
def test_a_grid_equals_that_of_python(count: int, node: Node) -> None:
    images = np.random.default_rng(count).integers(0, 256, (count, 4, 5, 3), np.uint8)
    assert base64.b64decode(node("grid", sent(images))) == grid(images).tobytes()


@pytest.mark.parametrize(("width", "channels"), [(34, 1), (300, 3), (512, 4), (600, 3)])
def test_an_enlarged_picture_equals_that_of_python(width: int, channels: int, node: Node) -> None:
    picture = np.random.default_rng(width).integers(0, 256, (1, 3, width, channels), np.uint8)
    assert base64.b64decode(node("enlarged", sent(picture))) == enlarged(picture[0]).tobytes()


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (4, "RGBA")])
def test_a_png_contains_every_pixel(channels: int, mode: str, node: Node) -> None:
    picture = np.random.default_rng(channels).integers(0, 256, (1, 6, 9, channels), np.uint8)
    file = base64.b64decode(node("png", sent(picture)))
    with Image.open(io.BytesIO(file)) as found:
        found.load()
        assert (found.format, found.mode) == ("PNG", mode)
        assert (np.asarray(found).reshape(picture[0].shape) == picture[0]).all()


def described(dtype: str, *levels: tuple[float, float]) -> dict[str, str]:
    return {"dtype": dtype, "levels": json.dumps(levels), "channel_names": "[]", "unit": "K"}


@settings(max_examples=60, deadline=None)
@given(
    about=st.sampled_from(
        [
            described("uint8", (0, 255)),
            described("uint8", (3, 11)),
            described("uint16", (0, 65535)),
            described("uint16", (1000, 1003)),
            described("float32", (-0.1, 7.3)),
            described("float32", *((-each, 10.0**each) for each in range(1, 6))),
        ]
    ),
    channels=st.sampled_from([1, 2, 3, 4, 5]),
    seed=st.integers(0, 1000),
)
def test_values_and_pictures_equal_those_of_python(node: Node, about: dict[str, str], channels: int, seed: int) -> None:
    about = about | {"levels": json.dumps(json.loads(about["levels"])[:channels])}
    values = read_values(about, channels)
    # Some are beyond the range, and in a range of a few integers many lie half-way between two.
    images = (np.random.default_rng(seed).integers(-72, 73, (2, channels, 3, 4)) / np.float32(64)).astype(np.float32)
    shape = {"count": 2, "height": 3, "width": 4, "channels": channels}
    kind, restored, shown, picture = node("restored", images.ravel().tolist(), shape, about)
    expected = values.restore(images)
    names = {"uint8": "Uint8ClampedArray", "uint16": "Uint16Array", "float32": "Float32Array"}
    assert kind == names[values.dtype]
    assert np.array_equal(np.array(restored, values.dtype), expected.ravel())
    assert shown == values.picture(expected).shape[-1]
    assert picture == values.picture(expected).ravel().tolist()


def test_a_view_shows_the_chosen_channels_between_the_chosen_values(node: Node) -> None:
    about, shape = described("float32", (-4, 4)), {"count": 2, "height": 3, "width": 5, "channels": 5}
    images = np.random.default_rng(0).uniform(-1, 1, (2, 5, 3, 5)).astype(np.float32)
    view = {"channels": [4, 1], "low": [-1, 0.5], "high": [0.5, 3]}
    values = 4 * images.astype(np.float64)
    columns = [
        np.rint(((values[:, channel] - low) * 255 / (high - low)).clip(0, 255))
        for channel, low, high in zip((4, 1), (-1, 0.5), (0.5, 3), strict=True)
    ]
    _, _, shown, picture = node("restored", images.ravel().tolist(), shape, about, view)
    assert (shown, picture) == (2, np.stack(columns, -1).ravel().tolist())
    _, restored, _, picture = node(
        "restored", images.ravel().tolist(), shape, about, {"channels": [0], "low": [1], "high": [1]}
    )
    assert picture == [255 * (value > 1) for value in restored[::5]]


@pytest.mark.parametrize(
    "change",
    [
        {"dtype": "float64"},
        {"dtype": "toString"},
        {"levels": "[[1, 0], [0, 1]]"},
        {"levels": "[[0, 1], [0, 1], [0, 1]]"},
        {"levels": "[[0, null], [0, 1]]"},
        {"levels": "[[0, 1, 2], [0, 1, 2]]"},
        {"levels": "{}"},
        {"levels": "null"},
        {"levels": "[["},
        {"dtype": "uint16", "levels": "[[-1, 5]]"},
        {"dtype": "uint8", "levels": "[[0, 256]]"},
        {"channel_names": '["a"]'},
        {"channel_names": '"ab"'},
    ],
)
def test_values_that_python_refuses_are_refused(change: dict[str, str], node: Node) -> None:
    good = described("float32", (0, 1), (2, 4)) | {"channel_names": '["a", "b"]'}
    found = node("values", good, 2)
    expected = {"dtype": "float32", "low": [0, 2], "high": [1, 4], "channelNames": ["a", "b"], "unit": "K"}
    assert found == expected | {"isEightBit": False}
    assert node("values", {}, 2)["isEightBit"] is ImageValues().is_eight_bit is True
    name = list(change)[-1]
    assert node("values", good | change, 2)["error"].startswith(f"{name}={change[name]}: expected ")
    with pytest.raises((ValueError, KeyError, TypeError)):
        read_values(good | change, 2)


def test_metadata_equal_those_that_onnxruntime_reads(onnx_file: Path, node: Node, tmp_path: Path) -> None:
    model = onnx.load(onnx_file)
    about = {each.key: each.value for each in model.metadata_props}
    onnx.helper.set_model_props(model, about | {"wgan_dist.description": "Katzen, süß " * 30, "other": "x"})
    onnx.save(model, tmp_path / "g.onnx")
    assert node("metadata", str(tmp_path / "g.onnx")) == Sampler(tmp_path / "g.onnx").metadata


def test_latents_of_an_unknown_distribution_are_refused(node: Node) -> None:
    assert node("latents", 1, 2, "zipf", 0) == {"error": "latent_distribution=zipf: expected normal or uniform"}


@pytest.mark.parametrize("change", [{"layout": "nhwc"}, {"value_range": "0,255"}, {"value_range": "0,1"}])
def test_images_in_another_format_than_the_file_says_are_refused(change: dict[str, str], node: Node) -> None:
    assert node("check", {"layout": "nchw", "value_range": "-1,1"}, "nchw") is None
    assert f"{next(iter(change))}=" in node("check", change, "nchw")["error"]


def test_samples_that_are_not_finite_are_refused(node: Node) -> None:
    about = {"latent_dim": "2", "image_size": "2", "channels": "1"}
    assert node("images", [0, 1, -1, 3], about) == [128, 255, 0, 255]
    for value in ("NaN", "Infinity"):
        assert node("images", [0, value, 0, 0], about) == {"error": "the samples have values that are not finite"}


def test_points_are_rows_of_the_output(node: Node) -> None:
    about = {"latent_dim": "2", "image_size": "1", "channels": "3", "layout": "nc", "value_range": "unbounded"}
    numbers = [0.1, -2e-30, 3e38]
    expected = ",".join(f"{np.float32(number):.9g}" for number in numbers) + "\n"
    assert node("points", numbers, about) == {"count": 1, "dimensions": 3, "csv": expected}
    for values, change, reason in (
        ([0, "NaN", 0], {}, "values that are not finite"),
        ([0, 0], {}, "unexpected shape"),
        ([0, 0, 0], {"value_range": "-1,1"}, "value_range=-1,1: expected unbounded"),
        ([0, 0, 0], {"layout": "nchw"}, "makes images; expected a generator of points"),
    ):
        assert reason in node("points", values, about | change)["error"]
    assert "makes points; expected a generator of images" in node("images", numbers, about)["error"]


def test_files_that_are_not_generators_are_refused(onnx_file: Path, node: Node, tmp_path: Path) -> None:
    model = onnx.load(onnx_file)
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "stranger.onnx")
    (tmp_path / "text.onnx").write_text("not a graph")
    wrong = {"latent_dim": "0_2", "image_size": "0x2", "channels": "", "latent_distribution": "zipf"}
    for key, value in wrong.items():
        (tmp_path / f"{key}.onnx").write_bytes(graph([WEIGHT], {key: value}))
    reasons = {"stranger": "not a generator", "text": "not "}
    for name, reason in (reasons | {key: f"{key}={value}: expected" for key, value in wrong.items()}).items():
        assert reason in node("metadata", str(tmp_path / f"{name}.onnx"))["error"]


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 40), st.lists(st.integers(0, 9), min_size=1, max_size=8).filter(any), st.integers(0, 2**70)
)  # fmt: skip
def test_classes_are_drawn_as_in_python(node: Node, count: int, weights: list[int], seed: int) -> None:
    shares = [weight / sum(weights) for weight in weights]
    assert node("drawnClasses", count, shares, str(seed)) == drawn_classes(count, shares, seed).tolist()


@pytest.mark.parametrize("label", ["sneaker", 2, "2", "3", 3, ["3", 3], [0, 2]])
def test_labels_are_the_classes_of_python(label: Any, node: Node) -> None:
    assert node("classNumbers", label, 2, CLASSES) == class_numbers(label, 2, CLASSES).tolist()


@pytest.mark.parametrize(("label", "words"), [case for case in WRONG if case[0] != 1.0])  # a whole number in JavaScript
def test_a_class_that_does_not_exist_is_an_error(label: Any, words: str, node: Node) -> None:
    assert re.match(words, node("classNumbers", label, 6, CLASSES)["error"])


def test_a_label_without_classes_is_an_error(node: Node) -> None:
    expected = "label=sneaker: this generator has no classes; expected no label"
    assert node("classNumbers", "sneaker", 6, []) == {"error": expected}
    assert node("inputs", "sneaker", 2, ABOUT) == {"error": expected}


def test_the_metadata_name_the_classes(node: Node) -> None:
    about = {"classes": json.dumps(CLASSES), "class_shares": json.dumps(CLASS_SHARES)}
    assert node("classes", about) == {"names": list(CLASSES), "shares": list(CLASS_SHARES)}
    assert node("classes", {}) == {"names": [], "shares": []}


@pytest.mark.parametrize("about", [about for about, _ in HOSTILE if "ud800" not in str(about)])
def test_classes_that_no_generator_has_are_refused(about: dict[str, str], node: Node) -> None:
    (name,) = about
    assert node("classes", GOOD | about)["error"].startswith(name)


def test_the_graph_is_given_labels(node: Node) -> None:
    z = ["float32", [0] * 4, [2, 2]]
    assert node("inputs", ["b", 0], 2, ABOUT | GOOD) == {"z": z, "label": ["int64", [1, 0], [2]]}
    assert node("inputs", "b", 2, ABOUT | GOOD) == {"z": z, "label": ["int64", [1, 1], [2]]}
    assert node("inputs", None, 2, ABOUT) == {"z": z}
    assert node("inputs", None, 2, ABOUT | GOOD)["error"].startswith("label=null: expected a class such as")
