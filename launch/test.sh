#!/usr/bin/env bash
# The tests, in about ten minutes; with --all the long ones too. Arguments of pytest may follow.
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh" ".[dev]"

marks="not slow and not faults and not cluster and not browser"
if [ "${1:-}" = "--all" ]; then
    marks=""
    shift
    . launch/cluster_tools.sh
fi
exec python -m pytest -m "$marks" "$@"
