#!/usr/bin/env bash
# Check on this machine's GPUs what the tests check on CPUs, and print a table: bash launch/verify_gpu.sh [--cpu]
# --cpu runs the same checks without a GPU.
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh" ".[dev]"

exec python -m tests.verify "$@"
