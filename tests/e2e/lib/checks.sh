# shellcheck shell=bash
#
# Checks: a sentence, a function, and the evidence when the function fails.
#
# A check's function runs in a subshell under `set -e` with tracing on, so every command in it has to succeed, and the
# trace of commands with their output is the evidence. What it sets is lost; what must outlive it goes to a file.

PASSED=0
FAILED=0
CLIENT=suite
EVIDENCE_LINES=60
LOG_LINES=25

# check SENTENCE FUNCTION [ARGUMENT…]; tells the caller in $CHECK_PASSED, never by its status: a status that is tested
# would switch `set -e` off inside the function.
check() {
    local sentence=$1 status log_start
    shift
    log_start=$(lines_in "$SERVER_LOG")
    set +e
    (
        set -euo pipefail
        PS4='$ '
        set -x
        "$@"
    ) >"$E2E_FOLDER/evidence" 2>&1 </dev/null
    status=$?
    set -e
    if [ "$status" -eq 0 ]; then
        passed "$sentence"
        CHECK_PASSED=1
    else
        failed "$sentence" "$status" "$log_start"
        CHECK_PASSED=''
    fi
}

passed() {
    PASSED=$((PASSED + 1))
    echo "ok $CLIENT: $1"
}

# failed SENTENCE STATUS [LINE OF THE SERVER'S LOG AT WHICH THE CHECK BEGAN]
failed() {
    FAILED=$((FAILED + 1))
    echo "FAILED $CLIENT: $1"
    echo "    status $2; the last of what was run and said:"
    indented_tail "$EVIDENCE_LINES" "$E2E_FOLDER/evidence"
    if [ -n "${3:-}" ]; then
        echo "    the server's log meanwhile:"
        tail -n "+$(($3 + 1))" "$SERVER_LOG" 2>/dev/null >"$E2E_FOLDER/log-meanwhile" || true
        indented_tail "$LOG_LINES" "$E2E_FOLDER/log-meanwhile"
    fi
}

# A line for what this run leaves out, so that nobody takes its silence for success.
skipped() {
    echo "skipped $CLIENT: $1"
}

indented_tail() {
    [ ! -f "$2" ] || tail -n "$1" "$2" | cut -c1-600 | sed 's/^/    | /'
}

lines_in() {
    { local - && set +x; } 2>/dev/null
    if [ -f "$1" ]; then
        wc -l <"$1"
    else
        echo 0
    fi
}

# The few assertions. Each says what was found, since the trace is all that is left of a failed check. They, and other
# small functions, keep themselves out of the trace (`local -` gives the caller its options back).

equal() {
    { local - && set +x; } 2>/dev/null
    [ "$2" = "$3" ] || {
        echo "$1: expected '$2', found '$3'"
        return 1
    }
}

contains() {
    { local - && set +x; } 2>/dev/null
    grep -Eiq -- "$2" <<<"$1" || {
        echo "expected /$2/ in: $1"
        return 1
    }
}

# refused PATTERN COMMAND…: the command has to fail, and to say why in words that match.
refused() {
    local pattern=$1 said
    shift
    if said=$("$@" 2>&1); then
        echo "expected a refusal, but it went through: $said"
        return 1
    fi
    contains "$said" "$pattern"
}
