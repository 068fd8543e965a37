# shellcheck shell=bash
#
# buildah: builds from nothing, and from an image that the server holds.

buildah_cli() {
    timeout 120 buildah --root "$E2E_FOLDER/buildah/root" --runroot "$E2E_FOLDER/buildah/run" \
        --storage-driver vfs "$@"
}

buildah_checks() {
    mkdir -p "$E2E_FOLDER/buildah"
    check "builds an image" buildah_builds
    [ -n "$CHECK_PASSED" ] || return 0

    check "pushes it" buildah_pushes
    check "pulls it after the local copy was removed" buildah_pulls_again
    check "pushes a second tag of it" buildah_retags
    check "pulls by digest" buildah_pulls_by_digest
    check "builds upon an image of the server, and pushes the result" buildah_builds_upon
    check "pushes all platforms of a manifest list, in Docker's format" buildah_pushes_platforms
    check "pulls each platform of the list" buildah_pulls_platforms
    check "is told that a deleted image is unknown" buildah_misses_deleted

    proxied_checks buildah_pull_anew upstream/buildah v2s2
    if [ -z "$E2E_WITHOUT_PROXY" ]; then
        check "builds upon a proxied image, and pushes the result" buildah_builds_upon_proxied
        check "builds upon the upstream's own name, the server being its mirror" buildah_uses_mirror
        check "is refused when it pushes to a proxied name" buildah_is_refused
    fi
}

# buildah_build REFERENCE FOLDER [OPTION…]
buildah_build() {
    local reference=$1 folder=$2
    shift 2
    buildah_cli bud --quiet --layers --isolation chroot --tls-verify=false --tag "$reference" "$@" "$folder"
}

buildah_push() {
    buildah_cli push --quiet --tls-verify=false --digestfile "$E2E_FOLDER/buildah/digest" "$@"
}

buildah_pull() {
    buildah_cli pull --quiet --tls-verify=false "$@"
}

buildah_id() {
    buildah_cli inspect --type image --format '{{.FromImageID}}' "$1"
}

buildah_builds() {
    build_folder "$E2E_FOLDER/buildah/build" 6
    buildah_build "$SERVER/buildah/app:1" "$E2E_FOLDER/buildah/build"
}

buildah_pushes() {
    buildah_push "$SERVER/buildah/app:1"
    equal "the digest that the server names" "$(cat "$E2E_FOLDER/buildah/digest")" \
        "$(manifest_digest "$SERVER" buildah/app 1)"
}

buildah_pulls_again() {
    local before after
    before=$(buildah_id "$SERVER/buildah/app:1")
    buildah_forget
    buildah_pull "$SERVER/buildah/app:1"
    after=$(buildah_id "$SERVER/buildah/app:1")
    equal "image id" "$before" "$after"
}

buildah_forget() {
    buildah_cli rmi --all --force >/dev/null
    equal "images left" '' "$(buildah_cli images --all --quiet)"
}

buildah_retags() {
    buildah_cli tag "$SERVER/buildah/app:1" "$SERVER/buildah/app:stable"
    buildah_push "$SERVER/buildah/app:stable"
    same_image "$SERVER" buildah/app 1 "$SERVER" buildah/app stable
}

buildah_pulls_by_digest() {
    local digest
    digest=$(manifest_digest "$SERVER" buildah/app 1)
    buildah_pull_anew "$SERVER/buildah/app@$digest" "$digest"
}

# buildah_pull_anew REFERENCE DIGEST: out of an index buildah notes the digest of the platform that it took.
buildah_pull_anew() {
    local id found host=${1%%/*} rest=${1#*/} repository platform
    repository=${rest%[:@]*}
    repository=${repository%@sha256}
    platform=$(manifest "$host" "$repository" "$2" |
        jq -r '(.manifests // [])[] | select(.platform.architecture == "amd64") | .digest')
    buildah_forget
    id=$(buildah_pull "$1")
    found=$(buildah_cli inspect --type image --format '{{.FromImageDigest}}' "$id")
    contains "$2 ${platform:-none}" "$found"
}

buildah_builds_upon() {
    buildah_from "$SERVER/buildah/app:1" "$SERVER/buildah/upon:1"
    buildah_shares_layers "$SERVER" buildah/app 1 "$SERVER" buildah/upon 1
}

# buildah_from BASE RESULT: one more layer upon BASE, pushed as RESULT.
buildah_from() {
    local folder=$E2E_FOLDER/buildah/upon
    build_folder "$folder" 1
    printf 'FROM %s\nCOPY large /more\n' "$1" >"$folder/Dockerfile"
    buildah_forget
    buildah_build "$2" "$folder"
    buildah_push "$2"
}

# The result's first layers are those of its base, byte for byte: base is pulled and pushed without repacking.
buildah_shares_layers() {
    local base result
    base=$(manifest "$1" "$2" "$3" | jq -c '[.layers[].digest]')
    result=$(manifest "$4" "$5" "$6" | jq -c '[.layers[].digest]')
    equal "the base's layers in the result" "$base" "$(jq -c --argjson base "$base" '.[:($base | length)]' <<<"$result")"
}

buildah_pushes_platforms() {
    local architecture list=localhost/platforms
    buildah_cli manifest create "$list"
    for architecture in amd64 arm64; do
        build_folder "$E2E_FOLDER/buildah/platform" 1
        buildah_cli bud --quiet --layers --isolation chroot --format docker --platform "linux/$architecture" \
            --manifest "$list" "$E2E_FOLDER/buildah/platform"
    done
    buildah_cli manifest push --quiet --all --format v2s2 --tls-verify=false "$list" \
        "docker://$SERVER/buildah/platforms:1"
    equal "children" 2 "$(index_children "$SERVER" buildah/platforms 1 | wc -l)"
    contains "$(manifest "$SERVER" buildah/platforms 1)" 'application/vnd.docker.distribution.manifest.list.v2\+json'
}

buildah_pulls_platforms() {
    local architecture id found
    for architecture in amd64 arm64; do
        buildah_forget
        id=$(buildah_pull --platform "linux/$architecture" "$SERVER/buildah/platforms:1")
        found=$(buildah_cli inspect --type image --format '{{.OCIv1.Architecture}}' "$id")
        equal "architecture" "$architecture" "$found"
    done
}

buildah_misses_deleted() {
    buildah_pull "$SERVER/buildah/upon:1"
    buildah_forget
    delete_manifest buildah/upon 1
    refused 'manifest unknown|not found' buildah_pull "$SERVER/buildah/upon:1"
    buildah_pull "$SERVER/buildah/app:1"
}

buildah_builds_upon_proxied() {
    buildah_from "$PROXIED/upstream/buildah:1" "$SERVER/buildah/upon-proxied:1"
    same_layers_as_upstream "$SERVER" buildah/upon-proxied
}

# same_layers_as_upstream BASE REPOSITORY: what was built upon the upstream's image begins with its layers.
same_layers_as_upstream() {
    local platform
    platform=$(manifest "$UPSTREAM" upstream/buildah 1 |
        jq -er '.manifests[] | select(.platform.architecture == "amd64") | .digest')
    buildah_shares_layers "$UPSTREAM" upstream/buildah "$platform" "$1" "$2" 1
}

buildah_uses_mirror() {
    local settings
    settings=$(mirror_settings)
    CONTAINERS_REGISTRIES_CONF=$settings buildah_from docker.io/upstream/buildah:1 "$SERVER/buildah/upon-mirrored:1"
    same_layers_as_upstream "$SERVER" buildah/upon-mirrored
}

buildah_is_refused() {
    buildah_forget
    buildah_build "$PROXIED/buildah/app:1" "$E2E_FOLDER/buildah/build"
    refused '405|unsupported' buildah_push "$PROXIED/buildah/app:1"
    has_status 404 -H "Accept: $MANIFEST_TYPES" "$(url "$UPSTREAM" buildah/app manifests/1)"
}
