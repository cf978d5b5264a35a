#!/usr/bin/env bash
# Train on all GPUs of this machine, one process per GPU: bash launch/multi_gpu.sh [training settings]
# GPUS=2 starts two processes instead; DRY_RUN=1 prints the command instead of running it.
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh" .

gpus="${GPUS:-$(python -c 'import torch; print(torch.cuda.device_count())')}"
if [ "$gpus" = 0 ]; then
    echo "error: torch finds no GPU on this machine; to train on its CPU cores: bash launch/cpu.sh 2 --run_dir=runs/a" >&2
    exit 2
elif [[ ! "$gpus" =~ ^[1-9][0-9]*$ ]]; then
    echo "error: GPUS=$gpus: expected a number of GPUs" >&2
    exit 2
fi

# accelerate starts torchrun, which SIGUSR1 kills unless it is told to handle it. Port 0 means any free port.
start env PET_SIGNALS_TO_HANDLE=SIGTERM,SIGINT,SIGUSR1 accelerate launch --quiet --config_file accelerate_config.yaml \
    --num_processes "$gpus" --main_process_port 0 -m wgan_dist.train "$@"
