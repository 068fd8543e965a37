# shellcheck shell=bash
#
# A cache whose disk is full: what does not fit passes through, and nothing that is there suffers.

full_checks() {
    [ -z "$E2E_WITHOUT_PROXY" ] || {
        skipped "pulls of another registry's images"
        return 0
    }
    [ -z "${E2E_IN_PLACE:-}" ] || {
        skipped "a full disk: without namespaces there is nowhere to mount a small one"
        return 0
    }
    # shellcheck source=/dev/null
    source "$here/clients/skopeo.sh"
    full_server
    check "a server whose cache has a disk of 24 MiB is ready" other_is_ready
    check "small and large images are made for the upstream" full_images
    [ -n "$CHECK_PASSED" ] || return 0

    check "a small image is cached" full_pulls full/small
    check "an image that does not fit is pulled whole" full_pulls full/large
    check "and once more" full_pulls full/large
    check "own images are pushed and pulled meanwhile" full_pushes
    check "the server is ready all the time" other_is_ready
    stop_upstream
    check "the small image is still there, with the upstream stopped" full_kept_small
    start_upstream
    stop full
}

full_server() {
    local folder=$E2E_FOLDER/full/storage
    mkdir -p "$folder"/{proxy,registry}
    mount -t tmpfs -o size=24m tmpfs "$folder/proxy"
    # Staged bytes lie beside what they become, so that both run out at once.
    mkdir -p "$folder/proxy/tmp"
    start_other full <<'SETTINGS'
temporary_registry_storage = "storage/proxy/tmp"

[proxy]
tag_fresh_for = "1h"
SETTINGS
}

full_images() {
    upstream_image full/small 1 oci
    upstream_image full/large 24 oci
}

full_pulls() {
    rm -rf "$E2E_FOLDER/full/"{copy,wanted}
    skopeo_copy --all "docker://$OTHER/proxy/upstream.test/$1:1" "dir:$E2E_FOLDER/full/copy"
    skopeo_copy --all "docker://$UPSTREAM/$1:1" "dir:$E2E_FOLDER/full/wanted"
    diff -r "$E2E_FOLDER/full/wanted" "$E2E_FOLDER/full/copy"
}

full_pushes() {
    skopeo_copy --all "docker://$UPSTREAM/full/small:1" "docker://$OTHER/own/small:1"
    same_image "$UPSTREAM" full/small 1 "$OTHER" own/small 1
}

full_kept_small() {
    rm -rf "$E2E_FOLDER/full/copy"
    skopeo_copy --all "docker://$OTHER/proxy/upstream.test/full/small:1" "dir:$E2E_FOLDER/full/copy"
}
