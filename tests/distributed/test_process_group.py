"""Processes that a launcher started on GPUs join by NCCL, each bound to a GPU of its own."""

from datetime import timedelta
from typing import Any

import pytest
import torch
import torch.distributed as dist

from wgan_dist.distributed.process_group import _join_by_nccl
from wgan_dist.utils.errors import UserError


def test_the_group_knows_the_gpu_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The calls that reach NCCL are replaced, because NCCL needs GPUs."""
    joined: dict[str, Any] = {}
    monkeypatch.setenv("LOCAL_RANK", "3")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: joined.update(current=device))
    monkeypatch.setattr(dist, "init_process_group", lambda backend, **kwargs: joined.update(backend=backend, **kwargs))
    _join_by_nccl(timedelta(seconds=7))
    device = torch.device("cuda", 3)
    assert joined == {"backend": "nccl", "timeout": timedelta(seconds=7), "device_id": device, "current": device}


def test_a_process_without_a_gpu_of_its_own_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accelerate would give DistributedDataParallel a GPU that is not there."""
    monkeypatch.setenv("LOCAL_RANK", "3")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UserError, match="LOCAL_RANK=3: expected less than 1"):
        _join_by_nccl(timedelta(seconds=7))
