"""Gradients of several backwards of one process, averaged in shared memory and by gloo: `torchrun -m tests.averaging`.

Ends with an error where they differ. The last process reads late, the others hurry on to the next backward.
"""

import sys
import time

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.futures import Future
from torch.nn.parallel import DistributedDataParallel

from wgan_dist import distributed
from wgan_dist.distributed import World, _Averaging, world

BACKWARDS, LATE = 6, 0.05  # seconds


def _read_late(here: World) -> None:
    add = torch.sum

    def late(*given: object, **named: object) -> Tensor:
        time.sleep(LATE)
        return add(*given, **named)  # type: ignore[call-overload]

    if here.rank == here.size - 1:
        distributed.torch.sum = late  # type: ignore[attr-defined]


def _noted(averaging: _Averaging) -> list[bool]:
    """Of each bucket that will be averaged, whether it is the last."""
    last: list[bool] = []
    add = averaging.add

    def noting(flat: Tensor, is_last: bool) -> Future[Tensor]:
        last.append(is_last)
        return add(flat, is_last)

    averaging.add = noting  # type: ignore[method-assign]
    return last


def main() -> None:
    dtype = getattr(torch, sys.argv[1])
    distributed.start(threads=1)
    here = world()
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(7, 300), nn.Tanh(), nn.Linear(300, 500, bias=False), nn.Linear(500, 3)).to(dtype)
    wrapped = DistributedDataParallel(network, bucket_cap_mb=0.1, gradient_as_bucket_view=True)
    distributed.average_in_memory(wrapped)
    assert "_average" in str(wrapped._get_ddp_logging_data()["comm_hook"])
    buckets = _noted(wrapped.averaging)  # type: ignore[arg-type]
    _read_late(here)
    generator = torch.Generator().manual_seed(here.rank)
    found = []
    for _ in range(BACKWARDS):  # without a word between the processes but that of the averaging itself
        x = torch.randn(5, 7, generator=generator, dtype=dtype)
        network.zero_grad()
        wrapped(x).square().sum().backward()
        alone = torch.autograd.grad(network(x).square().sum(), list(network.parameters()))
        averaged = [parameter.grad.clone() for parameter in network.parameters() if parameter.grad is not None]
        found += list(zip(alone, averaged, strict=True))
    assert buckets.count(False) >= BACKWARDS - 1  # in the first, torch has not sorted them yet
    for mine, averaged_one in found:
        expected = mine / here.size
        dist.all_reduce(expected)
        torch.testing.assert_close(averaged_one, expected, rtol=0 if here.size == 2 else 1e-9, atol=0)
        everyones = [torch.empty_like(expected) for _ in range(here.size)]
        dist.all_gather(everyones, averaged_one)
        assert all(torch.equal(each, averaged_one) for each in everyones)
    distributed.leave()


if __name__ == "__main__":
    main()
