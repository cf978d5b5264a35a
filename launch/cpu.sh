#!/usr/bin/env bash
# Train in N processes that share the CPU cores of this machine: bash launch/cpu.sh N [training settings]
# DRY_RUN=1 prints the command instead of running it.
if [[ ! "${1:-}" =~ ^[1-9][0-9]*$ ]]; then
    echo "error: N=${1:-}: expected the number of processes, as in: bash launch/cpu.sh 2 --run_dir=runs/a" >&2
    exit 2
fi
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh" .

# OMP_NUM_THREADS=1 silences a warning of torchrun; training itself gives each process its share of the cores. The
# MALLOC_ variables let glibc keep freed memory for the next step, up to a tenth of which it would otherwise spend on
# getting pages from the system; versions before 2.35 accept no threshold above these 32 MiB.
start env CUDA_VISIBLE_DEVICES= OMP_NUM_THREADS=1 MALLOC_ARENA_MAX=1 MALLOC_MMAP_THRESHOLD_=33554432 \
    MALLOC_TRIM_THRESHOLD_=2147483647 MALLOC_TOP_PAD_=67108864 torchrun --standalone --nproc_per_node "$1" \
    --signals-to-handle SIGTERM,SIGINT,SIGUSR1 -m wgan_dist.train "${@:2}"
