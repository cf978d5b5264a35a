"""Processes whose weights are no longer the same."""

from pathlib import Path

from tests.processes import TORCHRUN_2, run

# Rank 1 changes the last bit of one value, which is 0 on the other: of a weight, then of a statistic of BatchNorm.
SCRIPT = """
import torch
from torch import nn
from wgan_dist import distributed
from wgan_dist.training.divergence import check_replicas
from wgan_dist.utils.errors import UserError

distributed.start(threads=1)
rank = distributed.world().rank
networks = {"critic": nn.Linear(3, 2), "generator": nn.BatchNorm1d(4)}
for name, key in (("critic", "weight"), ("generator", "running_mean"), ("generator", "num_batches_tracked")):
    for network in networks.values():
        for value in network.state_dict().values():
            value.zero_()
    check_replicas(networks, 7)
    value = networks[name].state_dict()[key].flatten()[-1:]
    value.view(torch.int64 if value.dtype == torch.int64 else torch.int32).add_(rank)
    try:
        check_replicas(networks, 7)
    except UserError as error:
        assert f"{name}.{key} of rank 1 is not that of rank 0 at step 7" in str(error), error
        print("found")
distributed.leave()
distributed.end()
"""


def test_a_single_bit_that_differs_on_one_rank_is_found_on_every_rank(tmp_path: Path) -> None:
    (tmp_path / "drift.py").write_text(SCRIPT)
    assert run(*TORCHRUN_2, "drift.py", cwd=tmp_path).stdout.count("found") == 6
