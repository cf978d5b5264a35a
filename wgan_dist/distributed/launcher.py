"""The environment variables with which launchers (torchrun, accelerate, SLURM) describe the processes they start."""

import os
from dataclasses import dataclass

import torch

from wgan_dist.utils.errors import UserError

PRECISIONS = ("no", "bf16", "fp16")
# The values by which a variable asks for nothing.
OFF = ("", "0", "f", "false", "n", "no", "none", "off")


@dataclass(frozen=True)
class _Refused:
    """A setting of accelerate that training does not honour.

    Attributes:
        option: The flag of `accelerate launch` and the line of its configuration file.
        expected: What to set instead.
        accepted: The values, in lower case, that ask for nothing.
    """

    option: str
    expected: str
    accepted: tuple[str, ...] = OFF


_DATA_PARALLEL = "expected --multi_gpu, or distributed_type: MULTI_GPU; every process holds both networks"
# Some raise inside Accelerator, some change what is computed, and some would be dropped.
_REFUSED = {
    "ACCELERATE_USE_DEEPSPEED": _Refused("--use_deepspeed, or distributed_type: DEEPSPEED", _DATA_PARALLEL),
    "ACCELERATE_USE_FSDP": _Refused("--use_fsdp, or distributed_type: FSDP", _DATA_PARALLEL),
    "ACCELERATE_USE_MEGATRON_LM": _Refused("--use_megatron_lm, or distributed_type: MEGATRON_LM", _DATA_PARALLEL),
    "ACCELERATE_USE_PARALLELISM_CONFIG": _Refused(
        "--use_parallelism_config, or parallelism_config", "expected none; every process holds both networks"
    ),
    "ACCELERATE_USE_SAGEMAKER": _Refused(
        "compute_environment: AMAZON_SAGEMAKER", "expected compute_environment: LOCAL_MACHINE"
    ),
    "ACCELERATE_DYNAMO_BACKEND": _Refused(
        "--dynamo_backend, or dynamo_backend", "expected no; the training setting --compile compiles the losses"
    ),
    "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": _Refused(
        "--gradient_accumulation_steps, or gradient_accumulation_steps",
        "expected 1; the training setting --accumulation splits each batch",
        accepted=("", "1"),
    ),
}
# What accelerate or this package takes from the environment, and what concerns only messages of accelerate and its own
# collectives, of which training uses none.
_ACCEPTED = (
    "ACCELERATE_MIXED_PRECISION",
    "ACCELERATE_USE_CPU",
    "ACCELERATE_CPU_AFFINITY",
    "ACCELERATE_DEBUG_MODE",
    "ACCELERATE_LOG_LEVEL",
    "ACCELERATE_ENABLE_RICH",
)
# The options of a compiler and of a precision that are refused themselves. Accelerate always hands over the former.
_OPTIONS = ("ACCELERATE_DYNAMO_", "ACCELERATE_FP8_")


def _is_on(variable: str, off: tuple[str, ...] = OFF) -> bool:
    return os.environ.get(variable, "").lower() not in off


def _is_unknown(variable: str) -> bool:
    known = variable in _REFUSED or variable in _ACCEPTED or variable.startswith(_OPTIONS)
    return variable.startswith("ACCELERATE_") and not known


def check_launcher() -> None:
    """Check that training honours every setting that `accelerate launch` handed over.

    Call it before an Accelerator is made, which acts on some of them. A setting that this package does not know is
    refused unless its value turns it off, because a later accelerate may change by it what is computed.

    Raises:
        UserError: For the first setting that is not honoured; the message names it and what to use instead.
    """
    missing = [name for name in ("RANK", "WORLD_SIZE") if name not in os.environ]
    if "LOCAL_RANK" in os.environ and missing:
        raise UserError(
            f"LOCAL_RANK={os.environ['LOCAL_RANK']} without {' and '.join(missing)}: expected all of them, which "
            "launchers set, or none; unset LOCAL_RANK to start one process"
        )
    for variable, refused in _REFUSED.items():
        if _is_on(variable, refused.accepted):
            raise UserError(
                f"accelerate launch: {refused.option} in its configuration file "
                f"({variable}={os.environ[variable]}): {refused.expected}"
            )
    for variable in filter(_is_unknown, sorted(os.environ)):
        if _is_on(variable):
            raise UserError(
                f"{variable}={os.environ[variable]}: expected it to be unset; this package does not know this setting "
                "of accelerate, which may change what is computed"
            )


def uses_cpu() -> bool:
    """Return whether training is on the CPU: `accelerate launch` was told so, or there is no CUDA GPU."""
    return _is_on("ACCELERATE_USE_CPU") or not torch.cuda.is_available()


def is_launched() -> bool:
    """Return whether torchrun or accelerate started this process. Both set OMP_NUM_THREADS=1 unless it is set."""
    return "LOCAL_RANK" in os.environ or "ACCELERATE_MIXED_PRECISION" in os.environ


def cores_per_process() -> int:
    """Return this process's share of the CPU cores: those of the machine over its number of processes, at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def mixed_precision(requested: str, device: torch.device) -> str:
    """Return the precision to train with, one of PRECISIONS; `auto` takes what `accelerate launch` was given, or no.

    Raises UserError for any other precision, and for bf16 on a GPU that computes bfloat16 only by emulation.
    """
    precision = os.environ.get("ACCELERATE_MIXED_PRECISION", "no") if requested == "auto" else requested
    if precision not in PRECISIONS:
        raise UserError(f"mixed_precision={precision}: expected one of {', '.join(PRECISIONS)}")
    if precision == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise UserError("mixed_precision=bf16: this GPU has no bfloat16; expected no or fp16")
    return precision
