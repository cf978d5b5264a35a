# Sourced by the other scripts: changes to the top of the repository, activates a virtual environment (the active one,
# or .venv, which is created if it is missing) and installs the package there. Argument: what to install, . or .[dev]
set -euo pipefail
CDPATH='' cd -- "$(dirname "${BASH_SOURCE[0]}")/.." # with a CDPATH, cd might go to another folder of this name

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
    echo "error: $(command -v python) is older than Python 3.11; set PYTHON=/path/to/python to create .venv with a newer one" >&2
    exit 2
fi

# Install only if pyproject.toml has changed or the environment has the package of another folder: installing takes
# seconds even if nothing is missing. realpath, because this folder may be a link.
installed="$active/.wgan_dist" package="$(realpath wgan_dist)"
current="$(cd / && python -c 'import wgan_dist; print(wgan_dist.__path__[0])' 2>/dev/null || true)"
if [ "${DRY_RUN:-0}" != 1 ] &&
    { [ "$current" != "$package" ] || [ ! -e "$installed$1" ] || [ pyproject.toml -nt "$installed$1" ]; }; then
    echo "installing $1 into $active (several GB on Linux, mostly torch)"
    python -m pip install --quiet --editable "$(dirname "$package")${1#.}"
    touch "$installed." "$installed$1"
fi

# Replaces the shell by a command, or with DRY_RUN=1 prints it, quoted for a shell.
start() {
    if [ "${DRY_RUN:-0}" = 1 ]; then
        local words
        printf -v words '%q ' "$@"
        echo "${words% }"
    else
        exec "$@"
    fi
}
