#!/usr/bin/env bash
# The tests, in about ten minutes on two cores; with --all the long ones too. Arguments of pytest may follow.
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh" ".[dev]"

# The tests marked browser drive the system's Chromium and Node.js.
install_browser() {
    local missing=()
    command -v chromium chromium-browser google-chrome >/dev/null || missing+=(chromium fonts-dejavu-core)
    command -v node >/dev/null && command -v npm >/dev/null || missing+=(nodejs npm)
    [ "${#missing[@]}" = 0 ] && return
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get update -qq && apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null
    else
        echo "not found: ${missing[*]}; the tests marked browser will fail until they are installed" >&2
    fi
}

unmarked=(-m "not slow and not faults and not cluster and not browser" --numprocesses=auto --maxprocesses=4 --dist=worksteal)
if [ "${1:-}" != "--all" ]; then
    exec python -m pytest "${unmarked[@]}" "$@"
fi
shift
. launch/cluster_tools.sh
install_browser
status=0
run() {
    python -m pytest "$@" || [ $? = 5 ] || status=1 # 5: what was asked for has no test of these marks
}
run "${unmarked[@]}" "$@"
run -m "slow or faults or cluster or browser" "$@" # kills and limits of time need the machine to themselves
exit "$status"
