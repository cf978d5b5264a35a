#!/usr/bin/env bash
# Started by slurm.sbatch in every task of a SLURM job: trains as the process that SLURM's variables describe. The
# arguments are training settings.
set -euo pipefail
fail() {
    if [ "$SLURM_LOCALID" = 0 ]; then echo "error: $1" >&2; fi # once per node
    exit 2
}

# The number of tasks on this node. SLURM lists those of all nodes, as in 8(x2),4: two nodes of 8 and one of 4.
counts=()
IFS=, read -ra groups <<< "$SLURM_STEP_TASKS_PER_NODE"
for group in "${groups[@]}"; do
    times=1
    if [[ "$group" =~ \(x([0-9]+)\) ]]; then times="${BASH_REMATCH[1]}"; fi
    for ((n = 0; n < times; n++)); do counts+=("${group%%(*}"); done
done
tasks="${counts[$SLURM_NODEID]}"

# LOCAL_RANK is the number of this process's GPU among those that it sees. If the site binds one GPU to each task, every
# task sees its own as number 0. NCCL refuses two processes on one GPU.
IFS=, read -ra visible <<< "${CUDA_VISIBLE_DEVICES:-}"
local_rank="$SLURM_LOCALID"
if [ "${SLURM_GPUS_ON_NODE:-$tasks}" -lt "$tasks" ]; then
    fail "ntasks-per-node=$tasks: expected at most one task for each GPU of the node ($SLURM_GPUS_ON_NODE)"
elif [ "${#visible[@]}" = 1 ]; then
    local_rank=0
elif [ "${#visible[@]}" -gt 1 ] && [ "${#visible[@]}" -lt "$tasks" ]; then
    fail "CUDA_VISIBLE_DEVICES=$CUDA_VISIBLE_DEVICES: expected one GPU for each of $tasks tasks; ask for --gpus-per-task=1"
fi
export RANK="$SLURM_PROCID" WORLD_SIZE="$SLURM_NTASKS" LOCAL_RANK="$local_rank" LOCAL_WORLD_SIZE="$tasks"

. "$(dirname "${BASH_SOURCE[0]}")/interface.sh"
exec python -m wgan_dist.train "$@"
