# shellcheck shell=bash
#
# The checks that every client goes through for an image of another registry: cold, warm, and with that registry gone.

# proxied_checks PULL REPOSITORY [FORMAT]: PULL REFERENCE DIGEST removes the client's copy, pulls, compares the digest.
proxied_checks() {
    local pull=$1 repository=$2 digest
    [ -z "$E2E_WITHOUT_PROXY" ] || {
        skipped "pulls of another registry's images"
        return 0
    }
    check "an image of two platforms is made for the upstream" upstream_image "$repository" 3 "${3:-oci}"
    [ -n "$CHECK_PASSED" ] || return 0
    digest=$(manifest_digest "$UPSTREAM" "$repository" 1)

    check "pulls through the cache, cold" pulls_from_upstream "$pull" "$repository" "$digest"
    check "pulls it again, warm" "$pull" "$PROXIED/$repository:1" "$digest"
    check "a warm pull by tag fetches no blob and no manifest" \
        asks_upstream_nothing '"GET ' "$pull" "$PROXIED/$repository:1" "$digest"
    check "a warm pull by digest asks the upstream nothing at all" \
        asks_upstream_nothing '"[A-Z]+ ' "$pull" "$PROXIED/$repository@$digest" "$digest"
    stop_upstream
    check "pulls by tag while the upstream is stopped" "$pull" "$PROXIED/$repository:1" "$digest"
    check "pulls by digest while the upstream is stopped" "$pull" "$PROXIED/$repository@$digest" "$digest"
    start_upstream
    check "asks the upstream again once it is back" within 90 upstream_is_asked
}

# client_config CLIENT: the files that the server's own command writes for its users, below the folder that is printed.
client_config() {
    { local - && set +x; } 2>/dev/null
    local folder=$E2E_FOLDER/client-config/$1
    [ -d "$folder" ] || (cd "$E2E_FOLDER/server" && "$ENTREPOT" client-config "$1" --write "$folder" >&2)
    echo "$folder"
}

# What users of podman, skopeo and buildah are told to write down: other registries' own names are sent here.
mirror_settings() {
    { local - && set +x; } 2>/dev/null
    echo "$(client_config podman)/etc/containers/registries.conf.d/entrepot.conf"
}

# Cold has to mean cold: the upstream must have been asked for a blob, and the server must name its digest.
pulls_from_upstream() {
    local mark fetched found
    mark=$(upstream_mark)
    "$1" "$PROXIED/$2:1" "$3"
    fetched=$(upstream_requests "$mark" "\"GET /v2/$2/blobs/")
    [ "$fetched" -ge 3 ] || {
        echo "the upstream was asked for $fetched blobs only"
        return 1
    }
    found=$(manifest_digest "$PROXIED" "$2" 1)
    equal "the digest that the server names" "$3" "$found"
}

# asks_upstream_nothing PATTERN COMMAND…
asks_upstream_nothing() {
    local mark pattern=$1 asked
    shift
    mark=$(upstream_mark)
    "$@"
    asked=$(upstream_requests "$mark" "$pattern")
    equal "requests to the upstream ($(tail -n "+$((mark + 1))" "$UPSTREAM_LOG" | grep -v fence- | cut -c1-200))" \
        0 "$asked"
}

# each_blob_once MARK REPOSITORY DIGEST…: exactly one GET for each of these.
each_blob_once() {
    local mark=$1 repository=$2 digest asked
    shift 2
    for digest in "$@"; do
        asked=$(upstream_requests "$mark" "\"GET /v2/$repository/blobs/$digest")
        equal "GETs of $digest" 1 "$asked"
    done
}
