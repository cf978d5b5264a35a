"""Float graphs → graphs that compute in 8 whole bits, by onnxruntime's own tools.

What is quantised is in operators of the ONNX standard: each tensor is followed by QuantizeLinear and DequantizeLinear,
and a runtime that can compute in whole numbers does so between them (activations uint8, weights int8 per channel).
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

from wgan_dist.utils.errors import UserError

# What is computed in whole numbers, and what only moves values, which must not be rounded once more.
PRODUCTS, MOVES = ("Conv", "Gemm", "MatMul"), ("Concat", "Reshape", "Transpose")
# What these give tells of how many latents there are, and nothing of their values.
SIZES = ("Shape", "Size")
QUANTISED = (*PRODUCTS, *MOVES, "Relu")
BATCH = 32
# tanh(3.2) is 0.997, less than half of a level of 255 from 1: finer steps are worth more than what is beyond.
TANH_RANGE = 3.2
# Shares of the range seen in calibration. A few values at its ends are better cut off than all the others rounded.
SHARES = (1.0, 0.9, 0.8)

Range = tuple[float, float]
Latents = NDArray[np.float32]


class _Latents(CalibrationDataReader):  # type: ignore[misc]
    """Latents in batches, as onnxruntime reads them."""

    def __init__(self, z: Latents) -> None:
        self.batches = iter([z[start : start + BATCH] for start in range(0, len(z), BATCH)])

    def get_next(self) -> dict[str, Latents] | None:
        batch = next(self.batches, None)
        return None if batch is None else {"z": batch}


@contextmanager
def _quiet() -> Iterator[None]:
    """onnxruntime's tools recommend steps of a pipeline that this is not."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(level)


def _seen_ranges(model: onnx.ModelProto, z: Latents) -> dict[str, Range]:
    """The least and the greatest value of every tensor that may be quantised."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        onnx.save(model, path)
        calibrator = create_calibrator(path, QUANTISED, str(Path(folder) / "augmented.onnx"))
        calibrator.collect_data(_Latents(z))
        found = calibrator.compute_data()
    ranges = {name: data.range_value for name, data in found.items()}
    return {name: (float(np.min(least)), float(np.max(most))) for name, (least, most) in ranges.items()}


def _moved_together(model: onnx.ModelProto) -> list[set[str]]:
    """Sets of tensors that hold the same values at other places: one scale for all, or moving would round."""
    sets: dict[str, set[str]] = {}
    for node in model.graph.node:
        if node.op_type not in MOVES:
            continue
        moved = [*(node.input if node.op_type == "Concat" else node.input[:1]), *node.output]
        joined = set().union(*(sets.get(name, {name}) for name in moved))
        sets |= dict.fromkeys(joined, joined)
    return list({id(each): each for each in sets.values()}.values())


def _shared(ranges: dict[str, Range], groups: list[set[str]]) -> dict[str, Range]:
    shared = dict(ranges)
    for group in groups:
        seen = [ranges[name] for name in group if name in ranges]
        if seen:
            widest = min(least for least, _ in seen), max(most for _, most in seen)
            shared |= dict.fromkeys(group, widest)
    return shared


def _narrowed(ranges: dict[str, Range], narrow: set[str], share: float) -> dict[str, Range]:
    """Every range times `share`; those of `narrow` are cut where tanh is flat instead."""
    cut = {name: (max(least, -TANH_RANGE), min(most, TANH_RANGE)) for name, (least, most) in ranges.items()}
    return {
        name: cut[name] if name in narrow else (least * share, most * share) for name, (least, most) in ranges.items()
    }


def _before_tanh(model: onnx.ModelProto, groups: list[set[str]]) -> set[str]:
    direct = {node.input[0] for node in model.graph.node if node.op_type == "Tanh"}
    return direct.union(*(group for group in groups if group & direct))


def _first_products(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes that multiply the latents themselves: of all the values these bear rounding least, and they
    are a hundredth of the work."""
    latent, first = {"z"}, []
    for node in model.graph.node:
        if not latent & set(node.input):
            continue
        if node.op_type in PRODUCTS:
            first.append(node.name)
        elif node.op_type not in SIZES:
            latent |= set(node.output)
    return first


def _products_of_values(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes that multiply values by values, as attention does, and none by weights: rounded, what comes
    of them costs attention of a real width a dozen decibels."""
    fixed, found = {each.name for each in model.graph.initializer}, []
    for node in model.graph.node:
        if fixed.issuperset(node.input):
            fixed |= set(node.output)
        elif node.op_type in PRODUCTS and not fixed & set(node.input[:2]):
            found.append(node.name)
    return found


def _quantised(model: onnx.ModelProto, ranges: dict[str, Range], excluded: list[str]) -> onnx.ModelProto:
    data = {name: (np.float32(least), np.float32(most)) for name, (least, most) in ranges.items()}
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
    found: onnx.ModelProto = quantiser.model.model
    return found


def _images(model: onnx.ModelProto, z: Latents) -> NDArray[np.float64]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    parts = [session.run(None, {"z": z[start : start + BATCH]})[0] for start in range(0, len(z), BATCH)]
    return np.concatenate(parts).astype(np.float64)


def _finish(model: onnx.ModelProto, like: onnx.ModelProto) -> onnx.ModelProto:
    """In order, with what `like` says about itself, and checked."""
    ONNXModel(model).topological_sort()
    onnx.helper.set_model_props(model, {each.key: each.value for each in like.metadata_props})
    onnx.checker.check_model(model, full_check=True)
    return model


def to_int8(model: onnx.ModelProto, z: Latents) -> onnx.ModelProto:
    """A float graph in whole numbers, its ranges calibrated on latents z [n, latent_dim], a few hundred.

    Layers that onnxruntime cannot quantise stay as they are. Raises UserError if none can be.
    """
    excluded = _first_products(model) + _products_of_values(model)
    if all(node.op_type not in PRODUCTS or node.name in excluded for node in model.graph.node):
        raise UserError("precision=int8: behind its first layer this network multiplies nothing by its weights")
    half = len(z) // 2
    with _quiet():
        groups = _moved_together(model)
        ranges = _shared(_seen_ranges(model, z[:half]), groups)
        narrow = _before_tanh(model, groups)
        candidates = [_quantised(model, _narrowed(ranges, narrow, share), excluded) for share in SHARES]
        expected = _images(model, z[half:])
        errors = [float(np.square(_images(each, z[half:]) - expected).mean()) for each in candidates]
    return _finish(candidates[int(np.argmin(errors))], model)
