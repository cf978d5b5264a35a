#!/usr/bin/env bash
# Train in a pod of Kubernetes, one process for each of its GPUs: bash launch/container.sh [training settings]
# The package is installed in the image. Kubeflow's operators set PET_NNODES, PET_NODE_RANK, PET_NPROC_PER_NODE,
# PET_MASTER_ADDR and PET_MASTER_PORT, which torchrun reads.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/interface.sh"

# OMP_NUM_THREADS=1 silences a warning of torchrun; training itself gives each process its share of the cores. torchrun
# kills processes that are still saving so many seconds after a signal, by default 30: here the pod's grace period, which
# Kubernetes counts, decides.
export OMP_NUM_THREADS=1 TORCH_ELASTIC_SHUTDOWN_TIMEOUT=110
exec torchrun --signals-to-handle SIGTERM,SIGINT,SIGUSR1 -m wgan_dist.train --resume=auto "$@"
