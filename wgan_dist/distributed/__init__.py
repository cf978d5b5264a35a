"""Training in several processes: their group, their collectives, and BatchNorm over the global batch.

This is the only package that uses torch.distributed.
"""

from wgan_dist.distributed.collectives import (
    AsyncMax,
    all_gather_objects,
    all_reduce_mean,
    broadcast_from_main,
    fill_folder,
    gather,
    micro_batch_slices,
    rank_slice,
    run_on_all_ranks,
)
from wgan_dist.distributed.gradient_traffic import Traffic, traffic
from wgan_dist.distributed.launcher import cores_per_process, is_launched, mixed_precision, uses_cpu
from wgan_dist.distributed.process_group import (
    World,
    barrier,
    host_group,
    leave,
    nccl_version,
    report_lost_processes,
    start,
    world,
)
from wgan_dist.distributed.sync_batchnorm import SyncBatchNorm, convert_sync_batchnorm
from wgan_dist.utils.process import exit_without_teardown as end

__all__ = [
    "AsyncMax",
    "SyncBatchNorm",
    "Traffic",
    "World",
    "all_gather_objects",
    "all_reduce_mean",
    "barrier",
    "broadcast_from_main",
    "convert_sync_batchnorm",
    "cores_per_process",
    "end",
    "fill_folder",
    "gather",
    "host_group",
    "is_launched",
    "leave",
    "micro_batch_slices",
    "mixed_precision",
    "nccl_version",
    "rank_slice",
    "report_lost_processes",
    "run_on_all_ranks",
    "start",
    "traffic",
    "uses_cpu",
    "world",
]
