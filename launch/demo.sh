#!/usr/bin/env bash
# The whole way on the embedded digits: train, export, sample. Settings of the training may follow, as --max_steps=200
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh" .

run="runs/demo-$(date +%Y%m%d-%H%M%S)"
accelerate launch --config_file accelerate_config.yaml -m wgan_dist.train --run_dir="$run" "$@"
python -m export.onnx --ckpt="$run" --out="$run/generator.onnx"
python -m export.sampler "$run/generator.onnx" --count=64 --seed=0 --out="$run/grid.png"

cat <<END

64 new digits:        $run/grid.png
through training:     $run/samples/
the trained network:  $run/generator.safetensors
for applications:     $run/generator.onnx  (numpy and onnxruntime suffice, see export/sampler.py)
curves:               tensorboard --logdir $run/tensorboard
environment:          $active
END
