"""BatchNorm over the shares of two processes equals torch's own over the whole batch."""

from pathlib import Path

from tests.processes import TORCHRUN_2, run

# Run by both processes; the first prints the greatest difference.
SCRIPT = """
import copy
import torch
from torch import nn
from wgan_dist import distributed

distributed.start(None)
world = distributed.world()


def difference(a, b):
    return float((a - b).detach().abs().max())


worst = 0.0
for norm, shape in [(nn.BatchNorm2d(3), (8, 3, 4, 4)), (nn.BatchNorm1d(3, eps=0.8), (8, 3))]:
    generator = torch.Generator().manual_seed(0)
    x = 5 + 3 * torch.randn(*shape, generator=generator, dtype=torch.float64)
    weighting = torch.randn(*shape, generator=generator, dtype=torch.float64)
    norm = norm.double()
    with torch.no_grad():
        norm.weight.copy_(torch.randn(3, generator=generator))
        norm.bias.copy_(torch.randn(3, generator=generator))
    alone, ours = copy.deepcopy(norm), distributed.convert_sync_batchnorm(nn.Sequential(copy.deepcopy(norm)))
    assert type(ours[0]) is distributed.SyncBatchNorm
    mine = distributed.micro_batch_slices(8, 1, world)[0]
    whole = x.clone().requires_grad_()
    share = x[mine].clone().requires_grad_()
    expected, actual = alone(whole), ours(share)
    (expected * weighting).sum().backward()
    (actual * weighting[mine]).sum().backward()
    worst = max(
        worst,
        difference(expected[mine], actual),
        difference(whole.grad[mine], share.grad),
        difference(alone.weight.grad, world.size * distributed.all_reduce_mean(ours[0].weight.grad)),
        difference(alone.bias.grad, world.size * distributed.all_reduce_mean(ours[0].bias.grad)),
        difference(alone.running_mean, ours[0].running_mean),
        difference(alone.running_var, ours[0].running_var),
        difference(alone.num_batches_tracked, ours[0].num_batches_tracked),
        difference(alone.eval()(x), ours.eval()(x)),
    )
if world.is_main:
    print("WORST", worst, world.size)
distributed.leave()
distributed.end()
"""


def test_two_processes_compute_what_torch_does_over_the_whole_batch(tmp_path: Path) -> None:
    (tmp_path / "batchnorm.py").write_text(SCRIPT)
    stdout = run(*TORCHRUN_2, "batchnorm.py", cwd=tmp_path).stdout
    _, worst, size = next(line for line in stdout.splitlines() if line.startswith("WORST")).split()
    assert int(size) == 2
    assert float(worst) < 1e-12
