# demo.sh BIN IMAGE ROOT SWEEP once|stay: start rorquald on a private root, run a container, wait, clean up.
set -u
bin=$1 image=$2 root=$3 sweep=$4 mode=$5
host=unix://$root/sock
bridge=rq$(printf %s "$$" | tail -c 8)
cgroup=rorqual-run-$$
daemon= code=1

clean() {
    trap '' INT TERM HUP
    echo
    echo "cleaning up ..."
    if [ -n "$daemon" ] && kill -0 "$daemon" 2>/dev/null; then
        for id in $("$bin/rorqual" --host "$host" ps -aq 2>/dev/null); do
            "$bin/rorqual" --host "$host" rm -f -v "$id" >/dev/null 2>&1
        done
        kill "$daemon" 2>/dev/null
        wait "$daemon" 2>/dev/null
    fi
    # the daemon turned these on; whoever had them off wants them off
    [ "${forwarding:-1}" = 1 ] || echo 0 >/proc/sys/net/ipv4/ip_forward
    [ "${forwarding6:-1}" = 1 ] || echo 0 >/proc/sys/net/ipv6/conf/all/forwarding
    sh "$sweep" "$root" "$cgroup" >/dev/null 2>&1
    exit "$code"
}
trap clean EXIT
trap 'exit' INT TERM HUP

forwarding=$(cat /proc/sys/net/ipv4/ip_forward) forwarding6=$(cat /proc/sys/net/ipv6/conf/all/forwarding)
echo "starting rorquald on $root ..."
setsid sh "${sweep%/*}/launch.sh" "$cgroup" - "$bin/rorquald" --host "$host" --data-root "$root/data" \
    --exec-root "$root/exec" --pidfile "$root/pid" --config-file "$root/daemon.json" --bridge "$bridge" \
    --bip 10.213.0.1/24 >"$root/log" 2>&1 &
daemon=$!
tries=0
until "$bin/rorqual" --host "$host" version >/dev/null 2>&1; do
    tries=$((tries + 1))
    if [ $tries -gt 300 ] || ! kill -0 "$daemon" 2>/dev/null; then
        echo "rorquald did not become ready; it said:"
        tail -20 "$root/log"
        exit 1
    fi
    sleep 0.05
done

set -e
"$bin/rorqual" --host "$host" load -i "$image"
echo
echo "\$ rorqual run --rm hello"
"$bin/rorqual" --host "$host" run --rm hello
code=0
[ "$mode" = stay ] || exit 0
echo
echo "The daemon is up. In another terminal:"
echo
echo "  export DOCKER_HOST=$host"
echo "  docker run --rm -it hello ids"
echo "  (or, without docker: export PATH=$bin:\$PATH, and rorqual for docker)"
echo
echo "Ctrl-C ends it and removes everything it made."
set +e
wait "$daemon"
code=$?
daemon=
