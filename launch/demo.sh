#!/usr/bin/env bash
# Train on the embedded digits, export the generator and sample from it: bash launch/demo.sh [training settings]
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh" .

run="runs/demo-$(date +%Y%m%d-%H%M%S)"
accelerate launch --quiet --config_file accelerate_config.yaml -m wgan_dist.train --run_dir="$run" "$@"
python -m export.onnx --ckpt="$run" --out="$run/generator.onnx"
python -m export.sampler "$run/generator.onnx" --count=64 --seed=0 --out="$run/grid.png"

cat <<END

64 generated digits:      $run/grid.png
samples during training:  $run/samples/
trained generator:        $run/generator.safetensors
for applications:         $run/generator.onnx  (needs only numpy and onnxruntime, see export/sampler.py)
training curves:          tensorboard --logdir $run/tensorboard
Python environment:       $active
END
