#!/usr/bin/env bash
# Check and time on a GPU of this machine what the tests check on CPUs: bash launch/verify_gpu.sh [--cpu] [--out=FILE]
# The results are appended to gpu_session.md. --cpu does the same in small sizes without a GPU.
set -euo pipefail
CDPATH='' cd -- "$(dirname "${BASH_SOURCE[0]}")/.."

# A machine that has torch and accelerate needs no installation.
python="${PYTHON:-$(command -v python || echo python3)}"
if ! "$python" -c 'import tests.gpu_session.items' 2>/dev/null; then
    . launch/environment.sh .
    python=python
fi
exec "$python" -m tests.gpu_session "$@"
