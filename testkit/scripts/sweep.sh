# sweep.sh ROOT CGROUP NETNS...: end and remove everything that a fixture's daemon made: processes, cgroups,
# mounts, namespaces, files. Prints what it had to end or unmount. Finds things by the fixture's own names only.
root=$1 cgroup=$2
shift 2
find_cgroups() { find /sys/fs/cgroup -depth -type d -path "*/$cgroup" -o -depth -type d -path "*/$cgroup/*" 2>/dev/null; }
for round in 1 2 3 4 5 6 7 8; do
    pids=$(for dir in $(find_cgroups); do
        if [ -e "$dir/freezer.state" ]; then echo THAWED >"$dir/freezer.state"; fi
        if [ -e "$dir/cgroup.freeze" ]; then echo 0 >"$dir/cgroup.freeze"; fi
        cat "$dir/cgroup.procs"
    done 2>/dev/null | sort -u)
    for ns in "$@"; do pids="$pids $(ip netns pids "$ns" 2>/dev/null)"; done
    pids=$(echo $pids)
    [ -n "$pids" ] || break
    for pid in $pids; do
        echo "process $pid $(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | cut -c-120)"
        kill -9 "$pid" 2>/dev/null
    done
    sleep 0.05
done
awk -v root="$root/" 'index($5, root) == 1 { print $5 }' /proc/self/mountinfo | sort -r | while read -r target; do
    # The fixture's own tmpfs; and layers stay mounted when a daemon ends: the next one, and its containers, use them.
    case "$target" in
    "$root/exec" | "$root"/*/layers | "$root"/*/layers/*/fs) ;;
    *) echo "mount $target" ;;
    esac
    umount -l "$(printf '%b' "$target")"
done
for dir in $(find_cgroups); do rmdir "$dir" 2>/dev/null; done
for ns in "$@"; do ip netns del "$ns" 2>/dev/null; done
[ -z "$root" ] || chattr -R -i "$root" 2>/dev/null
rm -rf --one-file-system "$root"
