# shellcheck shell=bash
#
# podman, without containers: its image store and its way of pushing and pulling.

podman_cli() {
    timeout 120 podman --root "$E2E_FOLDER/podman/root" --runroot "$E2E_FOLDER/podman/run" \
        --tmpdir "$E2E_FOLDER/podman/tmp" --storage-driver vfs --cgroup-manager cgroupfs --events-backend none "$@"
}

podman_checks() {
    mkdir -p "$E2E_FOLDER/podman"
    check "builds an image" podman_builds
    [ -n "$CHECK_PASSED" ] || return 0

    check "pushes it" podman_pushes
    check "pulls it after the local copy was removed" podman_pulls_again
    check "pushes a second tag of it" podman_retags
    check "pulls by digest" podman_pulls_by_digest
    check "pushes an image with a layer of 64 MiB, and pulls it whole" podman_pushes_large
    check "pushes all platforms of a manifest list" podman_pushes_platforms
    check "pulls each platform of the list" podman_pulls_platforms
    check "is told that a deleted image is unknown" podman_misses_deleted

    proxied_checks podman_pull_anew upstream/podman oci
    if [ -z "$E2E_WITHOUT_PROXY" ]; then
        check "pulls under the upstream's own name, the server being its mirror" podman_uses_mirror
        check "is refused when it pushes to a proxied name" podman_is_refused
    fi
}

podman_build() {
    podman_cli build --quiet --layers --platform "linux/${3:-amd64}" --tag "$1" "$2"
}

podman_push() {
    podman_cli push --quiet --tls-verify=false --digestfile "$E2E_FOLDER/podman/digest" "$@"
}

podman_pull() {
    podman_cli pull --quiet --tls-verify=false "$@"
}

podman_builds() {
    build_folder "$E2E_FOLDER/podman/build" 6
    podman_build "$SERVER/podman/app:1" "$E2E_FOLDER/podman/build"
}

podman_pushes() {
    podman_push "$SERVER/podman/app:1"
    equal "the digest that the server names" "$(cat "$E2E_FOLDER/podman/digest")" \
        "$(manifest_digest "$SERVER" podman/app 1)"
}

podman_pulls_again() {
    local before after
    before=$(podman_cli image inspect --format '{{.Id}}' "$SERVER/podman/app:1")
    podman_forget
    podman_pull "$SERVER/podman/app:1"
    after=$(podman_cli image inspect --format '{{.Id}}' "$SERVER/podman/app:1")
    equal "image id" "$before" "$after"
}

podman_forget() {
    podman_cli rmi --all --force >/dev/null
    equal "images left" '' "$(podman_cli images --all --quiet)"
}

podman_retags() {
    podman_cli tag "$SERVER/podman/app:1" "$SERVER/podman/app:stable"
    podman_push "$SERVER/podman/app:stable"
    same_image "$SERVER" podman/app 1 "$SERVER" podman/app stable
}

podman_pulls_by_digest() {
    local digest
    digest=$(manifest_digest "$SERVER" podman/app 1)
    podman_pull_anew "$SERVER/podman/app@$digest" "$digest"
}

# podman_pull_anew REFERENCE DIGEST
podman_pull_anew() {
    local id digests
    podman_forget
    id=$(podman_pull "$1")
    digests=$(podman_cli image inspect --format '{{join .RepoDigests "\n"}}' "$id")
    contains "$digests" "@$2\$"
}

podman_pushes_large() {
    local before after reference=$SERVER/podman/large:1
    build_folder "$E2E_FOLDER/podman/large" 64
    podman_build "$reference" "$E2E_FOLDER/podman/large"
    podman_push "$reference"
    before=$(podman_cli image inspect --format '{{.Id}}' "$reference")
    podman_forget
    podman_pull "$reference"
    after=$(podman_cli image inspect --format '{{.Id}}' "$reference")
    equal "image id" "$before" "$after"
}

podman_pushes_platforms() {
    local architecture list=localhost/platforms
    podman_cli manifest create "$list"
    for architecture in amd64 arm64; do
        build_folder "$E2E_FOLDER/podman/platform" 1
        podman_build "localhost/platform:$architecture" "$E2E_FOLDER/podman/platform" "$architecture"
        podman_cli manifest add "$list" "containers-storage:localhost/platform:$architecture"
    done
    podman_cli manifest push --quiet --all --tls-verify=false "$list" "docker://$SERVER/podman/platforms:1"
    equal "children" 2 "$(index_children "$SERVER" podman/platforms 1 | wc -l)"
}

podman_pulls_platforms() {
    local architecture found
    for architecture in amd64 arm64; do
        podman_forget
        podman_pull --platform "linux/$architecture" "$SERVER/podman/platforms:1"
        found=$(podman_cli image inspect --format '{{.Architecture}}' "$SERVER/podman/platforms:1")
        equal "architecture" "$architecture" "$found"
    done
}

podman_misses_deleted() {
    podman_pull "$SERVER/podman/app:stable"
    podman_forget
    delete_manifest podman/app stable
    refused 'manifest unknown|not found' podman_pull "$SERVER/podman/app:stable"
}

podman_uses_mirror() {
    local digest settings
    settings=$(mirror_settings)
    digest=$(manifest_digest "$UPSTREAM" upstream/podman 1)
    CONTAINERS_REGISTRIES_CONF=$settings podman_pull_anew docker.io/upstream/podman:1 "$digest"
}

podman_is_refused() {
    podman_forget
    podman_build "$PROXIED/podman/app:1" "$E2E_FOLDER/podman/build"
    refused '405|unsupported' podman_push "$PROXIED/podman/app:1"
    has_status 404 -H "Accept: $MANIFEST_TYPES" "$(url "$UPSTREAM" podman/app manifests/1)"
}
