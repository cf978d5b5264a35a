"""Convert a float32 ONNX graph to int8 with onnxruntime's tools.

The result uses operators of the ONNX standard: QuantizeLinear and DequantizeLinear follow each quantised tensor, and a
runtime with integer kernels computes in integers between them (activations uint8, weights int8 per channel).

`onnxruntime.quantization.quantize_static` with the same excluded nodes is not enough: on a DCGAN it is 4 dB further
from the network, as it neither shares ranges over tensors that are only moved nor narrows those before tanh.
"""

import copy
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantType, create_calibrator
from onnxruntime.quantization.calibrate import TensorsData
from onnxruntime.quantization.onnx_model import ONNXModel
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

from export.parity import Inputs
from wgan_dist.utils.errors import UserError

# The operators that multiply, and those that only move values, which must not round them once more.
PRODUCTS, MOVES = ("Conv", "Gemm", "MatMul"), ("Concat", "Reshape", "Transpose")
# The output of these operators depends on the number of latents, not on their values.
SIZES = ("Shape", "Size")
QUANTISED = (*PRODUCTS, *MOVES, "Relu")
BATCH_SIZE = 32
# tanh(3.2) = 0.997 differs from 1 by less than half a level of 255, so finer steps are worth more than a wider range.
TANH_RANGE = 3.2
# The shares of the calibrated range to try: clipping a few extreme values can cost less than rounding all others.
SHARES = (1.0, 0.9, 0.8)

Range = tuple[float, float]


def _part(inputs: Inputs, rows: slice) -> Inputs:
    return {name: values[rows] for name, values in inputs.items()}


def _batches(inputs: Inputs) -> list[Inputs]:
    return [_part(inputs, slice(start, start + BATCH_SIZE)) for start in range(0, len(inputs["z"]), BATCH_SIZE)]


class _InputReader(CalibrationDataReader):  # type: ignore[misc]
    """Inputs in batches, in the form that onnxruntime reads."""

    def __init__(self, inputs: Inputs) -> None:
        self.batches = iter(_batches(inputs))

    def get_next(self) -> Inputs | None:
        return next(self.batches, None)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence onnxruntime's tools, which recommend steps that do not apply here."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(level)


def _calibrated_ranges(model: onnx.ModelProto, inputs: Inputs) -> dict[str, Range]:
    """Return the minimum and maximum of every tensor that may be quantised, over the inputs."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        onnx.save(model, path)
        calibrator = create_calibrator(path, QUANTISED, str(Path(folder) / "augmented.onnx"))
        calibrator.collect_data(_InputReader(inputs))
        data = calibrator.compute_data()
    ranges = {name: tensor.range_value for name, tensor in data.items()}
    return {name: (float(np.min(low)), float(np.max(high))) for name, (low, high) in ranges.items()}


def _moved_groups(model: onnx.ModelProto) -> list[set[str]]:
    """Return the sets of tensors that hold the same values in another order. They need one scale, or moving rounds."""
    groups: dict[str, set[str]] = {}
    for node in model.graph.node:
        if node.op_type not in MOVES:
            continue
        moved = [*(node.input if node.op_type == "Concat" else node.input[:1]), *node.output]
        joined = set().union(*(groups.get(name, {name}) for name in moved))
        groups |= dict.fromkeys(joined, joined)
    return list({id(group): group for group in groups.values()}.values())


def _shared(ranges: dict[str, Range], groups: list[set[str]]) -> dict[str, Range]:
    """Give all tensors of a group the widest range of the group."""
    shared = dict(ranges)
    for group in groups:
        known = [ranges[name] for name in group if name in ranges]
        if known:
            widest = min(low for low, _ in known), max(high for _, high in known)
            shared |= dict.fromkeys(group, widest)
    return shared


def _narrowed(ranges: dict[str, Range], before_tanh: set[str], share: float) -> dict[str, Range]:
    """Multiply every range by `share`; those before tanh are instead limited to where tanh is not flat."""
    return {
        name: (max(low, -TANH_RANGE), min(high, TANH_RANGE)) if name in before_tanh else (low * share, high * share)
        for name, (low, high) in ranges.items()
    }


def _before_tanh(model: onnx.ModelProto, groups: list[set[str]]) -> set[str]:
    """Return the tensors that enter a tanh, directly or after being moved."""
    direct = {node.input[0] for node in model.graph.node if node.op_type == "Tanh"}
    return direct.union(*(group for group in groups if group & direct))


def _first_products(model: onnx.ModelProto) -> list[str]:
    """Return the names of the nodes that multiply the latents themselves, also joined to the embedding of a class, and
    of those that move them before. The latents are the most sensitive to rounding, and these products are a hundredth
    of the work.
    """
    latent, first = {"z"}, []
    for node in model.graph.node:
        if not latent & set(node.input):
            continue
        if node.op_type in (*PRODUCTS, *MOVES):
            first.append(node.name)
        if node.op_type not in (*PRODUCTS, *SIZES):
            latent |= set(node.output)
    return first


def _products_of_values(model: onnx.ModelProto) -> list[str]:
    """Return the names of the nodes that multiply values by values rather than by weights, as attention does. Rounding
    them costs a dozen decibels in an attention layer of the usual width.
    """
    fixed, products = {weight.name for weight in model.graph.initializer}, []
    for node in model.graph.node:
        if fixed.issuperset(node.input):
            fixed |= set(node.output)
        elif node.op_type in PRODUCTS and not fixed & set(node.input[:2]):
            products.append(node.name)
    return products


def _quantised(model: onnx.ModelProto, ranges: dict[str, Range], excluded: list[str]) -> onnx.ModelProto:
    data = {name: (np.float32(low), np.float32(high)) for name, (low, high) in ranges.items()}
    quantiser = QDQQuantizer(
        copy.deepcopy(model),
        per_channel=True,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=TensorsData(CalibrationMethod.MinMax, data),
        nodes_to_quantize=[],
        nodes_to_exclude=excluded,
        op_types_to_quantize=list(QUANTISED),
        extra_options={"ActivationSymmetric": False, "WeightSymmetric": True},
    )
    quantiser.quantize_model()
    quantised: onnx.ModelProto = quantiser.model.model
    return quantised


def _images(model: onnx.ModelProto, inputs: Inputs) -> NDArray[np.float64]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, batch)[0] for batch in _batches(inputs)]).astype(np.float64)


def _finish(model: onnx.ModelProto, original: onnx.ModelProto) -> onnx.ModelProto:
    """Sort the nodes, copy the metadata of the original model, and check the result."""
    ONNXModel(model).topological_sort()
    onnx.helper.set_model_props(model, {entry.key: entry.value for entry in original.metadata_props})
    onnx.checker.check_model(model, full_check=True)
    return model


def to_int8(model: onnx.ModelProto, inputs: Inputs) -> onnx.ModelProto:
    """Quantise a float32 model, with ranges calibrated on the inputs for a few hundred samples.

    Layers that onnxruntime cannot quantise stay in float32, as do tables with values for each class. Raises UserError
    if no layer can be quantised.
    """
    excluded = _first_products(model) + _products_of_values(model)
    if all(node.op_type not in PRODUCTS or node.name in excluded for node in model.graph.node):
        raise UserError("precision=int8: this network has no layer with weights after its first; expected fp32 or fp16")
    half = len(inputs["z"]) // 2
    calibrated, compared = _part(inputs, slice(half)), _part(inputs, slice(half, None))
    with _quiet():
        groups = _moved_groups(model)
        ranges = _shared(_calibrated_ranges(model, calibrated), groups)
        before_tanh = _before_tanh(model, groups)
        candidates = [_quantised(model, _narrowed(ranges, before_tanh, share), excluded) for share in SHARES]
        expected = _images(model, compared)
        errors = [float(np.square(_images(candidate, compared) - expected).mean()) for candidate in candidates]
    return _finish(candidates[int(np.argmin(errors))], model)
