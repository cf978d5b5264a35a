# Sourced by test.sh --all: what the tests of several hosts and of a batch system need besides Python's packages.
export PATH="$PATH:/usr/sbin:/sbin" # Debian keeps daemons where only root looks
missing=()
for each in slurmctld:slurmctld slurmd:slurmd srun:slurm-client munged:munge ip:iproute2; do
    command -v "${each%:*}" > /dev/null || missing+=("${each#*:}")
done
if [ "$(id -u)" != 0 ]; then
    echo "error: --all needs root: its tests of clusters start SLURM's daemons and make network namespaces" >&2
    exit 2
elif [ "${#missing[@]}" -gt 0 ] && ! command -v apt-get > /dev/null; then
    echo "error: --all needs programs that are not here; in Debian they are in the packages ${missing[*]}" >&2
    exit 2
elif [ "${#missing[@]}" -gt 0 ]; then
    echo "installing ${missing[*]}"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends "${missing[@]}" > /dev/null
fi
