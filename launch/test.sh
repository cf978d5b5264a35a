#!/usr/bin/env bash
# The tests, in about ten minutes; with --all the long ones too. Arguments of pytest may follow.
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh" ".[dev]"

# The tests marked browser drive the system's Chromium.
install_chromium() {
    command -v chromium chromium-browser google-chrome >/dev/null && return
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get update -qq && apt-get install -qq -y --no-install-recommends chromium fonts-dejavu-core >/dev/null
    else
        echo "no Chromium found: the tests marked browser will fail until it is installed" >&2
    fi
}

marks="not slow and not faults and not cluster and not browser"
if [ "${1:-}" = "--all" ]; then
    marks=""
    shift
    . launch/cluster_tools.sh
    install_chromium
fi
exec python -m pytest -m "$marks" "$@"
