# shellcheck shell=bash
#
# What many replicas share: PostgreSQL, Garage as an object store of three nodes, and a load balancer before the replicas.
#
# Everything is on loopback and in the folder of the run, and is started and stopped as the other processes are.

TOOLS=$ENTREPOT_TOOLS
GARAGE_NODES=3
GARAGE_REGION=garage
GARAGE_KEY=GK0123456789abcdef01234567
# The keys of nobody.
GARAGE_SECRET=000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f
GARAGE_RPC_SECRET=1f1e1d1c1b1a191817161514131211100f0e0d0c0b0a09080706050403020100
POSTGRES_PASSWORD='a password of a test'

# PostgreSQL. It refuses to run as root.

postgres_program() {
    { local - && set +x; } 2>/dev/null
    local -a found
    mapfile -t found < <(compgen -G "/usr/lib/postgresql/*/bin/$1" | sort -V)
    echo "${found[-1]}"
}

as_postgres() {
    setpriv --reuid=postgres --regid=postgres --clear-groups "$@"
}

make_postgres() {
    local folder=$E2E_FOLDER/postgres
    POSTGRES_PORT=$(free_port)
    # Only to pass through.
    chmod 711 "$E2E_FOLDER"
    install -d -o postgres -g postgres -m 700 "$folder"
    printf '%s' "$POSTGRES_PASSWORD" >"$E2E_FOLDER/postgres.password"
    chmod 644 "$E2E_FOLDER/postgres.password"
    (
        cd /
        LC_ALL=C as_postgres "$(postgres_program initdb)" --auth-local=trust --auth-host=scram-sha-256 --encoding=UTF8 \
            --locale=C --no-sync --no-instructions --username=entrepot --pwfile="$E2E_FOLDER/postgres.password" \
            --pgdata="$folder/data"
    ) >"$E2E_FOLDER/log/initdb.log" 2>&1
}

start_postgres() {
    start postgres env --chdir=/ LC_ALL=C setpriv --reuid=postgres --regid=postgres --clear-groups \
        "$(postgres_program postgres)" -D "$E2E_FOLDER/postgres/data" -p "$POSTGRES_PORT" \
        -c listen_addresses=127.0.0.1 -c unix_socket_directories="$E2E_FOLDER/postgres" \
        -c fsync=off -c full_page_writes=off -c shared_buffers=32MB
}

postgres_is_ready() {
    within 30 sql 'SELECT 1'
}

# sql STATEMENT [DATABASE]
sql() {
    as_postgres "$(postgres_program psql)" --no-psqlrc --quiet --tuples-only --no-align --host="$E2E_FOLDER/postgres" \
        --port="$POSTGRES_PORT" --username=entrepot --dbname="${2:-postgres}" --command="$1"
}

# SIGTERM would wait for the clients to leave.
stop_postgres() {
    [ -n "${PROCESS[postgres]:-}" ] || return 0
    kill -INT "${PROCESS[postgres]}" 2>/dev/null || true
    stop postgres
}

# Its processes are in groups of their own.
postgres_processes() {
    pgrep --parent "${PROCESS[postgres]}" || true
    echo "${PROCESS[postgres]}"
}

hold_postgres() {
    # The first one last: what it starts meanwhile is held as well.
    kill -STOP "${PROCESS[postgres]}"
    # shellcheck disable=SC2046 # one word per process
    kill -STOP $(postgres_processes)
}

release_postgres() {
    # shellcheck disable=SC2046 # one word per process
    kill -CONT $(postgres_processes)
}

# Garage.

declare -a GARAGE_PORTS=()

make_garage() {
    local node folder=$E2E_FOLDER/garage rpc_port
    mkdir -p "$folder"
    for ((node = 0; node < GARAGE_NODES; node++)); do
        GARAGE_PORTS[node]=$(free_port)
        rpc_port=$(free_port)
        cat >"$folder/$node.toml" <<SETTINGS
metadata_dir = "$folder/$node/metadata"
data_dir = "$folder/$node/data"
db_engine = "lmdb"
replication_factor = 3
compression_level = "none"
disable_scrub = true
rpc_secret = "$GARAGE_RPC_SECRET"
rpc_bind_addr = "127.0.0.1:$rpc_port"
rpc_public_addr = "127.0.0.1:$rpc_port"

[s3_api]
api_bind_addr = "127.0.0.1:${GARAGE_PORTS[node]}"
s3_region = "$GARAGE_REGION"
SETTINGS
    done
}

start_garage() {
    local node
    for ((node = 0; node < GARAGE_NODES; node++)); do
        start "garage-$node" "$TOOLS/bin/garage" --config "$E2E_FOLDER/garage/$node.toml" server
    done
}

stop_garage() {
    local node
    for ((node = 0; node < GARAGE_NODES; node++)); do
        stop "garage-$node"
    done
}

# signal_garage SIGNAL
signal_garage() {
    local node
    for ((node = 0; node < GARAGE_NODES; node++)); do
        kill "-$1" "${PROCESS[garage-$node]}"
    done
}

# garage NODE ARGUMENT…
garage() {
    local node=$1
    shift
    "$TOOLS/bin/garage" --config "$E2E_FOLDER/garage/$node.toml" "$@"
}

# One cluster, one key, one bucket.
unite_garage() {
    local node identity
    : >"$E2E_FOLDER/garage/identities"
    for ((node = 0; node < GARAGE_NODES; node++)); do
        within 30 curl -sS --max-time 2 -o /dev/null "http://127.0.0.1:${GARAGE_PORTS[node]}/"
        identity=$(garage "$node" node id --quiet)
        echo "$identity" >>"$E2E_FOLDER/garage/identities"
        [ "$node" = 0 ] || garage 0 node connect "$identity"
        garage 0 layout assign --zone "zone-$node" --capacity 10G "${identity%@*}"
    done
    garage 0 layout apply --version 1
    garage_is_healthy
    garage 0 key import --yes -n e2e "$GARAGE_KEY" "$GARAGE_SECRET"
    garage 0 bucket create entrepot
    garage 0 bucket allow --read --write --owner --key "$GARAGE_KEY" entrepot
}

# Each node has to see it so: a request may go to any.
garage_is_healthy() {
    local node
    for ((node = 0; node < GARAGE_NODES; node++)); do
        within 60 garage_node_is_healthy "$node"
    done
}

# By itself a node looks every half a minute for one that has been away: here it is told to look now.
garage_node_is_healthy() {
    local identity
    garage "$1" json-api GetClusterHealth 2>/dev/null | jq -e '.status == "healthy" and .partitionsAllOk == 256' || {
        while read -r identity; do
            garage "$1" node connect "$identity" >/dev/null 2>&1 || true
        done <"$E2E_FOLDER/garage/identities"
        return 1
    }
}

# How many uploads in parts are open in the bucket.
garage_open_uploads() {
    garage 0 json-api GetBucketInfo '{"globalAlias": "entrepot"}' 2>/dev/null | jq -er '.unfinishedMultipartUploads'
}

# Load balancers: any replica takes any request, nothing is sticky.

# haproxy_settings LISTEN REPLICA…
haproxy_settings() {
    local number=0 replica
    cat <<SETTINGS
global
    maxconn 2000
    stats socket $E2E_FOLDER/balancer/socket mode 600

defaults
    mode http
    timeout connect 2s
    timeout client 120s
    timeout server 120s
    # Another replica gets a request that could not even be sent; one that was sent is never repeated.
    retries 3
    option redispatch 1

listen registry
    bind $1
    balance roundrobin
    option httpchk GET $(readiness_path)
    default-server check inter 500ms fall 2 rise 1
SETTINGS
    shift
    for replica in "$@"; do
        number=$((number + 1))
        echo "    server replica-$number $replica"
    done
}

# nginx_settings LISTEN FOLDER REPLICA…
nginx_settings() {
    local listen=$1 folder=$2
    shift 2
    cat <<SETTINGS
daemon off;
pid $folder/pid;
error_log stderr warn;
worker_processes 1;
events {}
http {
    access_log off;
    client_body_temp_path $folder/body;
    proxy_temp_path $folder/proxy;
    fastcgi_temp_path $folder/fastcgi;
    uwsgi_temp_path $folder/uwsgi;
    scgi_temp_path $folder/scgi;
    upstream registry {
$(printf '        server %s max_fails=1 fail_timeout=1s;\n' "$@")
        keepalive 16;
    }
    server {
        listen $listen;
        client_max_body_size 0;
        location / {
            proxy_pass http://registry;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host \$http_host;
            proxy_request_buffering off;
            proxy_buffering off;
            proxy_connect_timeout 2s;
            proxy_next_upstream error;
        }
    }
}
SETTINGS
}

# start_balancer haproxy|nginx LISTEN REPLICA…: as the process `balancer`.
start_balancer() {
    local kind=$1 listen=$2 folder=$E2E_FOLDER/balancer
    shift 2
    mkdir -p "$folder"
    case $kind in
        haproxy)
            haproxy_settings "$listen" "$@" >"$folder/haproxy.cfg"
            start balancer haproxy -db -f "$folder/haproxy.cfg"
            ;;
        nginx)
            nginx_settings "$listen" "$folder" "$@" >"$folder/nginx.conf"
            start balancer nginx -p "$folder" -c "$folder/nginx.conf"
            ;;
    esac
}
