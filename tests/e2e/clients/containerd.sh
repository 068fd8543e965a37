# shellcheck shell=bash
#
# containerd of our own with its command line, as Kubernetes nodes use it: HEAD, then every manifest by digest, and
# uploads in one PUT. Images of several platforms are pulled and pushed whole.

ctr_cli() {
    timeout 90 ctr --address "$E2E_FOLDER/containerd/socket" --namespace e2e "$@"
}

start_containerd() {
    local folder=$E2E_FOLDER/containerd
    [ -z "${PROCESS[containerd]:-}" ] || return 0
    mkdir -p "$folder"
    containerd_settings "$folder" >"$folder/config.toml"
    start containerd containerd --config "$folder/config.toml"
    check "the engine starts" containerd_is_ready
}

# Only images: nothing here runs containers for Kubernetes, or needs a file system of a kernel module.
containerd_settings() {
    cat <<SETTINGS
version = 2
root = "$1/root"
state = "$1/state"
disabled_plugins = [
    "io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.tracing.processor.v1.otlp",
]
[grpc]
address = "$1/socket"
SETTINGS
}

containerd_is_ready() {
    within 30 ctr_cli version || {
        tail -n 20 "$E2E_FOLDER/log/containerd.log"
        return 1
    }
}

containerd_checks() {
    start_containerd
    [ -n "$CHECK_PASSED" ] || return 0

    check "fetches an image of two platforms from another registry" containerd_fetches
    [ -n "$CHECK_PASSED" ] || return 0
    check "pushes all its platforms" containerd_pushes
    check "pulls all platforms after the local copy was removed" containerd_pulls_again
    check "pushes a second tag of it" containerd_retags
    check "pulls by digest" containerd_pulls_by_digest
    check "pulls one platform, and unpacks it" containerd_pulls_platform
    check "pushes the same image under another name" containerd_pushes_again
    check "is told that a deleted image is unknown" containerd_misses_deleted

    proxied_checks containerd_pull_anew upstream/containerd oci
    if [ -z "$E2E_WITHOUT_PROXY" ]; then
        check "pulls under the upstream's own name, the server being its mirror" containerd_uses_path
        check "pulls under the upstream's own name, the server being the mirror of every registry" containerd_uses_namespace
        check "pulls Docker Hub's name by the settings for that registry alone" containerd_uses_own_settings
        check "pulls through a mirror's path, as newer engines spell it" containerd_uses_mirror_path
        check "turns to the registry itself where the server does not know it" containerd_falls_back
        check "is refused when it pushes to a proxied name" containerd_is_refused
    fi
}

# From one registry to another, as images are mirrored.
containerd_fetches() {
    upstream_image source/containerd 4 oci
    containerd_pull_anew "$UPSTREAM/source/containerd:1" "$(manifest_digest "$UPSTREAM" source/containerd 1)"
    ctr_cli images tag "$UPSTREAM/source/containerd:1" "$SERVER/containerd/app:1"
}

# containerd_name NAME DIGEST: the name has to stand for that very digest.
containerd_name() {
    local found
    found=$(containerd_digest "$1")
    equal "the digest of $1 in containerd" "$2" "$found"
}

containerd_digest() {
    { local - && set +x; } 2>/dev/null
    ctr_cli images ls "name==$1" | awk 'NR == 2 { print $3 }'
}

containerd_push() {
    ctr_cli images push --plain-http "$@"
}

# containerd_pull REFERENCE [OPTION…]
containerd_pull() {
    local reference=$1
    shift
    ctr_cli images pull --plain-http --snapshotter native "$@" "$reference"
}

containerd_pushes() {
    containerd_push "$SERVER/containerd/app:1"
    same_image "$UPSTREAM" source/containerd 1 "$SERVER" containerd/app 1
}

containerd_pulls_again() {
    containerd_pull_anew "$SERVER/containerd/app:1" "$(manifest_digest "$UPSTREAM" source/containerd 1)"
}

# containerd_pull_anew REFERENCE DIGEST: every platform, into an empty store.
containerd_pull_anew() {
    containerd_forget
    containerd_pull "$1" --all-platforms
    containerd_name "$1" "$2"
    containerd_has_all "$1"
}

# containerd deletes content in the background unless asked to wait.
containerd_forget() {
    local images
    images=$(ctr_cli images ls --quiet)
    # shellcheck disable=SC2086 # one word per image
    [ -z "$images" ] || ctr_cli images rm --sync $images
    equal "content left" '' "$(ctr_cli content ls --quiet)"
}

containerd_has_all() {
    local said
    said=$(ctr_cli images check "name==$1")
    contains "$said" 'complete \([0-9]+/[0-9]+\)'
}

containerd_retags() {
    ctr_cli images tag "$SERVER/containerd/app:1" "$SERVER/containerd/app:stable"
    containerd_push "$SERVER/containerd/app:stable"
    same_image "$SERVER" containerd/app 1 "$SERVER" containerd/app stable
}

containerd_pulls_by_digest() {
    local digest
    digest=$(manifest_digest "$SERVER" containerd/app 1)
    containerd_pull_anew "$SERVER/containerd/app@$digest" "$digest"
}

containerd_pulls_platform() {
    containerd_forget
    containerd_pull "$SERVER/containerd/app:1" --platform linux/arm64
    contains "$(ctr_cli snapshots --snapshotter native ls)" 'Committed'
}

containerd_pushes_again() {
    containerd_pull_anew "$SERVER/containerd/app:1" "$(manifest_digest "$SERVER" containerd/app 1)"
    containerd_push "$SERVER/containerd/second/name:1" "$SERVER/containerd/app:1"
    same_image "$SERVER" containerd/app 1 "$SERVER" containerd/second/name 1
}

containerd_misses_deleted() {
    containerd_forget
    delete_manifest containerd/second/name 1
    refused 'not found' containerd_pull "$SERVER/containerd/second/name:1"
    containerd_pull "$SERVER/containerd/app:1"
}

# As every registry of a cluster can be sent through the server: a client's setting, and not another name of the image.
containerd_uses_path() {
    local folder=$E2E_FOLDER/containerd/hosts/_default image=upstream.test/upstream/containerd:1
    mkdir -p "$folder"
    cat >"$folder/hosts.toml" <<SETTINGS
[host."http://$SERVER/v2/proxy/upstream.test"]
capabilities = ["pull", "resolve"]
override_path = true
SETTINGS
    containerd_forget
    ctr_cli images pull --hosts-dir "${folder%/*}" --snapshotter native --all-platforms "$image"
    containerd_name "$image" "$(manifest_digest "$UPSTREAM" upstream/containerd 1)"
    containerd_has_all "$image"
}

# containerd_pulls_by_hosts FOLDER IMAGE DIGEST: with the settings of the folder, and nothing from the upstream that another
# door has brought already.
containerd_pulls_by_hosts() {
    local mark
    containerd_forget
    mark=$(upstream_mark)
    ctr_cli images pull --hosts-dir "$1" --snapshotter native --all-platforms "$2"
    equal "GETs at the upstream by others than the client" 0 "$(upstream_requests "$mark" '"GET .*"entrepot/')"
    containerd_name "$2" "$3"
    containerd_has_all "$2"
}

containerd_hosts() {
    { local - && set +x; } 2>/dev/null
    echo "$(client_config containerd)/etc/containerd/certs.d"
}

# Nothing in the settings names this registry: the client says with each request whose image it means.
containerd_uses_namespace() {
    containerd_pulls_by_hosts "$(containerd_hosts)" upstream.test/upstream/containerd:1 \
        "$(manifest_digest "$UPSTREAM" upstream/containerd 1)"
}

# This one has a file of its own.
containerd_uses_own_settings() {
    [ -f "$(containerd_hosts)/docker.io/hosts.toml" ]
    containerd_pulls_by_hosts "$(containerd_hosts)" docker.io/upstream/containerd:1 \
        "$(manifest_digest "$UPSTREAM" upstream/containerd 1)"
}

containerd_uses_mirror_path() {
    local folder=$E2E_FOLDER/containerd/mirror-path
    mkdir -p "$folder/_default"
    cat >"$folder/_default/hosts.toml" <<SETTINGS
[host."http://$SERVER/proxy/upstream.test"]
capabilities = ["pull", "resolve"]
SETTINGS
    containerd_pulls_by_hosts "$folder" upstream.test/upstream/containerd:1 \
        "$(manifest_digest "$UPSTREAM" upstream/containerd 1)"
}

# `localhost` is no registry that a client may name here, and the very one that the client means.
containerd_falls_back() {
    containerd_pulls_by_hosts "$(containerd_hosts)" "localhost:${UPSTREAM##*:}/upstream/containerd:1" \
        "$(manifest_digest "$UPSTREAM" upstream/containerd 1)"
}

containerd_is_refused() {
    containerd_forget
    containerd_pull "$SERVER/containerd/app:1" --all-platforms
    refused '405' containerd_push "$PROXIED/containerd/app:1" "$SERVER/containerd/app:1"
    has_status 404 -H "Accept: $MANIFEST_TYPES" "$(url "$UPSTREAM" containerd/app manifests/1)"
}
