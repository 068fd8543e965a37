# shellcheck shell=bash
#
# Three replicas of the server on shared stores, with a load balancer before them. In the stand-in's run Debian's
# docker-registry plays them, on the same object store and without a database.

REPLICAS=3
# Counts the registries that the replicas have been, each with nothing in it at first.
REGISTRY_NUMBER=0
# Where each is reached, by number.
declare -A REPLICA=()

choose_replicas() {
    local number
    for ((number = 1; number <= REPLICAS; number++)); do
        REPLICA[$number]=127.0.0.1:$(free_port)
    done
    BALANCER=127.0.0.1:$(free_port)
}

# write_replicas REDIRECT(never|always) [UPLOAD EXPIRY]: a registry of its own, in the same stores.
write_replicas() {
    local number folder
    REGISTRY_NUMBER=$((REGISTRY_NUMBER + 1))
    sql "CREATE DATABASE entrepot_$REGISTRY_NUMBER" postgres
    for ((number = 1; number <= REPLICAS; number++)); do
        folder=$E2E_FOLDER/replica-$number
        rm -rf "$folder"
        mkdir -p "$folder"
        if [ -n "$E2E_STAND_IN" ]; then
            stand_in_settings "$number" "$1" >"$folder/settings.yaml"
        else
            printf '%s' "$GARAGE_SECRET" >"$folder/s3.secret"
            printf '%s' "$POSTGRES_PASSWORD" >"$folder/postgres.password"
            chmod 600 "$folder"/*.{secret,password}
            replica_settings "$number" "$1" "${2:-24h}" >"$folder/configuration.toml"
        fi
    done
}

# Each has another node of the object store, so that what one writes is read from another.
replica_settings() {
    local internal
    internal=127.0.0.1:$(free_port)
    cat <<SETTINGS
registry_storage = "s3://entrepot/$REGISTRY_NUMBER/registry"
temporary_registry_storage = "storage/_tmp"
proxy_storage = "s3://entrepot/$REGISTRY_NUMBER/proxy"

[server]
listen = "${REPLICA[$1]}"
shutdown_timeout = "3s"
upload_expiry = "$3"

[storage.s3]
endpoint = "http://127.0.0.1:${GARAGE_PORTS[$1 - 1]}"
region = "$GARAGE_REGION"
access_key_id = "$GARAGE_KEY"
secret_access_key_file = "s3.secret"
path_style = true

[storage.redirect]
mode = "$2"

[metadata]
url = "postgres://entrepot@127.0.0.1:$POSTGRES_PORT/entrepot_$REGISTRY_NUMBER"
password_file = "postgres.password"

[replica]
listen = "$internal"
address = "http://$internal"

[telemetry]
metrics_listen = "off"

[proxy]
tag_fresh_for = "0s"

[[proxy.upstream]]
name = "upstream.test"
url = "http://$UPSTREAM"
SETTINGS
}

stand_in_settings() {
    local no_redirect=true
    [ "$2" != always ] || no_redirect=false
    cat <<SETTINGS
version: 0.1
log:
  level: warn
storage:
  s3:
    accesskey: $GARAGE_KEY
    secretkey: $GARAGE_SECRET
    region: $GARAGE_REGION
    regionendpoint: http://127.0.0.1:${GARAGE_PORTS[$1 - 1]}
    bucket: entrepot
    secure: false
    rootdirectory: /$REGISTRY_NUMBER
  delete:
    enabled: true
  redirect:
    disable: $no_redirect
http:
  addr: ${REPLICA[$1]}
  secret: the same for all
SETTINGS
}

# All of them write to one log, which is the server's for the checks.
start_replica() {
    local folder=$E2E_FOLDER/replica-$1
    ln -sf replicas.log "$E2E_FOLDER/log/replica-$1.log"
    if [ -n "$E2E_STAND_IN" ]; then
        start "replica-$1" docker-registry serve "$folder/settings.yaml"
    else
        start "replica-$1" env --chdir="$folder" "$ENTREPOT" serve --config configuration.toml
    fi
}

start_replicas() {
    local number
    for ((number = 1; number <= REPLICAS; number++)); do
        start_replica "$number"
    done
}

stop_replicas() {
    local number
    for ((number = 1; number <= REPLICAS; number++)); do
        stop "replica-$number"
    done
}

replica_is_ready() {
    within "${2:-30}" curl -fsS --max-time 2 "http://${REPLICA[$1]}$(readiness_path)"
}

replicas_are_ready() {
    local number
    for ((number = 1; number <= REPLICAS; number++)); do
        replica_is_ready "$number" "${1:-30}"
    done
}

balancer_is_ready() {
    within 20 curl -fsS --max-time 2 "http://$BALANCER/v2/"
}

# The same processes as before: none had to be started anew.
replicas_never_ended() {
    local number
    for ((number = 1; number <= REPLICAS; number++)); do
        kill -0 "${PROCESS[replica-$number]}"
    done
}
