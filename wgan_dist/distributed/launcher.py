"""The environment variables with which launchers (torchrun, accelerate, SLURM) describe the processes they start."""

import os

import torch

from wgan_dist.utils.errors import UserError

PRECISIONS = ("no", "bf16", "fp16")


def is_launched() -> bool:
    """Return whether torchrun or accelerate started this process. Both set OMP_NUM_THREADS=1 unless it is set."""
    return "LOCAL_RANK" in os.environ or "ACCELERATE_MIXED_PRECISION" in os.environ


def cores_per_process() -> int:
    """Return this process's share of the CPU cores: those of the machine over its number of processes, at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def mixed_precision(requested: str) -> str:
    """Return the precision to train with, one of PRECISIONS; `auto` takes what `accelerate launch` was given, or no.

    Raises UserError for any other precision, and for bf16 on a GPU without bfloat16.
    """
    precision = os.environ.get("ACCELERATE_MIXED_PRECISION", "no") if requested == "auto" else requested
    if precision not in PRECISIONS:
        raise UserError(f"mixed_precision={precision}: expected one of {', '.join(PRECISIONS)}")
    if precision == "bf16" and torch.cuda.is_available() and not torch.cuda.is_bf16_supported():
        raise UserError("mixed_precision=bf16: this GPU has no bfloat16; expected no or fp16")
    return precision
