# Sourced by the scripts that train on several machines. gloo, which carries the agreements between processes, uses the
# network interface that NCCL_SOCKET_IFNAME chooses for NCCL: its first match, as an exact name, because gloo does not
# read NCCL's patterns. A GLOO_SOCKET_IFNAME that is already set stays.

# Prints the names of this machine's interfaces that are up: those with an address first, in the kernel's order.
list_interfaces() {
    local folder name order
    for folder in /sys/class/net/*/; do
        name="$(basename "$folder")" order=1
        [[ "$(cat "$folder/operstate")" =~ ^(up|unknown)$ ]] || continue
        # Loopback has no route there; the scope 00 is that of global IPv6 addresses.
        if [ "$name" = lo ] || grep -qs "^${name}[[:space:]]" /proc/net/route ||
            grep -Eqs "^[0-9a-f]+ [0-9a-f]+ [0-9a-f]+ 00 [0-9a-f]+ +$name\$" /proc/net/if_inet6; then
            order=0
        fi
        echo "$order $(cat "$folder/ifindex") $name"
    done | sort -k 1,1n -k 2,2n | cut -d ' ' -f 3
}

# Prints the first of the interfaces $2, $3, … that the pattern $1 allows. As in NCCL, a pattern is a list of prefixes
# separated by commas; "=" before it makes them exact names, and "^" before that excludes what they match. An exclusion
# never leads to loopback, unlike in NCCL. NCCL allows a port after a name.
first_interface() {
    local pattern="$1" excludes=no exact=no matches name entry entries
    shift
    if [[ "$pattern" == ^* ]]; then excludes=yes pattern="${pattern#^}"; fi
    if [[ "$pattern" == =* ]]; then exact=yes pattern="${pattern#=}"; fi
    IFS=, read -ra entries <<< "$pattern"
    for name in "$@"; do
        matches=no
        for entry in "${entries[@]%%:*}"; do
            [ -n "$entry" ] || continue
            if [ "$name" = "$entry" ] || [[ "$exact" = no && "$name" == "$entry"* ]]; then matches=yes; fi
        done
        if [ "$matches" != "$excludes" ] && [ "$excludes $name" != "yes lo" ]; then
            echo "$name"
            return
        fi
    done
    return 1
}

if [ -n "${NCCL_SOCKET_IFNAME:-}" ] && [ -z "${GLOO_SOCKET_IFNAME:-}" ]; then
    mapfile -t interfaces < <(list_interfaces)
    if ! GLOO_SOCKET_IFNAME="$(first_interface "$NCCL_SOCKET_IFNAME" "${interfaces[@]}")"; then
        echo "error: NCCL_SOCKET_IFNAME=$NCCL_SOCKET_IFNAME: expected a pattern that allows one of the interfaces of" \
            "$HOSTNAME: ${interfaces[*]}" >&2
        exit 2
    fi
    export GLOO_SOCKET_IFNAME
    if [ "${SLURM_LOCALID:-0}" = 0 ]; then # one task of each node
        echo "note: NCCL_SOCKET_IFNAME=$NCCL_SOCKET_IFNAME: gloo uses $GLOO_SOCKET_IFNAME on $HOSTNAME;" \
            "to choose another: export GLOO_SOCKET_IFNAME" >&2
    fi
fi
