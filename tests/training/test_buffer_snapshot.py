"""Buffers that are saved and restored together, and stay the tensors of their modules."""

import torch
from torch import nn

from wgan_dist.training.buffer_snapshot import ALIGNMENT, BufferSnapshot


def test_buffers_are_restored_only_where_the_condition_holds() -> None:
    norm, half = nn.BatchNorm1d(3), torch.tensor([0.5], dtype=torch.float16)
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    snapshot = BufferSnapshot([*norm.buffers(), half])
    assert all(torch.equal(norm.state_dict()[name], value) for name, value in before.items())
    snapshot.save()
    norm(torch.tensor([[1.0, 2.0, 3.0], [3.0, 5.0, float("nan")]]))
    half.fill_(2.0)
    changed = {name: value.clone() for name, value in norm.state_dict().items()}
    snapshot.restore(torch.tensor(False))
    assert half.item() == 2.0
    assert all(torch.equal(norm.state_dict()[name].nan_to_num(), changed[name].nan_to_num()) for name in before)
    snapshot.restore(torch.tensor(True))
    assert half.item() == 0.5
    assert all(torch.equal(norm.state_dict()[name], value) for name, value in before.items())


def test_buffers_keep_their_shapes_and_begin_at_aligned_addresses() -> None:
    buffers = [torch.full(shape, float(number)) for number, shape in enumerate([(3,), (), (0,), (5, 7), (64,)])]
    BufferSnapshot(buffers)
    assert [tuple(buffer.shape) for buffer in buffers] == [(3,), (), (0,), (5, 7), (64,)]
    assert all(buffer.eq(number).all() for number, buffer in enumerate(buffers))
    assert {buffer.storage_offset() % ALIGNMENT for buffer in buffers} == {0}
