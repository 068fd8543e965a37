# shellcheck shell=bash
#
# The server is stopped or killed, and started again: between requests, in the middle of a push or a fetch, and with its
# upstream away.

restart_checks() {
    mkdir -p "$E2E_FOLDER/restart"
    # shellcheck source=/dev/null
    source "$here/clients/skopeo.sh"
    # shellcheck source=/dev/null
    source "$here/clients/docker.sh"

    check "an image is pushed, with a tag moved and another deleted" restart_prepares
    restart_server
    check "the server ended within seconds of SIGTERM, with exit code 0" server_ended_well
    check "the server is ready again" server_is_ready
    check "everything acknowledged before the restart is there" restart_finds_all
    [ -n "$CHECK_PASSED" ] || return 0

    restart_mid_push
    restart_killed_mid_push
    restart_killed_mid_fetch
    restart_with_docker
    restart_with_upstream_away
}

restart_server() {
    stop_server
    start_server
}

restart_prepares() {
    upstream_image source/restart 4 oci
    skopeo_copy --all "docker://$UPSTREAM/source/restart:1" "docker://$SERVER/restart/app:1"
    skopeo_copy --all "docker://$UPSTREAM/source/restart:1" "docker://$SERVER/restart/deleted:1"
    delete_manifest restart/deleted 1
}

restart_finds_all() {
    same_image "$UPSTREAM" source/restart 1 "$SERVER" restart/app 1
    has_status 404 -H "Accept: $MANIFEST_TYPES" "$(url "$SERVER" restart/deleted manifests/1)"
    rm -rf "$E2E_FOLDER/restart/copy"
    skopeo_copy --all "docker://$SERVER/restart/app:1" "dir:$E2E_FOLDER/restart/copy"
}

# An upload that is held to a rate is certainly under way when the signal comes.
restart_mid_push() {
    check "an image of two platforms with a layer of 64 MiB each is made" upstream_image source/interrupted 64 oci
    restart_slow_upload
    restart_server
    wait "$slow_upload" || true
    check "the server ended within seconds of SIGTERM in the middle of an upload, with exit code 0" server_ended_well
    check "the server is ready again" server_is_ready
    check "nothing of the interrupted upload is visible" restart_hides_upload
    check "the interrupted upload succeeds when it is repeated" restart_repeats
    restart_cuts_skopeo
}

restart_slow_upload() {
    local location
    head -c 64M /dev/urandom >"$E2E_FOLDER/restart/blob"
    location=$(curl -sS --dump-header - -o "$E2E_FOLDER/answer" -X POST "$(url "$SERVER" restart/app blobs/uploads/)" |
        header location)
    case $location in
        http*) ;;
        *) location=http://$SERVER$location ;;
    esac
    curl -sS --limit-rate 1M -o "$E2E_FOLDER/restart/answer" -X PATCH -H 'Content-Type: application/octet-stream' \
        -T "$E2E_FOLDER/restart/blob" "$location" >"$E2E_FOLDER/restart/upload.said" 2>&1 &
    slow_upload=$!
    within 20 holds_more_than 1024 || true
}

# holds_more_than KIB: the server's folders have taken in so much since the file began.
holds_more_than() {
    local held
    held=$(find "$E2E_FOLDER/server/storage" -type f -newer "$E2E_FOLDER/restart/blob" -printf '%k\n' |
        awk '{ sum += $1 } END { print sum + 0 }')
    [ "$held" -ge "$1" ]
}

restart_hides_upload() {
    has_status 404 "$(url "$SERVER" restart/app "blobs/$(digest_of "$E2E_FOLDER/restart/blob")")"
    restart_finds_all
}

restart_repeats() {
    local location digest
    digest=$(digest_of "$E2E_FOLDER/restart/blob")
    location=$(get --dump-header - -o "$E2E_FOLDER/answer" -X POST "$(url "$SERVER" restart/app blobs/uploads/)" |
        header location)
    case $location in
        http*) ;;
        *) location=http://$SERVER$location ;;
    esac
    case $location in
        *\?*) location+="&digest=$digest" ;;
        *) location+="?digest=$digest" ;;
    esac
    has_status 201 -X PUT -H 'Content-Type: application/octet-stream' -T "$E2E_FOLDER/restart/blob" "$location"
    get -o "$E2E_FOLDER/restart/back" "$(url "$SERVER" restart/app "blobs/$digest")"
    cmp "$E2E_FOLDER/restart/blob" "$E2E_FOLDER/restart/back"
}

# The same with a client that is in the midst of many things: the signal comes when some MiB have arrived.
restart_cuts_skopeo() {
    restart_skopeo_pushes cut amd64
    restart_server
    restart_note_end
    check "the server ended within seconds of SIGTERM in the middle of skopeo's push, with exit code 0" server_ended_well
    check "the server is ready again" server_is_ready
    restart_was_cut "skopeo's push" || return 0
    check "skopeo's push was cut, and is whole when it is repeated" restart_repeats_push cut amd64
}

restart_killed_mid_push() {
    restart_skopeo_pushes killed arm64
    kill_at_once server
    start_server
    restart_note_end
    check "the server is ready again after it was killed in the middle of a push" server_is_ready
    check "everything acknowledged before the kill is there" restart_finds_all
    restart_was_cut "skopeo's push" || return 0
    check "the push that the kill cut is whole when it is repeated" restart_repeats_push killed arm64
}

# restart_skopeo_pushes NAME PLATFORM: in the background, until some MiB of it are here. Each interruption takes another
# platform: the server would not have to be sent again what it kept of the one before.
restart_skopeo_pushes() {
    restart_in_background 4096 restart_pushes "$@"
}

restart_pushes() {
    skopeo_copy --override-arch "$2" "docker://$UPSTREAM/source/interrupted:1" "docker://$SERVER/restart/$1:1"
}

# restart_in_background KIB COMMAND…: comes back when the server has taken in so much.
restart_in_background() {
    local kib=$1
    shift
    touch "$E2E_FOLDER/restart/blob"
    "$@" >"$E2E_FOLDER/restart/client.said" 2>&1 &
    CUT_CLIENT=$!
    within 20 holds_more_than "$kib" || true
}

restart_note_end() {
    CUT_STATUS=0
    wait "$CUT_CLIENT" || CUT_STATUS=$?
}

# restart_was_cut WHAT: a client that was faster than the signal proves nothing.
restart_was_cut() {
    [ "$CUT_STATUS" -ne 0 ] || {
        skipped "$1 was over before the signal came"
        return 1
    }
}

restart_repeats_push() {
    local wanted
    cat "$E2E_FOLDER/restart/client.said"
    restart_pushes "$@"
    wanted=$(manifest "$UPSTREAM" source/interrupted 1 |
        jq -er --arg platform "$2" '.manifests[] | select(.platform.architecture == $platform) | .digest')
    equal "digest" "$wanted" "$(manifest_digest "$SERVER" "restart/$1" 1)"
    rm -rf "$E2E_FOLDER/restart/copy"
    skopeo_copy --override-arch "$2" "docker://$SERVER/restart/$1:1" "dir:$E2E_FOLDER/restart/copy"
    skopeo_folder_is_whole "$E2E_FOLDER/restart/copy"
}

# What was half fetched is fetched again or gone on with, and never taken for whole.
restart_killed_mid_fetch() {
    [ -z "$E2E_WITHOUT_PROXY" ] || {
        skipped "a kill in the middle of a fetch"
        return 0
    }
    check "an image with a layer of 96 MiB is made for the upstream" upstream_image source/fetched 96 oci
    [ -n "$CHECK_PASSED" ] || return 0
    rm -rf "$E2E_FOLDER/restart/copy"
    restart_in_background 4096 skopeo_copy --all "docker://$PROXIED/source/fetched:1" "dir:$E2E_FOLDER/restart/copy"
    kill_at_once server
    start_server
    restart_note_end
    check "the server is ready again after it was killed in the middle of a fetch" server_is_ready
    restart_was_cut "skopeo's pull" || return 0
    check "the pull that the kill cut is whole when it is repeated" restart_repeats_pull
}

restart_repeats_pull() {
    cat "$E2E_FOLDER/restart/client.said"
    rm -rf "$E2E_FOLDER/restart/"{copy,wanted}
    skopeo_copy --all "docker://$PROXIED/source/fetched:1" "dir:$E2E_FOLDER/restart/copy"
    skopeo_copy --all "docker://$UPSTREAM/source/fetched:1" "dir:$E2E_FOLDER/restart/wanted"
    diff -r "$E2E_FOLDER/restart/wanted" "$E2E_FOLDER/restart/copy"
    rm -rf "$E2E_FOLDER/restart/"{copy,wanted}
}

# docker tries again by itself: a restart in the middle of its push costs time, and nothing else.
restart_with_docker() {
    CHECK_PASSED=1
    start_docker
    [ -n "$CHECK_PASSED" ] || return 0
    check "docker builds an image with a layer of 128 MiB" restart_docker_builds
    restart_in_background 4096 docker_cli push "$SERVER/restart/docker:1"
    restart_server
    check "the server is ready again" server_is_ready
    restart_note_end
    grep -q Retrying "$E2E_FOLDER/restart/client.said" || {
        skipped "docker's push was over before the signal came"
        return 0
    }
    check "docker's push rides over a restart of the server" restart_docker_arrived
}

restart_docker_builds() {
    build_folder "$E2E_FOLDER/restart/build" 128
    docker_cli build --quiet --tag "$SERVER/restart/docker:1" "$E2E_FOLDER/restart/build"
}

restart_docker_arrived() {
    local before after
    tr '\r' '\n' <"$E2E_FOLDER/restart/client.said" | tail -n 5
    equal "docker's exit status" 0 "$CUT_STATUS"
    before=$(docker_cli image inspect --format '{{.Id}}' "$SERVER/restart/docker:1")
    docker_forget
    docker_cli pull --quiet "$SERVER/restart/docker:1"
    after=$(docker_cli image inspect --format '{{.Id}}' "$SERVER/restart/docker:1")
    equal "image id" "$before" "$after"
    docker_forget
}

# What is cached outlives the process, and needs nobody to be served.
restart_with_upstream_away() {
    [ -z "$E2E_WITHOUT_PROXY" ] || {
        skipped "pulls of another registry's images"
        return 0
    }
    local digest
    check "a proxied image is pulled" restart_caches
    [ -n "$CHECK_PASSED" ] || return 0
    digest=$(manifest_digest "$UPSTREAM" source/restart 1)
    stop_upstream
    restart_server
    check "the server gets ready while its upstream is away" server_is_ready
    check "a cached image is pulled by tag after a restart, the upstream away" \
        skopeo_pull_anew "$PROXIED/source/restart:1" "$digest"
    check "a cached image is pulled by digest after a restart, the upstream away" \
        skopeo_pull_anew "$PROXIED/source/restart@$digest" "$digest"
    start_upstream
}

restart_caches() {
    skopeo_pull_anew "$PROXIED/source/restart:1" "$(manifest_digest "$UPSTREAM" source/restart 1)"
}
