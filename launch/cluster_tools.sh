# Sourced by test.sh --all: installs the programs that the tests of several hosts and of SLURM need.
export PATH="$PATH:/usr/sbin:/sbin" # where Debian installs daemons
missing=()
for tool in slurmctld:slurmctld slurmd:slurmd srun:slurm-client munged:munge ip:iproute2; do
    command -v "${tool%:*}" > /dev/null || missing+=("${tool#*:}") # program:package
done
if [ "$(id -u)" != 0 ]; then
    echo "error: --all needs root: the cluster tests start SLURM's daemons and create network namespaces" >&2
    exit 2
elif [ "${#missing[@]}" -gt 0 ] && ! command -v apt-get > /dev/null; then
    echo "error: --all needs programs that are not installed; Debian has them in the packages ${missing[*]}" >&2
    exit 2
elif [ "${#missing[@]}" -gt 0 ]; then
    echo "installing ${missing[*]}"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends "${missing[@]}" > /dev/null
fi
