# shellcheck shell=bash
#
# The two registries of a run (the server under test, and its upstream) and what the checks ask them over HTTP.

MANIFEST_TYPES='application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json'
MANIFEST_TYPES+=', application/vnd.docker.distribution.manifest.list.v2+json'
MANIFEST_TYPES+=', application/vnd.docker.distribution.manifest.v2+json'

SERVER_LOG=$E2E_FOLDER/log/server.log
UPSTREAM_LOG=$E2E_FOLDER/log/upstream.log

choose_addresses() {
    SERVER=127.0.0.1:$(free_port)
    METRICS=127.0.0.1:$(free_port)
    UPSTREAM=127.0.0.1:$(free_port)
    # How a client names an upstream repository through the server.
    PROXIED=$SERVER/proxy/upstream.test
}

# The server under test.

start_server() {
    mkdir -p "$E2E_FOLDER/server"
    if [ -n "$E2E_STAND_IN" ]; then
        distribution_settings "$SERVER" "$E2E_FOLDER/server/storage" >"$E2E_FOLDER/server/settings.yaml"
        start server docker-registry serve "$E2E_FOLDER/server/settings.yaml"
    else
        server_settings >"$E2E_FOLDER/server/configuration.toml"
        start server env --chdir="$E2E_FOLDER/server" "$ENTREPOT" serve --config configuration.toml
    fi
}

# Few seconds for what runs when the server is stopped, so that an upload held to a rate is cut by it.
server_settings() {
    cat <<SETTINGS
registry_storage = "storage/registry"
temporary_registry_storage = "storage/_tmp"
proxy_storage = "storage/proxy"

[server]
listen = "$SERVER"
shutdown_timeout = "3s"

[telemetry]
metrics_listen = "$METRICS"

[proxy]
tag_fresh_for = "0s"
root_mirror = "docker.io"

[[proxy.upstream]]
name = "upstream.test"
url = "http://$UPSTREAM"
aliases = ["docker.io"]
SETTINGS
}

# start_other NAME: one more server, for settings that would be in the way of the other checks. They come on standard input,
# behind its storage, its address $OTHER and the upstream; the folder is $OTHER_FOLDER.
start_other() {
    OTHER=127.0.0.1:$(free_port)
    OTHER_FOLDER=$E2E_FOLDER/$1
    mkdir -p "$OTHER_FOLDER"
    cat >"$OTHER_FOLDER/configuration.toml" - <(
        cat <<SETTINGS

[server]
listen = "$OTHER"
shutdown_timeout = "3s"

[telemetry]
metrics_listen = "off"
log_level = "${OTHER_LOG_LEVEL:-info}"

[[proxy.upstream]]
name = "upstream.test"
url = "http://$UPSTREAM"
SETTINGS
    )
    start "$1" env --chdir="$OTHER_FOLDER" "$ENTREPOT" serve --config configuration.toml
}

other_is_ready() {
    within 20 curl -fsS --max-time 2 "http://$OTHER/readyz"
}

server_is_ready() {
    within 20 curl -fsS --max-time 2 "http://$SERVER$(readiness_path)"
}

readiness_path() {
    if [ -n "$E2E_STAND_IN" ]; then
        echo /v2/
    else
        echo /readyz
    fi
}

stop_server() {
    stop server 20
    SERVER_STATUS=$STOP_STATUS SERVER_MILLISECONDS=$STOP_MILLISECONDS
}

server_ended_well() {
    if [ -z "$E2E_STAND_IN" ]; then
        equal "the server's exit status" 0 "$SERVER_STATUS"
    fi
    [ "$SERVER_MILLISECONDS" -lt 10000 ] || {
        echo "the server took $SERVER_MILLISECONDS ms to end"
        return 1
    }
}

# The upstream: a real registry, which writes one line per request it has answered.

start_upstream() {
    distribution_settings "$UPSTREAM" "$E2E_FOLDER/upstream" >"$E2E_FOLDER/upstream.yaml"
    start upstream docker-registry serve "$E2E_FOLDER/upstream.yaml"
    within 20 upstream_is_ready || true
}

upstream_is_ready() {
    curl -fsS --max-time 2 "http://$UPSTREAM/v2/"
}

stop_upstream() {
    stop upstream
}

# The upstream's process stands still; its socket still takes connections.
hold_upstream() {
    kill -STOP -- "-${PROCESS[upstream]}"
}

release_upstream() {
    kill -CONT -- "-${PROCESS[upstream]}"
}

# After failures the server leaves its upstream alone for a while: what follows must not meet that.
upstream_is_asked() {
    [ "$(status "$(url "$PROXIED" "fence-$RANDOM$RANDOM" manifests/1)")" = 404 ]
}

distribution_settings() {
    cat <<SETTINGS
version: 0.1
log:
  level: warn
storage:
  filesystem:
    rootdirectory: $2
  delete:
    enabled: true
http:
  addr: $1
SETTINGS
}

# upstream_mark: where the upstream's log stands now. A request of our own goes first, and its line is waited for:
# everything answered before it is in the log by then.
upstream_mark() {
    { local - && set +x; } 2>/dev/null
    local fence=fence-$RANDOM$RANDOM
    curl -fsS --max-time 5 -o "$E2E_FOLDER/fence" "http://$UPSTREAM/v2/?$fence"
    within 5 grep -q "$fence" "$UPSTREAM_LOG"
    lines_in "$UPSTREAM_LOG"
}

# upstream_requests MARK PATTERN: how many requests since MARK match, the suite's own left out.
upstream_requests() {
    { local - && set +x; } 2>/dev/null
    upstream_mark >/dev/null
    tail -n "+$(($1 + 1))" "$UPSTREAM_LOG" | grep -E '"(GET|HEAD|POST|PUT|PATCH|DELETE) ' | grep -v 'fence-' |
        grep -Ec -- "$2" || true
}

# Questions over HTTP. BASE is host:port, or host:port/proxy/name: the repository follows after its path.

# url BASE REPOSITORY REST
url() {
    { local - && set +x; } 2>/dev/null
    local host=${1%%/*} prefix=''
    [ "$host" = "$1" ] || prefix=${1#*/}/
    echo "http://$host/v2/$prefix$2/$3"
}

get() {
    curl -fsS --max-time 30 "$@"
}

# manifest_digest BASE REPOSITORY REFERENCE: what the registry says, once it is clear that its bytes agree.
manifest_digest() {
    { local - && set +x; } 2>/dev/null
    local address headers said real
    address=$(url "$1" "$2" "manifests/$3")
    headers=$(get --head -H "Accept: $MANIFEST_TYPES" "$address")
    said=$(header docker-content-digest <<<"$headers")
    real=sha256:$(get -H "Accept: $MANIFEST_TYPES" "$address" | sha256sum | cut -d' ' -f1)
    equal "digest in the header for $address" "$real" "$said" >&2
    echo "$said"
}

manifest() {
    { local - && set +x; } 2>/dev/null
    get -H "Accept: $MANIFEST_TYPES" "$(url "$1" "$2" "manifests/$3")"
}

header() {
    { local - && set +x; } 2>/dev/null
    tr -d '\r' | awk -v name="$1" 'index(tolower($0), name ":") == 1 { sub(/^[^:]*: */, ""); print }' | tail -n 1
}

# status ARGUMENT…: only the status of a request.
status() {
    curl -sS --max-time 30 -o "$E2E_FOLDER/answer" -w '%{http_code}' "$@"
}

has_status() {
    local expected=$1 found
    shift
    found=$(status "$@")
    equal "status of ${*: -1} ($(head -c 500 "$E2E_FOLDER/answer" | tr -d '\0'))" "$expected" "$found"
}

# A deletion by digest takes every tag of the manifest along.
delete_manifest() {
    local digest
    digest=$(manifest_digest "$SERVER" "$1" "$2")
    has_status 202 -X DELETE "$(url "$SERVER" "$1" "manifests/$digest")"
    has_status 404 -H "Accept: $MANIFEST_TYPES" "$(url "$SERVER" "$1" "manifests/$2")"
}

digest_of() {
    { local - && set +x; } 2>/dev/null
    echo "sha256:$(sha256sum "$1" | cut -d' ' -f1)"
}

# Children of an index that must be there and whole, one digest a line.
index_children() {
    { local - && set +x; } 2>/dev/null
    manifest "$1" "$2" "$3" | jq -er '.manifests[].digest'
}

# same_image BASE REPOSITORY REFERENCE BASE REPOSITORY REFERENCE: both registries hold the same bytes under these names.
same_image() {
    local first second
    first=$(manifest_digest "$1" "$2" "$3")
    second=$(manifest_digest "$4" "$5" "$6")
    equal "digest at $4/$5:$6" "$first" "$second"
}
