# Sourced by the other scripts: goes to the top of the repository, into a virtual environment (the active one, or
# .venv, made here if need be), with the package installed there. Argument: what to install, as . or .[dev]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

active="${VIRTUAL_ENV:-}"
if [ -z "$active" ] && [ "${CONDA_DEFAULT_ENV:-base}" != base ]; then
    active="${CONDA_PREFIX:-}"
fi
if [ -z "$active" ]; then
    [ -x .venv/bin/pip ] || "${PYTHON:-python3}" -m venv --clear .venv
    . .venv/bin/activate
    active="$VIRTUAL_ENV"
fi
if ! python -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "error: $(command -v python) is older than Python 3.11; PYTHON=/path/to/python names one to make .venv with" >&2
    exit 2
fi

# Installing again takes seconds even where nothing is missing: once per change of pyproject.toml is enough.
installed="$active/.wgan_dist-$(printf %s "$(realpath wgan_dist)" | cksum | cut -d' ' -f1)"
if [ ! -e "$installed$1" ] || [ pyproject.toml -nt "$installed$1" ]; then
    echo "installing $1 into $active (several GB on Linux, most of it torch)"
    # The folder that the package is really in: this one may link to it.
    python -m pip install --quiet --editable "$(dirname "$(realpath pyproject.toml)")${1#.}"
    touch "$installed." "$installed$1"
fi

# Becomes the command; with DRY_RUN=1 it prints it, ready to be pasted.
start() {
    if [ "${DRY_RUN:-0}" = 1 ]; then
        local words
        printf -v words '%q ' "$@"
        echo "${words% }"
    else
        exec "$@"
    fi
}
