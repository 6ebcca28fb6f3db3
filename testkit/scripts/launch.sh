# launch.sh CGROUP NETNS COMMAND...: become COMMAND in a cgroup of its own (in every hierarchy, below the
# caller's) and in the network namespace NETNS ("-": the caller's).
set -eu
name=$1 ns=$2
shift 2
while IFS=: read -r number controllers path; do
    if [ -z "$controllers" ]; then
        top=$(awk '$0 ~ / - cgroup2 / { print $5; exit }' /proc/self/mountinfo)
    else
        top=$(awk -v want="$controllers" '{
            options = $NF; n = split(options, have, ","); split(want, need, ",")
            if ($0 ~ / - cgroup / ) for (i = 1; i <= n; i++) if (have[i] == need[1]) { print $5; exit }
        }' /proc/self/mountinfo)
    fi
    [ -n "$top" ] || continue
    [ "$path" = / ] && path=
    dir=$top$path/$name
    mkdir -p "$dir"
    # version 1 lets nobody into a cpuset without processors and memory
    if [ -n "$controllers" ] && [ -e "$dir/cpuset.mems" ]; then
        for file in cpuset.cpus cpuset.mems; do
            [ -n "$(cat "$dir/$file")" ] || cat "$top$path/$file" >"$dir/$file"
        done
    fi
    echo $$ >"$dir/cgroup.procs"
done </proc/self/cgroup
[ "$ns" = - ] || exec nsenter --net="/run/netns/$ns" "$@"
exec "$@"
