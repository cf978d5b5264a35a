# Sourced by the other scripts: goes to the top of the repository, into a virtual environment (the active one, or
# .venv, made here if need be), with the package installed there. Argument: what to install, as . or .[dev]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [ -z "${VIRTUAL_ENV:-}" ] && [ -z "${CONDA_PREFIX:-}" ]; then
    python="${PYTHON:-python3}"
    if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
        echo "error: $python is older than Python 3.11; PYTHON=/path/to/python names another" >&2
        exit 2
    fi
    [ -x .venv/bin/python ] || "$python" -m venv .venv
    . .venv/bin/activate
fi

# Installing again takes seconds even where nothing is missing: once per change of pyproject.toml is enough.
installed="${VIRTUAL_ENV:-$CONDA_PREFIX}/.wgan_dist-installed-$(printf %s "$1$PWD" | cksum | cut -d' ' -f1)"
if [ ! -e "$installed" ] || [ pyproject.toml -nt "$installed" ]; then
    echo "installing $1 into ${VIRTUAL_ENV:-$CONDA_PREFIX} (several GB on Linux, most of it torch)"
    python -m pip install --quiet --editable "$1"
    touch "$installed"
fi
