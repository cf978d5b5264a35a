"""Tensors to bytes and back, and networks that do not fit them."""

import contextlib
import copy
import math

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from wgan_dist.checkpoints import safetensors_io
from wgan_dist.utils.errors import UserError

VALUES = torch.tensor([0.0, -0.0, 1 / 3, float("inf"), float("nan"), 1e-7])
DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


def example() -> dict[str, Tensor]:
    tensors = {str(dtype): VALUES.to(dtype) for dtype in DTYPES}
    return tensors | {"count": torch.tensor(2**40), "empty": torch.zeros(0, 3), "flags": torch.tensor([True, False])}


def described(value: Tensor) -> tuple[torch.dtype, torch.Size, list[int]]:
    """Type, shape and bytes: NaN equals NaN, and −0 is not 0."""
    return value.dtype, value.shape, value.contiguous().flatten().view(torch.uint8).tolist()


def same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> bool:
    """Equal names, shapes, dtypes and bits."""
    return {name: described(value) for name, value in ours.items()} == {
        name: described(value) for name, value in theirs.items()
    }


def test_every_tensor_comes_back_bit_for_bit() -> None:
    assert same(safetensors_io.from_bytes(safetensors_io.to_bytes(example()), "here"), example())


def test_the_bytes_are_a_safetensors_file() -> None:
    assert same(safetensors.torch.load(safetensors_io.to_bytes(example())), example())


def test_no_tensors_come_back_as_none() -> None:
    assert safetensors_io.from_bytes(safetensors_io.to_bytes({}), "here") == {}


def test_the_same_tensors_in_another_order_give_the_same_bytes() -> None:
    backwards = dict(reversed(example().items()))
    assert safetensors_io.to_bytes(example(), {"one": "key"}) == safetensors_io.to_bytes(backwards, {"one": "key"})


def test_a_transposed_parameter_comes_back_in_its_own_shape() -> None:
    parameter = nn.Parameter(torch.arange(6.0).reshape(2, 3))
    content = safetensors_io.to_bytes(safetensors_io.copy_to_host({"t": parameter.T}))
    back = safetensors_io.from_bytes(content, "here")["t"]
    assert torch.equal(back, parameter.detach().T)


def test_a_weight_used_in_two_places_is_written() -> None:
    shared = nn.Linear(2, 2)
    network = nn.Sequential(shared, nn.ReLU(), shared)
    content = safetensors_io.to_bytes(safetensors_io.copy_to_host(network.state_dict()))
    assert same(safetensors_io.from_bytes(content, "here"), network.state_dict())


@given(st.data())
@settings(deadline=None)
def test_a_truncated_file_is_refused_by_name(data: st.DataObject) -> None:
    content = safetensors_io.to_bytes(example())
    length = data.draw(st.integers(0, len(content) - 1))
    with pytest.raises(UserError, match="here.safetensors: not a safetensors file, or damaged"):
        safetensors_io.from_bytes(content[:length], "here.safetensors")


@given(st.binary(max_size=300))
@settings(deadline=None)
def test_arbitrary_bytes_are_refused_by_name(content: bytes) -> None:
    # No 300 bytes are a file by chance: the first eight are the length of a JSON header.
    with pytest.raises(UserError, match="here: not a safetensors file, or damaged"):
        safetensors_io.from_bytes(content, "here")


@given(st.data())
@settings(deadline=None)
def test_a_changed_header_is_read_or_refused_but_nothing_else(data: st.DataObject) -> None:
    content = bytearray(safetensors_io.to_bytes(example()))
    header = 8 + int.from_bytes(content[:8], "little")
    content[data.draw(st.integers(0, header - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(UserError):
        safetensors_io.from_bytes(bytes(content), "here")


def make_network() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))


def test_weights_go_into_a_network_and_keep_its_dtype() -> None:
    source, target = make_network().double(), make_network()
    safetensors_io.load_into(target, safetensors_io.to_bytes(source.state_dict()), "here")
    assert same(target.state_dict(), source.float().state_dict())


WRONG: dict[str, tuple[str, Tensor | None]] = {
    "another shape": ("0.weight", torch.zeros(2, 3)),
    "as many values": ("0.weight", torch.zeros(6)),
    "one too few": ("1.running_mean", None),
    "one too many": ("3.weight", torch.zeros(1)),
}


@pytest.mark.parametrize(("name", "value"), WRONG.values(), ids=WRONG.keys())
def test_weights_of_another_network_are_refused_and_change_nothing(name: str, value: Tensor | None) -> None:
    network = make_network()
    before = copy.deepcopy(network.state_dict())
    state = {key: tensor + 1 for key, tensor in before.items() if key != name}
    content = safetensors_io.to_bytes(state if value is None else state | {name: value})
    with pytest.raises(UserError, match=f"here: weights of another network: {name}"):
        safetensors_io.load_into(network, content, "here")
    assert same(network.state_dict(), before)


@pytest.mark.parametrize("value", [torch.tensor(math.nan), torch.tensor(-math.inf), torch.tensor(1e300).double()])
@pytest.mark.parametrize("name", ["2.weight", "1.running_var"])
def test_a_value_that_is_not_finite_in_the_network_is_refused_by_name(name: str, value: Tensor) -> None:
    network = make_network()
    state = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    state[name] = state[name].to(value.dtype)
    state[name].view(-1)[-1] = value
    with pytest.raises(UserError, match=f"^here: {name} has values that are not finite$"):
        safetensors_io.load_into(network, safetensors_io.to_bytes(state), "here")


def test_finite_values_whose_sum_is_not_are_accepted() -> None:
    network = make_network()
    state = network.state_dict() | {"0.weight": torch.full((3, 2), 3e38)}
    safetensors_io.load_into(network, safetensors_io.to_bytes(state), "here")
    assert same(network.state_dict(), state)
