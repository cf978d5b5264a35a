#!/usr/bin/env bash
# Train on several machines. The same command on each of them, in any order, within ten minutes:
#   NODES=2 HEAD=first-host:29500 bash launch/multi_node.sh --data=/shared/photos/ --run_dir=/shared/runs/cats
# HEAD is one of the machines, by a name that all of them know, and a port that is free there; --run_dir is a folder
# that all of them see. PROCESSES on each machine: one per GPU, or one without GPUs. RESTARTS (3): how often everything
# is started again after a failure, from the last checkpoint. DRY_RUN=1 prints the command instead of running it.
fail() {
    echo "error: $1, as in: NODES=2 HEAD=first-host:29500 bash launch/multi_node.sh --run_dir=/shared/runs/cats" >&2
    exit 2
}
[[ "${NODES:-}" =~ ^[1-9][0-9]*$ ]] || fail "NODES=${NODES:-}: expected the number of machines"
[[ "${HEAD:-}" =~ ^[^:[:space:]]+:[1-9][0-9]*$ ]] || fail "HEAD=${HEAD:-}: expected host:port"
[[ "${RESTARTS:=3}" =~ ^[0-9]+$ ]] || fail "RESTARTS=$RESTARTS: expected how often to start again"
[[ " $*" =~ " --run_dir"[=\ ] ]] || fail "run_dir is not given: expected a folder that every machine sees"
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh" .

: "${PROCESSES:=$(python -c 'import torch; print(max(1, torch.cuda.device_count()))')}"
[[ "$PROCESSES" =~ ^[1-9][0-9]*$ ]] || fail "PROCESSES=$PROCESSES: expected the number of processes on each machine"

retries="$(cat /proc/sys/net/ipv4/tcp_retries2 2>/dev/null || echo 0)"
if [ "$retries" -gt 8 ]; then
    echo "note: net.ipv4.tcp_retries2=$retries: torchrun may hang for a quarter of an hour where a machine is cut" \
        "off; as root: sysctl -w net.ipv4.tcp_retries2=5" >&2
fi

# Without OMP_NUM_THREADS torchrun says that it sets one thread; training takes its share of the cores all the same.
# With a shared store processes that start again may find each other's former addresses (torch issue 135712).
# While it hangs torchrun heeds no signal: timeout, which by itself ends nothing here (0 s), passes signals on, and a
# minute after the first of them it kills.
start env OMP_NUM_THREADS=1 TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 \
    timeout --foreground --signal=USR1 --kill-after=60 0 \
    torchrun --nnodes "$NODES" --nproc_per_node "$PROCESSES" --max_restarts "$RESTARTS" \
    --rdzv_backend c10d --rdzv_endpoint "$HEAD" --rdzv_id wgan_dist \
    --signals-to-handle SIGTERM,SIGINT,SIGUSR1 -m wgan_dist.train --resume=auto "$@"
