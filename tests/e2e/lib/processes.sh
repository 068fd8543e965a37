# shellcheck shell=bash
#
# Background processes: each in a process group of its own, with a log, ended by that group. They are started and
# stopped by the main shell only, never inside a check, because only a parent can read an exit status.

declare -A PROCESS=()

# start NAME COMMAND…
start() {
    local name=$1
    shift
    setsid "$@" >>"$E2E_FOLDER/log/$name.log" 2>&1 </dev/null &
    PROCESS[$name]=$!
}

# stop NAME [SECONDS]: SIGTERM, and SIGKILL when the time is over. Leaves $STOP_STATUS and $STOP_MILLISECONDS.
stop() {
    local name=$1 pid=${PROCESS[$1]:-} begun
    STOP_STATUS=none STOP_MILLISECONDS=0
    [ -n "$pid" ] || return 0
    unset "PROCESS[$name]"
    begun=$(milliseconds)
    kill -TERM -- "-$pid" 2>/dev/null || true
    within "${2:-15}" gone "$pid" || kill -KILL -- "-$pid" 2>/dev/null || true
    STOP_STATUS=0
    wait "$pid" 2>/dev/null || STOP_STATUS=$?
    STOP_MILLISECONDS=$(($(milliseconds) - begun))
}

# kill_at_once NAME: without a chance to put anything in order.
kill_at_once() {
    local pid=${PROCESS[$1]}
    unset "PROCESS[$1]"
    kill -KILL -- "-$pid"
    wait "$pid" 2>/dev/null || true
}

stop_everything() {
    local name
    for name in "${!PROCESS[@]}"; do
        stop "$name" 10
    done
    # Deepest first. In a namespace of its own the run's mounts end with it; in place they would stay.
    awk -v folder="$E2E_FOLDER/" 'index($2, folder) == 1 { print $2 }' /proc/self/mounts | sort -r |
        while read -r mounted; do
            umount -l "$mounted"
        done
}

gone() {
    ! kill -0 "$1" 2>/dev/null
}

milliseconds() {
    date +%s%3N
}

# within SECONDS COMMAND…: tries again until the command succeeds or the time is over.
within() {
    { local - && set +x; } 2>/dev/null
    local until=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$until" ] || return 1
        sleep 0.05
    done
}

# A port nobody listens on, below the range that the kernel gives to outgoing connections.
free_port() {
    local port
    while true; do
        port=$((20000 + RANDOM % 10000))
        if [ -z "$(ss -Hltn "sport = :$port")" ]; then
            echo "$port"
            return
        fi
    done
}
