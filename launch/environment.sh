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

# Installing again takes seconds even where nothing is missing: once per change of pyproject.toml is enough, unless the
# environment has meanwhile been given the package of another folder. The real folder: this one may link to it.
installed="$active/.wgan_dist" package="$(realpath wgan_dist)"
current="$(cd / && python -c 'import wgan_dist; print(wgan_dist.__path__[0])' 2>/dev/null || true)"
if [ "${DRY_RUN:-0}" != 1 ] &&
    { [ "$current" != "$package" ] || [ ! -e "$installed$1" ] || [ pyproject.toml -nt "$installed$1" ]; }; then
    echo "installing $1 into $active (several GB on Linux, most of it torch)"
    python -m pip install --quiet --editable "$(dirname "$package")${1#.}"
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
