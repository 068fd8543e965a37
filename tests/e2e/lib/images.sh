# shellcheck shell=bash
#
# What is pushed and pulled: layers of random bytes, so that no two images share one unless a check wants it so.

# build_folder FOLDER MIB: a Dockerfile that needs no base image and runs nothing.
build_folder() {
    mkdir -p "$1"
    head -c "$2M" /dev/urandom >"$1/large"
    head -c 100 /dev/urandom | base64 >"$1/small"
    printf 'FROM scratch\nCOPY large /large\nCOPY small /small\nLABEL test=e2e\n' >"$1/Dockerfile"
}

# The builder of what the upstream holds; its storage is apart from that of buildah as a client.
builder() {
    timeout 120 buildah --root "$E2E_FOLDER/builder/root" --runroot "$E2E_FOLDER/builder/run" \
        --storage-driver vfs "$@"
}

# upstream_image REPOSITORY MIB FORMAT(oci|v2s2): two platforms under one tag, `1`, at the upstream.
upstream_image() {
    local folder=$E2E_FOLDER/upstream-image architecture format=oci
    [ "$3" = oci ] || format=docker
    builder manifest create "$1" >/dev/null
    for architecture in amd64 arm64; do
        build_folder "$folder" "$2"
        builder bud --quiet --layers --format "$format" --platform "linux/$architecture" --manifest "$1" \
            "$folder" >/dev/null
    done
    builder manifest push --quiet --all --format "$3" --tls-verify=false "$1" "docker://$UPSTREAM/$1:1"
}
