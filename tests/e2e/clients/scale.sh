# shellcheck shell=bash
#
# Three replicas on PostgreSQL and an object store, behind a load balancer that is not sticky: every client's push and pull,
# with and without redirects; replicas that are killed; stores that are away; many cold clients.

MURDERS=20
PUSHERS=3

scale_checks() {
    local client part
    for client in docker podman buildah skopeo containerd; do
        # shellcheck source=/dev/null
        source "$here/clients/$client.sh"
    done
    mkdir -p "$E2E_FOLDER"/{scale,podman,buildah,skopeo}
    scale_stores
    [ -n "$CHECK_PASSED" ] || return 0
    choose_replicas
    # From here on the server is whatever stands behind the balancer.
    local SERVER=$BALANCER PROXIED=$BALANCER/proxy/upstream.test SERVER_LOG=$E2E_FOLDER/log/replicas.log

    # E2E_SCALE names the parts that are to run, all of them when it is unset.
    for part in ${E2E_SCALE:-clients murders outages cold}; do
        "scale_$part"
    done
    scale_stop_stores
}

scale_stores() {
    start_stores
    check "PostgreSQL is ready" postgres_is_ready
    check "three nodes of Garage are one object store" unite_garage
}

start_stores() {
    make_postgres
    start_postgres
    make_garage
    start_garage
}

scale_stop_stores() {
    stop_garage
    stop_postgres
}

# scale_up BALANCER REDIRECT [UPLOAD EXPIRY]
scale_up() {
    write_replicas "$2" "${3:-}"
    start_replicas
    start_balancer "$1" "$BALANCER" "${REPLICA[@]}"
    check "three replicas are ready" replicas_are_ready
    check "$1 is ready" balancer_is_ready
}

scale_down() {
    stop balancer
    stop_replicas
}

# Real clients.

scale_clients() {
    scale_clients_through haproxy never
    scale_clients_through haproxy always
    scale_clients_through nginx never
}

scale_clients_through() {
    local with="through $1" client
    [ "$2" = never ] || with+=", with redirects to the object store"
    # Each time with images that are new.
    builder rmi --all --force >/dev/null 2>&1 || true
    scale_up "$1" "$2"
    [ -n "$CHECK_PASSED" ] || return 0
    CLIENT='scale docker'
    start_docker
    check "builds an image" docker_builds
    check "pushes it $with" docker_pushes
    check "pulls it $with" docker_pulls_again
    for client in podman buildah; do
        CLIENT="scale $client"
        check "builds an image" "${client}_builds"
        check "pushes it $with" "${client}_pushes"
        check "pulls it $with" "${client}_pulls_again"
    done
    CLIENT='scale podman'
    check "pushes an image with a layer of 64 MiB, and pulls it whole, $with" podman_pushes_large
    CLIENT='scale skopeo'
    check "an image of two platforms is made" skopeo_makes_image
    check "copies all platforms in $with" skopeo_pushes_all
    check "copies all platforms out $with, every byte the same" skopeo_pulls_all
    check "mounts layers from another repository $with" skopeo_mounts
    CLIENT='scale containerd'
    start_containerd
    check "fetches an image of two platforms from another registry" containerd_fetches
    check "pushes all its platforms $with" containerd_pushes
    check "pulls all platforms $with" containerd_pulls_again
    CLIENT=scale
    check "every replica took its share" scale_is_shared "$1"
    check "blobs come $(scale_source "$2")" scale_sends_from "$2"
    scale_down
}

scale_source() {
    if [ "$1" = always ]; then echo 'from the object store'; else echo 'from the replicas'; fi
}

# scale_is_shared BALANCER: only haproxy counts.
scale_is_shared() {
    local shares
    [ "$1" = haproxy ] || return 0
    shares=$(echo 'show stat' | socat - "UNIX-CONNECT:$E2E_FOLDER/balancer/socket" |
        awk -F, '$2 ~ /^replica-/ { print $8 }')
    equal "replicas" "$REPLICAS" "$(wc -l <<<"$shares")"
    equal "replicas that got fewer than 10 requests (of $(paste -sd' ' <<<"$shares"))" 0 \
        "$(awk '$1 < 10' <<<"$shares" | wc -l)"
}

# scale_sends_from REDIRECT: a blob of the image that skopeo pushed, and what a GET of it is answered with.
scale_sends_from() {
    local child blob expected=200 location
    child=$(index_children "$SERVER" skopeo/app 1 | head -n 1)
    blob=$(manifest "$SERVER" skopeo/app "$child" | jq -er '.layers | max_by(.size) | .digest')
    [ "$1" != always ] || expected=307
    has_status "$expected" --dump-header "$E2E_FOLDER/scale/headers" "$(url "$SERVER" skopeo/app "blobs/$blob")"
    [ "$1" != always ] || {
        location=$(header location <"$E2E_FOLDER/scale/headers")
        contains "$location" "^http://127\.0\.0\.1:($(IFS='|' && echo "${GARAGE_PORTS[*]}"))/entrepot/.*X-Amz-Signature="
        equal "digest of what is there" "$blob" "sha256:$(get "$location" | sha256sum | cut -d' ' -f1)"
    }
}

# Replicas that are killed.

scale_murders() {
    local pusher begun pushed murders=0 number
    local -a pushers=()
    rm -rf "$E2E_FOLDER/scale/murder"
    mkdir -p "$E2E_FOLDER/scale/murder"
    scale_up haproxy never 1m
    [ -n "$CHECK_PASSED" ] || return 0
    for ((pusher = 1; pusher <= PUSHERS; pusher++)); do
        scale_pusher "$pusher" >"$E2E_FOLDER/log/pusher-$pusher.log" 2>&1 </dev/null &
        pushers+=($!)
    done
    start_docker
    scale_docker_pusher >"$E2E_FOLDER/log/pusher-docker.log" 2>&1 </dev/null &
    pushers+=($!)
    begun=$SECONDS
    while [ "$murders" -lt "$MURDERS" ]; do
        number=$((murders % REPLICAS + 1))
        kill_at_once "replica-$number"
        start_replica "$number"
        murders=$((murders + 1))
        # The rhythm of the test: a kill each second.
        until [ "$((SECONDS - begun))" -ge "$murders" ]; do sleep 0.05; done
    done
    : >"$E2E_FOLDER/scale/murder/end"
    for pusher in "${pushers[@]}"; do
        wait "$pusher" || true
    done
    pushed=$SECONDS
    check "three replicas are ready after $murders kills" replicas_are_ready
    check "every push ended well by the client's own retry" scale_pushes_ended
    check "everything acknowledged is there, byte for byte" scale_keeps_pushes
    scale_sweeps
    scale_down
}

# Sessions end a minute after they were last used, and what nobody uses any more is swept when a replica starts.
scale_sweeps() {
    [ -z "$E2E_STAND_IN" ] || {
        skipped "a sweep: the stand-in keeps what was interrupted"
        return 0
    }
    until [ "$((SECONDS - pushed))" -gt 60 ]; do sleep 1; done
    stop_replicas
    start_replicas
    check "three replicas are ready after the uploads have expired" replicas_are_ready
    check "nothing is left of what was interrupted" scale_has_swept
}

scale_has_swept() {
    within 60 scale_is_swept || {
        find "$E2E_FOLDER"/replica-* -type f
        garage 0 bucket info entrepot
        return 1
    }
}

# scale_image FOLDER: two layers as skopeo keeps them, the larger one in more parts than one.
scale_image() {
    local layer mib layers='' folder=$1
    rm -rf "$folder"
    mkdir -p "$folder"
    echo 'Directory Transport Version: 1.1' >"$folder/version"
    for mib in 1 $((RANDOM % 24 + 1)); do
        head -c "${mib}M" /dev/urandom | gzip -1 >"$folder/layer"
        layer=$(scale_blob "$folder" layer application/vnd.oci.image.layer.v1.tar+gzip)
        layers+="${layers:+,}$layer"
    done
    printf '{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]},"created":"%s"}' \
        "$(date --iso-8601=ns)" >"$folder/config"
    printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":%s,"layers":[%s]}' \
        "$(scale_blob "$folder" config application/vnd.oci.image.config.v1+json)" "$layers" >"$folder/manifest.json"
}

# scale_blob FOLDER FILE TYPE: gives the file its digest as its name, and prints its descriptor.
scale_blob() {
    local digest size
    digest=$(digest_of "$1/$2")
    size=$(stat -c %s "$1/$2")
    mv "$1/$2" "$1/${digest#sha256:}"
    printf '{"mediaType":"%s","digest":"%s","size":%s}' "$3" "$digest" "$size"
}

# Pushes one image after the other until it is told to end, and writes down what was acknowledged and what was given up. Of an
# answer that says "bad gateway" skopeo makes an error: whoever runs it runs it again, as a pipeline does.
scale_pusher() {
    local count=0 attempt folder=$E2E_FOLDER/scale/murder/pusher-$1 name
    while [ ! -e "$E2E_FOLDER/scale/murder/end" ]; do
        count=$((count + 1))
        name=murder/pusher-$1:$count
        scale_image "$folder"
        for attempt in {1..10}; do
            echo "$name, attempt $attempt"
            if skopeo_copy --retry-times 3 --preserve-digests "dir:$folder" "docker://$SERVER/$name"; then
                echo "$name $(digest_of "$folder/manifest.json")" >>"$E2E_FOLDER/scale/murder/acknowledged"
                break
            fi
            [ "$attempt" -lt 10 ] || echo "$name" >>"$E2E_FOLDER/scale/murder/given-up"
        done
    done
    echo "$count" >"$E2E_FOLDER/scale/murder/pushes-$1"
}

# The engine tries each layer five times by itself, and has to get through with that.
scale_docker_pusher() {
    local count=0 name folder=$E2E_FOLDER/scale/murder/docker
    while [ ! -e "$E2E_FOLDER/scale/murder/end" ]; do
        count=$((count + 1))
        name=murder/docker:$count
        build_folder "$folder" 6
        docker_cli build --quiet --tag "$SERVER/$name" "$folder"
        if docker_cli push "$SERVER/$name"; then
            echo "$name $(docker_cli image inspect --format '{{index .RepoDigests 0}}' "$SERVER/$name" | sed 's/.*@//')" \
                >>"$E2E_FOLDER/scale/murder/acknowledged"
        else
            echo "$name" >>"$E2E_FOLDER/scale/murder/given-up"
        fi
    done
    echo "$count" >"$E2E_FOLDER/scale/murder/pushes-docker"
}

scale_pushes_ended() {
    local pusher
    tail -n 20 "$E2E_FOLDER"/log/pusher-*.log
    equal "pushes that were given up" '' "$(cat "$E2E_FOLDER/scale/murder/given-up" 2>/dev/null || true)"
    for pusher in "$E2E_FOLDER"/scale/murder/pushes-*; do
        [ "$(cat "$pusher")" -ge 2 ]
    done
    equal "pushers" $((PUSHERS + 1)) "$(compgen -G "$E2E_FOLDER/scale/murder/pushes-*" | wc -l)"
}

# The digest of the manifest vouches for those of the blobs, which skopeo compares as it reads them.
scale_keeps_pushes() {
    local name digest folder=$E2E_FOLDER/scale/murder/copy
    while read -r name digest; do
        rm -rf "$folder"
        skopeo_copy --preserve-digests "docker://$SERVER/$name" "dir:$folder"
        equal "digest of $name" "$digest" "$(digest_of "$folder/manifest.json")"
        skopeo_folder_is_whole "$folder"
    done <"$E2E_FOLDER/scale/murder/acknowledged"
}

# No upload is open in the object store, and no staged byte lies in a replica's own folder. (A function that is tried again has
# to say itself which of its commands have to succeed.)
scale_is_swept() {
    local open staged
    open=$(garage_open_uploads) &&
        staged=$(find "$E2E_FOLDER"/replica-* -type f -path '*/storage/_tmp/*' ! -name entrepot.lock) &&
        [ "$open" = 0 ] && [ -z "$staged" ]
}

# Stores that are away.

scale_outages() {
    [ -z "$E2E_STAND_IN" ] || {
        skipped "stores that are away: the stand-in promises nothing for that"
        return 0
    }
    scale_up haproxy never
    [ -n "$CHECK_PASSED" ] || return 0
    check "an image is pushed before anything is away" scale_pushes_kept
    stop_postgres
    check "with PostgreSQL stopped, requests are answered by 503 with Retry-After, soon" scale_refuses_all
    start_postgres
    check "with PostgreSQL back, every replica goes on" scale_goes_on
    hold_postgres
    check "with PostgreSQL hanging, requests are answered by 503 with Retry-After, soon" scale_refuses_all
    release_postgres
    check "with PostgreSQL going on, every replica goes on" scale_goes_on
    stop_garage
    check "with the object store stopped, blobs are answered by 503 with Retry-After, soon" scale_refuses_blobs
    start_garage
    check "the object store is whole again" garage_is_healthy
    check "with the object store back, every replica goes on" scale_goes_on
    signal_garage STOP
    check "with the object store hanging, blobs are answered by 503 with Retry-After, soon" scale_refuses_blobs
    signal_garage CONT
    check "with the object store going on, every replica goes on" scale_goes_on
    check "no replica ended meanwhile" replicas_never_ended
    check "no more connections to PostgreSQL than before" scale_has_few_connections
    scale_down
}

scale_pushes_kept() {
    scale_image "$E2E_FOLDER/scale/kept"
    skopeo_copy --preserve-digests "dir:$E2E_FOLDER/scale/kept" "docker://$SERVER/outage/kept:1"
    jq -er '.layers | max_by(.size) | .digest' "$E2E_FOLDER/scale/kept/manifest.json" >"$E2E_FOLDER/scale/kept.blob"
    sql "SELECT count(*) FROM pg_stat_activity WHERE datname LIKE 'entrepot%'" >"$E2E_FOLDER/scale/connections"
}

# scale_refuses CURL ARGUMENT…: half a minute is bounded, and no time for a load balancer to give up.
scale_refuses() {
    local headers=$E2E_FOLDER/scale/headers
    has_status 503 --max-time 30 --dump-header "$headers" "$@"
    contains "$(cat "$headers")" '^retry-after: [0-9]+'
}

# Asked past the balancer, which takes replicas out that are not ready.
scale_refuses_all() {
    local number
    for number in "${!REPLICA[@]}"; do
        scale_refuses -H "Accept: $MANIFEST_TYPES" "$(url "${REPLICA[$number]}" outage/kept manifests/1)"
        scale_refuses -X POST "$(url "${REPLICA[$number]}" outage/kept blobs/uploads/)"
    done
}

scale_refuses_blobs() {
    local number blob
    blob=$(cat "$E2E_FOLDER/scale/kept.blob")
    for number in "${!REPLICA[@]}"; do
        scale_refuses "$(url "${REPLICA[$number]}" outage/kept "blobs/$blob")"
    done
}

# scale_goes_on: pulls from each replica, and pushes to it, within a minute.
scale_goes_on() {
    local number
    for number in "${!REPLICA[@]}"; do
        within 60 scale_serves "${REPLICA[$number]}"
        within 60 skopeo_copy --preserve-digests "dir:$E2E_FOLDER/scale/kept" "docker://${REPLICA[$number]}/outage/again-$number:1"
    done
}

scale_serves() {
    local folder=$E2E_FOLDER/scale/served
    rm -rf "$folder"
    skopeo_copy --preserve-digests "docker://$1/outage/kept:1" "dir:$folder" &&
        diff -r "$E2E_FOLDER/scale/kept" "$folder"
}

# The pools go back to what they need.
scale_has_few_connections() {
    local before
    before=$(cat "$E2E_FOLDER/scale/connections")
    within 60 scale_connections_are "$((before + REPLICAS * 2))"
}

scale_connections_are() {
    [ "$(sql "SELECT count(*) FROM pg_stat_activity WHERE datname LIKE 'entrepot%'")" -le "$1" ]
}

# Many cold clients.

scale_cold() {
    [ -z "$E2E_WITHOUT_PROXY" ] || {
        skipped "pulls of another registry's images"
        return 0
    }
    scale_up haproxy never
    [ -n "$CHECK_PASSED" ] || return 0
    check "100 readers of one cold blob, over three replicas, are served by one fetch" scale_reads_cold
    scale_cold_murder
    scale_down
}

# scale_cold_begins REPOSITORY MIB: an image at the upstream of which nothing is here but the manifest, and 100 readers of its
# layer, over all replicas, while the upstream stands still. Leaves $mark, $blob and the array $readers.
scale_cold_begins() {
    local child reader number
    upstream_image "$1" "$2" oci
    child=$(index_children "$UPSTREAM" "$1" 1 | head -n 1)
    manifest "$PROXIED" "$1" "$child" >"$E2E_FOLDER/scale/manifest"
    blob=$(jq -er '.layers | max_by(.size) | .digest' "$E2E_FOLDER/scale/manifest")
    mark=$(upstream_mark)
    hold_upstream
    readers=()
    for reader in {1..100}; do
        number=$((reader % REPLICAS + 1))
        get --max-time 120 "$(url "${REPLICA[$number]}/proxy/upstream.test" "$1" "blobs/$blob")" |
            sha256sum | cut -d' ' -f1 >"$E2E_FOLDER/scale/reader-$reader" &
        readers+=($!)
    done
    for number in "${!REPLICA[@]}"; do
        within 30 connections_from_readers "${REPLICA[$number]}" || true
    done
}

connections_from_readers() {
    [ "$(ss -Htn state established "dport = :${1#*:}" | wc -l)" -ge $((100 / REPLICAS)) ]
}

scale_reads_cold() {
    local blob mark reader status=0
    local -a readers
    scale_cold_begins upstream/cold 16
    release_upstream
    for reader in "${readers[@]}"; do
        wait "$reader" || status=$?
    done
    equal "status of the readers" 0 "$status"
    equal "digests" "${blob#sha256:}" "$(sort -u "$E2E_FOLDER"/scale/reader-*)"
    each_blob_once "$mark" upstream/cold "$blob"
}

# One replica is killed in the midst, perhaps the one that fetches: those who read from the others must not notice.
scale_cold_murder() {
    local blob mark reader number status=0
    local -a readers
    CHECK_PASSED=1
    scale_cold_begins upstream/cold-murder 64 >"$E2E_FOLDER/log/cold-murder.log" 2>&1
    kill_at_once replica-1
    release_upstream
    for reader in "${!readers[@]}"; do
        number=$(((reader + 1) % REPLICAS + 1))
        wait "${readers[reader]}" || [ "$number" = 1 ] || status=$?
    done
    start_replica 1
    echo "$status" >"$E2E_FOLDER/scale/cold.status"
    check "a replica killed while 100 readers wait disturbs only its own" scale_cold_went_well "$mark" "$blob"
}

scale_cold_went_well() {
    local reader asked
    equal "status of the readers of the other replicas" 0 "$(cat "$E2E_FOLDER/scale/cold.status")"
    for reader in {1..100}; do
        [ $((reader % REPLICAS + 1)) = 1 ] ||
            equal "digest read by $reader" "${2#sha256:}" "$(cat "$E2E_FOLDER/scale/reader-$reader")"
    done
    asked=$(upstream_requests "$1" "\"GET /v2/upstream/cold-murder/blobs/$2")
    contains "$asked" '^[12]$'
}
