#!/usr/bin/env bash
# Train on several machines. Run the same command on each of them, in any order, within ten minutes:
#   NODES=2 HEAD=first-host:29500 bash launch/multi_node.sh --data=/shared/photos/ --run_dir=/shared/runs/cats
# HEAD is the host name of one machine, which all machines can resolve, and a free port there. --run_dir is a folder that
# all machines share. PROCESSES is the number of processes per machine (default: one per GPU, or one without GPUs).
# RESTARTS is how often the run restarts from its last checkpoint after a failure (default: 3). Where machines have
# several networks, NCCL_SOCKET_IFNAME=eth chooses the interfaces, for gloo too. DRY_RUN=1 prints the command instead of
# running it.
fail() {
    echo "error: $1, as in: NODES=2 HEAD=first-host:29500 bash launch/multi_node.sh --run_dir=/shared/runs/cats" >&2
    exit 2
}
[[ "${NODES:-}" =~ ^[1-9][0-9]*$ ]] || fail "NODES=${NODES:-}: expected the number of machines"
[[ "${HEAD:-}" =~ ^[^:[:space:]]+:[1-9][0-9]*$ ]] || fail "HEAD=${HEAD:-}: expected host:port"
[[ "${RESTARTS:=3}" =~ ^[0-9]+$ ]] || fail "RESTARTS=$RESTARTS: expected the number of restarts"
[[ " $*" =~ " --run_dir"[=\ ] ]] || fail "run_dir is not given: expected a folder that all machines share"
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh" .
. launch/interface.sh

: "${PROCESSES:=$(python -c 'import torch; print(max(1, torch.cuda.device_count()))')}"
[[ "$PROCESSES" =~ ^[1-9][0-9]*$ ]] || fail "PROCESSES=$PROCESSES: expected the number of processes on each machine"

retries="$(cat /proc/sys/net/ipv4/tcp_retries2 2>/dev/null || echo 0)"
if [ "$retries" -gt 8 ]; then
    echo "note: net.ipv4.tcp_retries2=$retries: torchrun may hang for a quarter of an hour if a machine loses its" \
        "network; to prevent it, as root: sysctl -w net.ipv4.tcp_retries2=5" >&2
fi

# OMP_NUM_THREADS=1 silences a warning of torchrun; training itself gives each process its share of the cores.
# With a shared store, restarted processes may find each other's old addresses (torch issue 135712).
# A hanging torchrun ignores signals. `timeout 0` sets no time limit: it forwards signals, and kills torchrun a minute
# after the first one.
start env OMP_NUM_THREADS=1 TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 \
    timeout --foreground --signal=USR1 --kill-after=60 0 \
    torchrun --nnodes "$NODES" --nproc_per_node "$PROCESSES" --max_restarts "$RESTARTS" \
    --rdzv_backend c10d --rdzv_endpoint "$HEAD" --rdzv_id wgan_dist \
    --signals-to-handle SIGTERM,SIGINT,SIGUSR1 -m wgan_dist.train --resume=auto "$@"
