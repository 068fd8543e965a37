# shellcheck shell=bash
#
# A Docker engine of our own (no bridge, no packet filter, no containers) and its command line.

# The classic builder: the other one comes as a plug-in, which is not everywhere.
docker_cli() {
    DOCKER_BUILDKIT=0 timeout 90 docker --host "unix://$E2E_FOLDER/docker/socket" "$@"
}

start_docker() {
    local folder=$E2E_FOLDER/docker
    [ -z "${PROCESS[dockerd]:-}" ] || return 0
    mkdir -p "$folder"
    if [ -n "$E2E_STAND_IN" ]; then
        echo '{}' >"$folder/daemon.json"
    else
        cp "$(client_config docker)/etc/docker/daemon.json" "$folder/daemon.json"
    fi
    start dockerd dockerd --config-file "$folder/daemon.json" --iptables=false --ip6tables=false --ip-forward=false \
        --bridge=none --data-root "$folder/data" --exec-root "$folder/exec" --pidfile "$folder/pid" \
        --host "unix://$folder/socket"
    check "the engine starts" docker_is_ready
}

docker_is_ready() {
    within 30 docker_cli version || {
        tail -n 20 "$E2E_FOLDER/log/dockerd.log"
        return 1
    }
}

docker_checks() {
    start_docker
    [ -n "$CHECK_PASSED" ] || return 0

    check "builds an image" docker_builds
    check "pushes it" docker_pushes
    check "pulls it after the local copy was removed" docker_pulls_again
    check "pushes a second tag of it" docker_retags
    check "pulls by digest" docker_pulls_by_digest
    check "pushes the same image under another name by mounting its layers" docker_mounts
    check "pushes a list of two platforms" docker_pushes_platforms
    check "pulls each platform of the list" docker_pulls_platforms
    check "is told that a deleted image is unknown" docker_misses_deleted

    proxied_checks docker_pull_anew upstream/docker v2s2
    if [ -z "$E2E_WITHOUT_PROXY" ]; then
        check "pulls the other platform of a proxied image" docker_pulls_proxied_platform
        check "pulls a name of Docker Hub through its mirror" docker_uses_mirror
        check "pulls a name of Docker Hub while the upstream is stopped" docker_uses_mirror_offline
        check "is refused when it pushes to a proxied name, with the reason" docker_is_refused
    fi
    check "did all this without credentials" docker_has_no_credentials
}

docker_builds() {
    build_folder "$E2E_FOLDER/docker/build" 6
    docker_cli build --quiet --tag "$SERVER/docker/app:1" "$E2E_FOLDER/docker/build"
}

docker_pushes() {
    local digest
    docker_cli push "$SERVER/docker/app:1"
    digest=$(manifest_digest "$SERVER" docker/app 1)
    docker_knows_digest "$SERVER/docker/app:1" "$digest"
}

docker_knows_digest() {
    local digests
    digests=$(docker_cli image inspect --format '{{join .RepoDigests "\n"}}' "$1")
    contains "$digests" "@$2\$"
}

# The image id is the digest of the configuration, which names every layer's content: the same id is the same image.
docker_pulls_again() {
    local before after
    before=$(docker_cli image inspect --format '{{.Id}}' "$SERVER/docker/app:1")
    docker_forget
    docker_cli pull "$SERVER/docker/app:1"
    after=$(docker_cli image inspect --format '{{.Id}}' "$SERVER/docker/app:1")
    equal "image id" "$before" "$after"
}

docker_forget() {
    docker_cli image prune --all --force >/dev/null
    equal "images left" '' "$(docker_cli image ls --quiet)"
}

docker_retags() {
    docker_cli tag "$SERVER/docker/app:1" "$SERVER/docker/app:stable"
    docker_cli push "$SERVER/docker/app:stable"
    same_image "$SERVER" docker/app 1 "$SERVER" docker/app stable
}

docker_pulls_by_digest() {
    local digest
    digest=$(manifest_digest "$SERVER" docker/app 1)
    docker_pull_anew "$SERVER/docker/app@$digest" "$digest"
}

# docker_pull_anew REFERENCE DIGEST
docker_pull_anew() {
    docker_forget
    docker_cli pull "$1"
    docker_knows_digest "$1" "$2"
}

docker_mounts() {
    local said
    docker_cli image inspect "$SERVER/docker/app:1" >/dev/null || docker_cli pull "$SERVER/docker/app:1"
    docker_cli tag "$SERVER/docker/app:1" "$SERVER/docker/second/name:1"
    said=$(docker_cli push "$SERVER/docker/second/name:1")
    contains "$said" 'mounted from docker/app'
    same_image "$SERVER" docker/app 1 "$SERVER" docker/second/name 1
}

# The engine's own builder makes images of its own platform only; the other ones are loaded.
docker_pushes_platforms() {
    local architecture list=$SERVER/docker/platforms:1
    for architecture in amd64 arm64; do
        docker_loads "$SERVER/docker/platforms:$architecture" "$architecture"
        docker_cli push "$SERVER/docker/platforms:$architecture"
    done
    docker_cli manifest create --insecure "$list" "$SERVER/docker/platforms:amd64" "$SERVER/docker/platforms:arm64"
    docker_cli manifest push --insecure --purge "$list"
    equal "children" 2 "$(index_children "$SERVER" docker/platforms 1 | wc -l)"
}

docker_loads() {
    local archive=$E2E_FOLDER/docker/$2.tar
    rm -f "$archive"
    build_folder "$E2E_FOLDER/docker/platform" 1
    builder bud --quiet --layers --format docker --platform "linux/$2" --tag "$1" "$E2E_FOLDER/docker/platform"
    builder push --quiet "$1" "docker-archive:$archive:$1"
    docker_cli load --quiet --input "$archive"
}

docker_pulls_platforms() {
    local architecture list=$SERVER/docker/platforms:1
    for architecture in amd64 arm64; do
        docker_pull_platform "$list" "$architecture"
    done
}

docker_pull_platform() {
    local digest found
    docker_forget
    docker_cli pull --platform "linux/$2" "$1"
    found=$(docker_cli image inspect --format '{{.Architecture}}' "$1")
    equal "architecture" "$2" "$found"
}

docker_misses_deleted() {
    docker_cli pull "$SERVER/docker/second/name:1"
    docker_forget
    delete_manifest docker/second/name 1
    refused 'manifest unknown|not found' docker_cli pull "$SERVER/docker/second/name:1"
    # The layers were mounted, not moved: the first name still has them.
    docker_cli pull "$SERVER/docker/app:1"
}

docker_pulls_proxied_platform() {
    docker_pull_platform "$PROXIED/upstream/docker:1" arm64
}

# For the engine the server is Docker Hub: neither a host nor a prefix stands before the name. Only loopback can be reached
# from here, so nobody else can have answered.
docker_uses_mirror() {
    local digest mark
    digest=$(manifest_digest "$UPSTREAM" upstream/docker 1)
    mark=$(upstream_mark)
    docker_pull_anew "upstream/docker:1" "$digest"
    equal "GETs of what the other door had brought" 0 "$(upstream_requests "$mark" '"GET ')"
}

docker_uses_mirror_offline() {
    local digest
    digest=$(manifest_digest "$UPSTREAM" upstream/docker 1)
    hold_upstream
    docker_pull_anew "upstream/docker:1" "$digest" || {
        release_upstream
        return 1
    }
    release_upstream
}

docker_is_refused() {
    docker_cli image inspect "$SERVER/docker/app:1" >/dev/null || docker_cli pull "$SERVER/docker/app:1"
    docker_cli tag "$SERVER/docker/app:1" "$PROXIED/docker/app:1"
    refused '405|unsupported' docker_cli push "$PROXIED/docker/app:1"
    has_status 404 -H "Accept: $MANIFEST_TYPES" "$(url "$UPSTREAM" docker/app manifests/1)"
}

docker_has_no_credentials() {
    equal "stored credentials" 0 "$(jq '.auths // {} | length' "$DOCKER_CONFIG/config.json")"
}
