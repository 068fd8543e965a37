# shellcheck shell=bash
#
# Several clients at once, where the server has to fetch from its upstream once for all of them.
#
# The upstream is held still while the clients connect, so that they do wait for the same bytes and not one after the
# other.

together_checks() {
    [ -z "$E2E_WITHOUT_PROXY" ] || {
        skipped "pulls of another registry's images"
        return 0
    }
    mkdir -p "$E2E_FOLDER/together"
    # shellcheck source=/dev/null
    source "$here/clients/skopeo.sh"
    # shellcheck source=/dev/null
    source "$here/clients/containerd.sh"
    CHECK_PASSED=1
    start_containerd
    [ -n "$CHECK_PASSED" ] || return 0
    check "an image with layers of 48 MiB is made for the upstream" upstream_image upstream/together 48 oci
    check "skopeo and containerd pull the same cold image at once, each blob fetched once" together_pull
    check "eight readers of one cold blob are served by one fetch" together_read
    together_front
    check "another cache is ready that has the server as its upstream" together_front_is_ready
    check "skopeo pulls through that cache, through the server, from the upstream" together_pull_through_both
    stop front
}

# A docker-registry as a cache of its own in front of the server.
together_front() {
    FRONT=127.0.0.1:$(free_port)
    {
        distribution_settings "$FRONT" "$E2E_FOLDER/front"
        printf 'proxy:\n  remoteurl: http://%s\n' "$SERVER"
    } >"$E2E_FOLDER/front.yaml"
    start front docker-registry serve "$E2E_FOLDER/front.yaml"
}

together_front_is_ready() {
    within 20 curl -fsS --max-time 2 "http://$FRONT/v2/"
}

together_pull_through_both() {
    local folder=$E2E_FOLDER/together/both
    upstream_image upstream/both 2 oci
    rm -rf "$folder" "$folder-wanted"
    skopeo_copy --all "docker://$FRONT/proxy/upstream.test/upstream/both:1" "dir:$folder"
    skopeo_copy --all "docker://$UPSTREAM/upstream/both:1" "dir:$folder-wanted"
    diff -r "$folder-wanted" "$folder"
}

# connections_to SERVER NUMBER: at least so many are open.
connections_to() {
    [ "$(ss -Htn state established "dport = :${1#*:}" | wc -l)" -ge "$2" ]
}

together_pull() {
    local mark digest blobs pid folder=$E2E_FOLDER/together status=0
    local -a clients=()
    digest=$(manifest_digest "$UPSTREAM" upstream/together 1)
    blobs=$(together_blobs)
    mark=$(upstream_mark)
    hold_upstream
    together_skopeo "$digest" >"$folder/skopeo.said" 2>&1 &
    clients+=($!)
    containerd_pull_anew "$PROXIED/upstream/together:1" "$digest" >"$folder/containerd.said" 2>&1 &
    clients+=($!)
    within 20 connections_to "$SERVER" 2 || status=$?
    release_upstream
    for pid in "${clients[@]}"; do
        wait "$pid" || status=$?
    done
    tail -n 5 "$folder/skopeo.said" "$folder/containerd.said"
    [ "$status" -eq 0 ]
    # shellcheck disable=SC2086 # one word per digest
    each_blob_once "$mark" upstream/together $blobs
}

together_skopeo() {
    rm -rf "$E2E_FOLDER/together/copy"
    skopeo_copy --all "docker://$PROXIED/upstream/together:1" "dir:$E2E_FOLDER/together/copy"
    equal "digest of the index" "$1" "$(digest_of "$E2E_FOLDER/together/copy/manifest.json")"
}

# Every blob of both platforms.
together_blobs() {
    local child children
    children=$(index_children "$UPSTREAM" upstream/together 1)
    for child in $children; do
        manifest "$UPSTREAM" upstream/together "$child" | jq -er '.config.digest, .layers[].digest'
    done | sort -u
}

# Of a repository that was never asked for, so that nothing of it is here.
together_read() {
    local mark child blob reader pid folder=$E2E_FOLDER/together status=0
    local -a readers=()
    upstream_image upstream/read 32 oci
    child=$(index_children "$UPSTREAM" upstream/read 1 | head -n 1)
    manifest "$PROXIED" upstream/read "$child" >"$folder/manifest"
    blob=$(jq -er '.layers | max_by(.size) | .digest' "$folder/manifest")
    mark=$(upstream_mark)
    hold_upstream
    for reader in {1..8}; do
        get -o "$folder/reader-$reader" "$(url "$PROXIED" upstream/read "blobs/$blob")" &
        readers+=($!)
    done
    within 20 connections_to "$SERVER" 8 || status=$?
    release_upstream
    for pid in "${readers[@]}"; do
        wait "$pid" || status=$?
    done
    [ "$status" -eq 0 ]
    for reader in {1..8}; do
        equal "digest read by $reader" "$blob" "$(digest_of "$folder/reader-$reader")"
    done
    each_blob_once "$mark" upstream/read "$blob"
}
