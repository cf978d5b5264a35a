"""Rewritten graphs compute the same values, with operators that more runtimes read."""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.onnx_graph import in_opset, simplify
from wgan_dist.utils.errors import UserError


def model(nodes: list[onnx.NodeProto], output: list[str | int | None], **constants: list[int]) -> onnx.ModelProto:
    """Return a graph from z [n, 6] to y."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["n", 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, output)],
        [numpy_helper.from_array(np.array(value, np.int64), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def values(graph: onnx.ModelProto) -> np.ndarray:
    z = np.arange(30, dtype=np.float32).reshape(5, 6)
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    found: np.ndarray = session.run(None, {"z": z})[0]
    return found


def simplified(graph: onnx.ModelProto) -> list[str]:
    """Simplify the graph, check that its values stay, and return its operators."""
    expected = values(graph)
    simplify(graph)
    onnx.checker.check_model(graph, full_check=True)
    np.testing.assert_array_equal(values(graph), expected)
    return [node.op_type for node in graph.graph.node]


def test_reshapes_that_are_undone_are_removed() -> None:
    unsqueeze = helper.make_node("Unsqueeze", ["z", "axes"], ["a"])
    reshape = helper.make_node("Reshape", ["a", "shape"], ["b"])
    negate = helper.make_node("Neg", ["b"], ["y"])
    assert simplified(model([unsqueeze, reshape, negate], ["n", 6], axes=[2, 3], shape=[-1, 6])) == ["Neg"]


def test_a_reshape_to_another_shape_stays() -> None:
    unsqueeze = helper.make_node("Unsqueeze", ["z", "axes"], ["a"])
    reshape = helper.make_node("Reshape", ["a", "shape"], ["y"])
    found = simplified(model([unsqueeze, reshape], [None, 3, 2], axes=[1], shape=[-1, 3, 2]))
    assert found == ["Unsqueeze", "Reshape"]


def test_two_free_dimensions_are_not_taken_for_equal() -> None:
    """[n, 6] as [6, n] has as many values, in another order of meaning."""
    shape = helper.make_node("Shape", ["z"], ["size"])
    swapped = helper.make_node("Gather", ["size", "order"], ["shape"])
    reshape = helper.make_node("Reshape", ["z", "shape"], ["a"])
    negate = helper.make_node("Neg", ["a"], ["y"])
    found = simplified(model([shape, swapped, reshape, negate], [None, None], order=[1, 0]))
    assert found == ["Shape", "Gather", "Reshape", "Neg"]


@pytest.mark.parametrize("axes", [[2, 3], [0, 2], [-1, 1], [3, 0, 1]])
def test_an_unsqueeze_of_several_axes_is_split(axes: list[int]) -> None:
    unsqueeze = helper.make_node("Unsqueeze", ["z", "axes"], ["a"])
    negate = helper.make_node("Neg", ["a"], ["y"])
    rank = 2 + len(axes)
    output: list[str | int | None] = [None] * rank
    found = simplified(model([unsqueeze, negate], output, axes=axes))
    assert found == ["Unsqueeze"] * len(axes) + ["Neg"]


def test_the_graph_of_a_dcgan_has_no_unsqueeze(exported_dcgan: Path) -> None:
    assert Counter(node.op_type for node in onnx.load(exported_dcgan).graph.node)["Unsqueeze"] == 0


def test_an_operator_that_an_old_set_lacks_is_refused() -> None:
    """Opset 18 added the bitwise operators."""
    cast = helper.make_node("Cast", ["z"], ["a"], to=TensorProto.INT64)
    bitwise = helper.make_node("BitwiseNot", ["a"], ["b"])
    back = helper.make_node("Cast", ["b"], ["y"], to=TensorProto.FLOAT)
    graph = model([cast, bitwise, back], ["n", 6])
    assert in_opset(graph, 18) is graph
    with pytest.raises(
        UserError, match=r"^opset=17: this network cannot be converted to it \(.*\); expected 18 or more$"
    ):
        in_opset(graph, 17)
