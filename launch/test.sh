#!/usr/bin/env bash
# Run the tests, in about ten minutes on two cores: bash launch/test.sh [--all] [pytest arguments]
# --all adds the tests that are slow or need root, a browser or SLURM.
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh" ".[dev]"

# The tests marked browser need Chromium and Node.js.
install_browser() {
    local missing=()
    command -v chromium chromium-browser google-chrome >/dev/null || missing+=(chromium fonts-dejavu-core)
    command -v node >/dev/null && command -v npm >/dev/null || missing+=(nodejs npm)
    [ "${#missing[@]}" = 0 ] && return
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get update -qq && apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null
    else
        echo "not installed: ${missing[*]}; the tests marked browser fail without them" >&2
    fi
}

all=no
if [ "${1:-}" = "--all" ]; then
    all=yes
    shift
    . launch/cluster_tools.sh
    install_browser
fi
for argument in "$@"; do
    case "$argument" in -m*) exec python -m pytest "$@" ;; esac # a user's own marks, one test at a time
done
unmarked=(-m "not slow and not faults and not cluster and not browser" --numprocesses=auto --maxprocesses=4 --dist=worksteal)
if [ "$all" = no ]; then
    exec python -m pytest "${unmarked[@]}" "$@"
fi
first=0 second=0
python -m pytest "${unmarked[@]}" "$@" || first=$?
[ "$first" != 2 ] || exit 2 # interrupted
# Tests that kill processes or measure time need the machine to themselves.
python -m pytest -m "slow or faults or cluster or browser" "$@" || second=$?
if [ "$first" = 5 ]; then # the first part has none of the requested tests
    exit "$second"
fi
[ "$second" != 5 ] || second=0
exit $((first > second ? first : second))
