#!/usr/bin/env bash
# Train in N processes that share the cores of this machine: bash launch/cpu.sh N [settings of the training]
# DRY_RUN=1 prints the command instead of running it.
if [[ ! "${1:-}" =~ ^[1-9][0-9]*$ ]]; then
    echo "error: N=${1:-}: expected the number of processes, as in: bash launch/cpu.sh 2 --run_dir=runs/a" >&2
    exit 2
fi
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh" .

# Without OMP_NUM_THREADS torchrun says that it sets one thread; training then takes its share of the cores all the same.
start env CUDA_VISIBLE_DEVICES= OMP_NUM_THREADS=1 torchrun --standalone --nproc_per_node "$1" \
    --signals-to-handle SIGTERM,SIGINT,SIGUSR1 -m wgan_dist.train "${@:2}"
