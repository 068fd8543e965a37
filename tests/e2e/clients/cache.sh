# shellcheck shell=bash
#
# The cache as its operator has it: kept within a size on a disk of its own, looked at, pinned, emptied and filled by the
# program's commands, while skopeo pulls.

cache_checks() {
    [ -z "$E2E_WITHOUT_PROXY" ] || {
        skipped "pulls of another registry's images"
        return 0
    }
    # shellcheck source=/dev/null
    source "$here/clients/skopeo.sh"
    cache_server
    check "a server with a small cache is ready" other_is_ready
    check "images of two platforms are made for the upstream" cache_images
    [ -n "$CHECK_PASSED" ] || return 0

    check "a tag is not asked for again within its time, whoever pulls" cache_is_fresh
    check "refresh takes up a tag that has moved, at once" cache_refreshes
    check "what is cached is listed, with its size and tags" cache_lists
    check "explain says what a pull would do, and how it would be asked for" cache_explains
    check "an image is pinned" cache_pins
    check "the cache stays within its size, and what is freed is free on the disk" cache_evicts
    stop_upstream
    check "the pinned image is whole, with the upstream stopped" cache_kept_pinned
    start_upstream
    check "the server asks its upstream again" within 90 cache_asks_upstream
    check "an eviction can be tried out, and is what it said it would be" cache_tries_eviction
    check "a purged image is gone, and comes back when it is pulled" cache_purges
    check "an image is fetched in advance, one platform of it" cache_warms
    check "own images are not touched by any of this" cache_leaves_own
    check "check finds nothing wrong with the running configuration" other_cli check
    check "check says which upstream cannot be reached, and fails" cache_check_fails
    stop cache
    check "the commands work while no server runs, too" cache_without_server
}

cache_server() {
    local folder=$E2E_FOLDER/cache/storage/proxy
    mkdir -p "$folder"
    # A file system of its own: what it has left is what was really freed.
    [ -n "${E2E_IN_PLACE:-}" ] || mount -t tmpfs -o size=96m tmpfs "$folder"
    start_other cache <<'SETTINGS'
[proxy]
tag_fresh_for = "1h"
size_max = "24MiB"
size_high = "90%"
size_low = "60%"
SETTINGS
}

other_cli() {
    (cd "$OTHER_FOLDER" && timeout 60 "$ENTREPOT" "$@")
}

cache_images() {
    local name
    for name in a b c d e; do
        upstream_image "cached/$name" 3 oci
    done
    upstream_image cached/warm 2 oci
}

# cache_pull NAME: all of an image's platforms, compared byte for byte.
cache_pull() {
    rm -rf "$E2E_FOLDER/cache/"{copy,wanted}
    skopeo_copy --all "docker://$OTHER/proxy/upstream.test/$1:1" "dir:$E2E_FOLDER/cache/copy"
    skopeo_copy --all "docker://$UPSTREAM/$1:1" "dir:$E2E_FOLDER/cache/wanted"
    diff -r "$E2E_FOLDER/cache/wanted" "$E2E_FOLDER/cache/copy"
}

cache_is_fresh() {
    local mark
    cache_pull cached/a
    mark=$(upstream_mark)
    skopeo_cli inspect --raw --tls-verify=false "docker://$OTHER/proxy/upstream.test/cached/a:1"
    skopeo_cli inspect --raw --tls-verify=false "docker://$OTHER/proxy/upstream.test/cached/a:1"
    equal "requests to the upstream" 0 "$(upstream_requests "$mark" '"[A-Z]+ ')"
}

cache_refreshes() {
    local old new
    cache_pull cached/b
    old=$(manifest_digest "$OTHER/proxy/upstream.test" cached/b 1)
    skopeo_copy --all "docker://$UPSTREAM/cached/c:1" "docker://$UPSTREAM/cached/b:1"
    equal "the digest within its time" "$old" "$(manifest_digest "$OTHER/proxy/upstream.test" cached/b 1)"
    other_cli refresh proxy/upstream.test/cached/b:1
    new=$(manifest_digest "$OTHER/proxy/upstream.test" cached/b 1)
    equal "the digest after the refresh" "$(manifest_digest "$UPSTREAM" cached/c 1)" "$new"
}

cache_lists() {
    local said
    said=$(other_cli cache ls)
    contains "$said" 'upstream/?.*|cached/a'
    said=$(other_cli cache ls --json)
    contains "$said" "$(manifest_digest "$UPSTREAM" cached/a 1)"
    contains "$(other_cli cache stats)" 'MiB'
}

cache_explains() {
    local said
    said=$(other_cli explain proxy/upstream.test/cached/a:1)
    contains "$said" "$(manifest_digest "$UPSTREAM" cached/a 1)"
    contains "$said" 'fresh'
    contains "$said" "$UPSTREAM"
}

cache_pins() {
    other_cli cache pin proxy/upstream.test/cached/a:1
    contains "$(other_cli cache pins)" 'cached/a.*1'
}

cache_evicts() {
    local name
    for name in d e c; do
        cache_pull "cached/$name"
    done
    within 20 cache_is_within 24
    contains "$(other_cli cache stats)" '24'
    # The blobs that the listing knows are all that is on the disk.
    cache_is_within 24
}

# cache_is_within MIB: so much at most is used on the cache's disk, the database and its log included.
cache_is_within() {
    local used
    used=$(du -sm "$OTHER_FOLDER/storage/proxy/docker" | cut -f1)
    [ "$used" -le "$1" ]
}

cache_kept_pinned() {
    rm -rf "$E2E_FOLDER/cache/copy"
    skopeo_copy --all "docker://$OTHER/proxy/upstream.test/cached/a:1" "dir:$E2E_FOLDER/cache/copy"
}

cache_asks_upstream() {
    [ "$(status "$(url "$OTHER/proxy/upstream.test" "fence-$RANDOM$RANDOM" manifests/1)")" = 404 ]
}

cache_tries_eviction() {
    local before tried
    before=$(other_cli cache ls --json | jq -S .)
    tried=$(other_cli cache evict --dry-run --down-to 8MiB --json | jq -er .freed)
    equal "the cache after a trial" "$before" "$(other_cli cache ls --json | jq -S .)"
    equal "bytes freed" "$tried" "$(other_cli cache evict --down-to 8MiB --json | jq -er .freed)"
    contains "$(other_cli cache ls)" 'cached/a'
}

cache_purges() {
    refused 'pinned' other_cli purge proxy/upstream.test/cached/a:1
    other_cli cache unpin proxy/upstream.test/cached/a:1
    other_cli purge proxy/upstream.test/cached/a:1
    [ -z "$(other_cli cache ls | grep cached/a)" ]
    cache_pull cached/a
}

cache_warms() {
    local mark
    other_cli warm proxy/upstream.test/cached/warm:1 --platform linux/arm64
    mark=$(upstream_mark)
    rm -rf "$E2E_FOLDER/cache/copy"
    skopeo_copy --override-arch arm64 "docker://$OTHER/proxy/upstream.test/cached/warm:1" "dir:$E2E_FOLDER/cache/copy"
    equal "requests to the upstream" 0 "$(upstream_requests "$mark" '"[A-Z]+ ')"
    skopeo_folder_is_whole "$E2E_FOLDER/cache/copy"
}

cache_leaves_own() {
    skopeo_copy --all "docker://$UPSTREAM/cached/d:1" "docker://$OTHER/own/d:1"
    other_cli cache evict --down-to 1
    same_image "$UPSTREAM" cached/d 1 "$OTHER" own/d 1
    rm -rf "$E2E_FOLDER/cache/copy"
    skopeo_copy --all "docker://$OTHER/own/d:1" "dir:$E2E_FOLDER/cache/copy"
}

cache_check_fails() {
    cat "$OTHER_FOLDER/configuration.toml" - >"$OTHER_FOLDER/away.toml" <<'SETTINGS'

[[proxy.upstream]]
name = "away.test"
url = "http://127.0.0.1:9"
SETTINGS
    refused 'away\.test' other_cli --config away.toml check
}

cache_without_server() {
    other_cli warm proxy/upstream.test/cached/warm:1 --platform linux/amd64
    contains "$(other_cli cache ls)" 'cached/warm'
    other_cli purge proxy/upstream.test/cached/warm
}
