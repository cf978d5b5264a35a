"""Rewrite an ONNX graph, without changing a value, so that older and smaller runtimes read it."""

import numpy as np
import onnx
from onnx import helper, numpy_helper, shape_inference, version_converter

from wgan_dist.utils.errors import UserError

# The oldest operator set that torch writes.
TORCH_OPSET = 18
# The operators that only change the shape of their first input.
RESHAPES = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")

# The dimensions of a tensor: a number, or a name or "" where the number depends on the batch.
Shape = list[int | str]


def _shapes(model: onnx.ModelProto) -> dict[str, Shape]:
    """Return the shape of every tensor of known rank."""
    graph = shape_inference.infer_shapes(model, data_prop=True).graph
    tensors = {value.name: value.type.tensor_type for value in (*graph.input, *graph.value_info, *graph.output)}
    return {
        name: [each.dim_value if each.HasField("dim_value") else each.dim_param for each in tensor.shape.dim]
        for name, tensor in tensors.items()
        if tensor.HasField("shape")
    }


def _are_equal(first: Shape | None, second: Shape | None) -> bool:
    """Return whether two shapes of one number of elements are equal: the last dimension follows from the others."""
    if first is None or second is None or len(first) != len(second):
        return False
    different = [pair for pair in zip(first, second, strict=True) if pair[0] != pair[1] or isinstance(pair[0], str)]
    return len(different) <= 1 and 0 not in first


def _undone_reshapes(model: onnx.ModelProto) -> dict[str, str]:
    """Return the outputs of reshapes that have the shape of an earlier tensor of the same values, and that tensor."""
    shapes, sources, undone = _shapes(model), dict[str, str](), dict[str, str]()
    for node in model.graph.node:
        if node.op_type not in RESHAPES:
            continue
        output, source = node.output[0], node.input[0]
        sources[output] = source
        while source in sources:
            source = sources[source]
            if _are_equal(shapes.get(source), shapes.get(output)):
                undone[output] = source
    return undone


def _remove_undone_reshapes(model: onnx.ModelProto) -> None:
    """Bypass a reshape that a second one undoes, and remove the nodes whose outputs are no longer used."""
    undone, graph = _undone_reshapes(model), model.graph
    for node in graph.node:
        for position, name in enumerate(node.input):
            node.input[position] = undone.get(name, name)
    for node in reversed(list(graph.node)):
        read = {name for each in graph.node for name in each.input} | {value.name for value in graph.output}
        if node.op_type in RESHAPES and not read.intersection(node.output):
            graph.node.remove(node)


def _split_unsqueezes(model: onnx.ModelProto) -> None:
    """Replace each Unsqueeze of several axes by one of each axis, which is all that some runtimes read."""
    graph, shapes = model.graph, _shapes(model)
    constants = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        axes = constants.get(node.input[1]) if node.op_type == "Unsqueeze" else None
        if axes is None or axes.size < 2 or node.output[0] not in shapes:
            nodes.append(node)
            continue
        name, rank = node.input[0], len(shapes[node.output[0]])
        for number, axis in enumerate(sorted(int(axis) % rank for axis in axes)):
            output = node.output[0] if number == axes.size - 1 else f"{node.output[0]}_{axis}"
            constant = numpy_helper.from_array(np.array([axis], np.int64), f"{output}_axes")
            graph.initializer.append(constant)
            nodes.append(helper.make_node("Unsqueeze", [name, constant.name], [output], f"{node.name}_{axis}"))
            name = output
    del graph.node[:]
    graph.node.extend(nodes)


def _remove_unused(model: onnx.ModelProto) -> None:
    """Remove the weights that no node reads, and the shapes of tensors that no node writes."""
    graph = model.graph
    read = {name for node in graph.node for name in node.input}
    for weight in [each for each in graph.initializer if each.name not in read]:
        graph.initializer.remove(weight)
    written = {name for node in graph.node for name in node.output}
    for value in [each for each in graph.value_info if each.name not in written]:
        graph.value_info.remove(value)


def simplify(model: onnx.ModelProto) -> None:
    """Remove reshapes that the next one undoes, and split each Unsqueeze of several axes, in place.

    OpenCV's dnn 4.x reads no Unsqueeze of several axes.
    """
    _remove_undone_reshapes(model)
    _split_unsqueezes(model)
    _remove_unused(model)


def in_opset(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """Return the model in an operator set that may be older than those that torch writes.

    Raises UserError if an operator of the network does not exist there.
    """
    if opset >= TORCH_OPSET:
        return model
    try:
        converted: onnx.ModelProto = version_converter.convert_version(model, opset)
    except Exception as error:  # onnx raises several types, and RuntimeError for most
        reason = " ".join(str(error).split())
        raise UserError(
            f"opset={opset}: this network cannot be converted to it ({reason}); expected {TORCH_OPSET} or more"
        ) from error
    return converted


def set_least_ir_version(model: onnx.ModelProto) -> None:
    """Write the lowest version of the file format that the operator sets allow: older runtimes refuse later ones."""
    model.ir_version = helper.find_min_ir_version_for(model.opset_import, ignore_unknown=True)
