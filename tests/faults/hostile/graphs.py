"""Graph files and arguments for the sampler, made to do harm."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from export.sampler import Sampler
from tests.faults.hostile.bombs import pickle_bomb, zip_bomb
from tests.faults.hostile.case import Case, Place

ABOUT = {"latent_dim": "2", "latent_distribution": "normal", "image_size": "2", "channels": "1"}


def graph(
    initial: list[TensorProto], about: dict[str, str] | None = None, nodes: list[Any] | None = None, **shape: Any
) -> bytes:
    """An ONNX graph from z [n, 2], and `more_inputs`, to images [n, 1, 2, 2]."""
    usual = [helper.make_node("MatMul", ["z", "w"], ["flat"]), helper.make_node("Reshape", ["flat", "to"], ["images"])]
    to = helper.make_tensor("to", TensorProto.INT64, [4], [-1, 1, 2, 2])
    inputs = [
        helper.make_tensor_value_info(
            shape.get("input", "z"), shape.get("kind", TensorProto.FLOAT), ["n", shape.get("latents", 2)]
        ),
        *shape.get("more_inputs", ()),
    ]
    outputs = [helper.make_tensor_value_info("images", TensorProto.FLOAT, shape.get("out", ["n", 1, 2, 2]))]
    body = helper.make_graph(nodes or usual, "g", inputs, outputs, initializer=[*initial, to])
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("evil", 1)]
    model = helper.make_model(body, opset_imports=opsets, ir_version=10)
    helper.set_model_props(model, {f"wgan_dist.{key}": value for key, value in (ABOUT | (about or {})).items()})
    return model.SerializeToString()


def external(location: str) -> TensorProto:
    """Weights that are said to lie in another file."""
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2, 4], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", "0"), ("length", "32")):
        tensor.external_data.add(key=key, value=value)
    return tensor


WEIGHT = helper.make_tensor("w", TensorProto.FLOAT, [2, 4], [0.1] * 8)


def _endless_nodes() -> list[Any]:
    """A loop without an end around the usual computation; it needs the constant `yes`."""
    info = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["going"]), helper.make_node("Identity", ["x"], ["y"])],
        "body",
        [
            info("number", TensorProto.INT64, []),
            info("go", TensorProto.BOOL, []),
            info("x", TensorProto.FLOAT, ["n", 4]),
        ],
        [info("going", TensorProto.BOOL, []), info("y", TensorProto.FLOAT, ["n", 4])],
    )
    return [
        helper.make_node("MatMul", ["z", "w"], ["product"]),
        helper.make_node("Loop", ["", "yes", "product"], ["flat"], body=body),
        helper.make_node("Reshape", ["flat", "to"], ["images"]),
    ]


LOOP = _endless_nodes()


def graphs(place: Path) -> Iterator[tuple[str, bytes]]:
    """Files in place of a generator.onnx."""
    for location in (
        "../secret",
        str(place.parent / "secret"),
        "inside/../../secret",
        "link",
        "beside",
        "/dev/zero",
        "/etc/passwd",
    ):
        yield f"weights in {location}", graph([external(location)])
    yield "an operator of its own", graph([WEIGHT], nodes=[helper.make_node("Run", ["z"], ["images"], domain="evil")])
    yield "an operator that is not", graph([WEIGHT], nodes=[helper.make_node("Evil", ["z"], ["images"])])
    yield "a node that needs itself", graph([WEIGHT], nodes=[helper.make_node("Add", ["images", "images"], ["images"])])
    huge = helper.make_tensor("huge", TensorProto.INT64, [4], [1, 1, 1 << 17, 1 << 17])
    yield "64 GB of constants", graph([huge], nodes=[helper.make_node("ConstantOfShape", ["huge"], ["images"])])
    yield (
        "images of another size than it says",
        graph(
            [WEIGHT, helper.make_tensor("t", TensorProto.INT64, [4], [-1, 1, 4, 1])],
            nodes=[
                helper.make_node("MatMul", ["z", "w"], ["flat"]),
                helper.make_node("Reshape", ["flat", "t"], ["images"]),
            ],
        ),
    )
    yield "an input of another name", graph([WEIGHT], input="zz")
    yield "an input of whole numbers", graph([WEIGHT], kind=TensorProto.INT64)
    for key, value in (
        ("latent_dim", "x"),
        ("latent_dim", "1000000000000"),
        ("image_size", "99999"),
        ("channels", "-1"),
        ("latent_dim", "0_2"),
        ("latent_distribution", "evil"),
        ("value_range", "0,1"),
        ("layout", "nhwc"),
        ("classes", "[]"),
        ("classes", '["a"]'),
        ("classes", "[" * 100_000),
    ):
        yield f"{key} {value}", graph([WEIGHT], {key: value})
    yes = helper.make_tensor("yes", TensorProto.BOOL, [], [True])
    yield "a loop without an end", graph([WEIGHT, yes], nodes=LOOP)
    yield "2^31 latents", graph([WEIGHT], {"latent_dim": str(2**31)}, latents=2**31)
    yield "pickle", pickle_bomb(place)
    yield "zip", zip_bomb(place)
    yield "empty", b""
    yield "cut short", graph([WEIGHT])[:-40]


def _draw(path: Path) -> None:
    Sampler(path).sample(2)


def graph_cases(place: Place) -> Iterator[Case]:
    """Files for the sampler; beside, inside and outside their folder lie weights that would fit."""
    (place.scratch / "cases" / "secret").write_bytes(bytes(32))
    for name, content in graphs(place.pwned):
        path = place.file("generator.onnx", content)
        (path.parent / "link").symlink_to("../secret")
        (path.parent / "beside").write_bytes(bytes(32))
        (path.parent / "inside").mkdir()
        yield Case(f"sampler: {name}", partial(_draw, path))


def argument_cases(place: Place) -> Iterator[Case]:
    """A good graph, wrong inputs."""
    sampler = Sampler(place.file("generator.onnx", graph([WEIGHT])))
    odd: dict[str, Any] = {
        "of another shape": np.zeros((2, 3)),
        "of texts": np.array([["a", "b"]]),
        "of objects": np.array([[{}, 1]], dtype=object),
        "empty in shape": np.zeros(()),
    }
    for name, z in odd.items():
        yield Case(f"sampler: latents {name}", partial(sampler.images, z))
    for count, seed in ((10**15, 0), (10**30, 0), (-1, 0), (1, -1)):
        yield Case(f"sampler: {count} images of seed {seed}", partial(sampler.sample, count, seed))
