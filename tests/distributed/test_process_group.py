"""Processes that a launcher started on GPUs join by NCCL, each bound to a GPU of its own."""

from datetime import timedelta
from typing import Any

import pytest
import torch
import torch.distributed as dist

from wgan_dist.distributed.process_group import _join_by_nccl


@pytest.mark.parametrize(
    ("local_rank", "gpus", "index"),
    [("3", 8, 3), ("3", 1, 0)],  # the second is how sites bind one GPU to each task
)
def test_the_group_knows_the_gpu_of_this_process(
    monkeypatch: pytest.MonkeyPatch, local_rank: str, gpus: int, index: int
) -> None:
    """What NCCL itself would do needs GPUs."""
    joined: dict[str, Any] = {}
    monkeypatch.setenv("LOCAL_RANK", local_rank)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: joined.update(current=device))
    monkeypatch.setattr(dist, "init_process_group", lambda backend, **kwargs: joined.update(backend=backend, **kwargs))
    _join_by_nccl(timedelta(seconds=7))
    device = torch.device("cuda", index)
    assert joined == {"backend": "nccl", "timeout": timedelta(seconds=7), "device_id": device, "current": device}
