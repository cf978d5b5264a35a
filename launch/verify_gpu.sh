#!/usr/bin/env bash
# What the tests show on CPUs, on this machine's GPUs under NCCL, as a table: bash launch/verify_gpu.sh
# --cpu goes the same ways without a GPU, as the tests do.
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh" ".[dev]"

exec python -m tests.verify "$@"
