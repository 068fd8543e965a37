# shellcheck shell=bash
#
# skopeo: copies between registries and folders without an engine.

skopeo_cli() {
    timeout 90 skopeo --tmpdir "$TMPDIR" "$@"
}

skopeo_copy() {
    skopeo_cli copy --src-tls-verify=false --dest-tls-verify=false "$@"
}

skopeo_checks() {
    mkdir -p "$E2E_FOLDER/skopeo"
    check "an image of two platforms is made" skopeo_makes_image
    [ -n "$CHECK_PASSED" ] || return 0

    check "copies all platforms into the server" skopeo_pushes_all
    check "copies all platforms out again, every byte the same" skopeo_pulls_all
    check "reads the digest of a tag without pulling" skopeo_inspects
    check "pushes a second tag by copying within the server" skopeo_retags
    check "lists the tags" skopeo_lists_tags
    check "copies one platform" skopeo_pulls_platform
    check "copies by digest" skopeo_pulls_by_digest
    check "copies to another name by mounting the layers" skopeo_mounts
    check "deletes, and is told then that the image is unknown" skopeo_deletes

    proxied_checks skopeo_pull_anew upstream/skopeo oci
    if [ -z "$E2E_WITHOUT_PROXY" ]; then
        check "copies all platforms of a proxied image" skopeo_pulls_proxied_platforms
        check "copies a proxied image to an own name" skopeo_adopts
        check "gets the new image when the upstream's tag has moved, and still the old one by digest" skopeo_follows_tag
        check "lists the tags of a proxied repository" skopeo_lists_proxied_tags
        check "copies under the upstream's own name, the server being its mirror" skopeo_uses_mirror
        check "is refused when it pushes to a proxied name" skopeo_is_refused
        check "is refused when it deletes a proxied image" skopeo_may_not_delete
    fi
}

# The image is made where the upstream is, and serves all of this file.
skopeo_makes_image() {
    upstream_image source/skopeo 4 oci
}

skopeo_pushes_all() {
    skopeo_copy --all "docker://$UPSTREAM/source/skopeo:1" "docker://$SERVER/skopeo/app:1"
    same_image "$UPSTREAM" source/skopeo 1 "$SERVER" skopeo/app 1
    skopeo_has_children
}

skopeo_has_children() {
    local child children
    children=$(index_children "$UPSTREAM" source/skopeo 1)
    for child in $children; do
        same_image "$UPSTREAM" source/skopeo "$child" "$SERVER" skopeo/app "$child"
    done
}

skopeo_pulls_all() {
    rm -rf "$E2E_FOLDER/skopeo/"{upstream,server}
    skopeo_copy --all "docker://$UPSTREAM/source/skopeo:1" "dir:$E2E_FOLDER/skopeo/upstream"
    skopeo_copy --all "docker://$SERVER/skopeo/app:1" "dir:$E2E_FOLDER/skopeo/server"
    diff -r "$E2E_FOLDER/skopeo/upstream" "$E2E_FOLDER/skopeo/server"
}

skopeo_inspects() {
    local digest found
    digest=$(manifest_digest "$UPSTREAM" source/skopeo 1)
    found=$(skopeo_cli inspect --tls-verify=false --format '{{.Digest}}' "docker://$SERVER/skopeo/app:1")
    equal "digest" "$digest" "$found"
}

skopeo_retags() {
    skopeo_copy --all "docker://$SERVER/skopeo/app:1" "docker://$SERVER/skopeo/app:stable"
    same_image "$SERVER" skopeo/app 1 "$SERVER" skopeo/app stable
}

skopeo_lists_tags() {
    local found
    found=$(skopeo_cli list-tags --tls-verify=false "docker://$SERVER/skopeo/app" | jq -c .Tags)
    equal "tags" '["1","stable"]' "$found"
}

skopeo_pulls_platform() {
    local folder=$E2E_FOLDER/skopeo/arm64 wanted
    rm -rf "$folder"
    skopeo_copy --override-arch arm64 "docker://$SERVER/skopeo/app:1" "dir:$folder"
    wanted=$(manifest "$SERVER" skopeo/app 1 |
        jq -er '.manifests[] | select(.platform.architecture == "arm64") | .digest')
    equal "digest of the manifest" "$wanted" "$(digest_of "$folder/manifest.json")"
}

skopeo_pulls_by_digest() {
    local digest
    digest=$(manifest_digest "$SERVER" skopeo/app 1)
    skopeo_pull_anew "$SERVER/skopeo/app@$digest" "$digest"
}

# skopeo_pull_anew REFERENCE DIGEST: this machine's platform out of an index; the folder keeps only that one's
# manifest, so its digest has to be among the children of DIGEST.
skopeo_pull_anew() {
    local folder=$E2E_FOLDER/skopeo/anew index child
    rm -rf "$folder"
    mkdir -p "${folder%/*}"
    index=$(skopeo_cli inspect --raw --tls-verify=false "docker://$1")
    equal "digest of the index" "$2" "sha256:$(printf '%s' "$index" | sha256sum | cut -d' ' -f1)"
    skopeo_copy "docker://$1" "dir:$folder"
    child=$(digest_of "$folder/manifest.json")
    contains "$index" "$child"
    skopeo_folder_is_whole "$folder"
}

# Every blob that the manifest names is there under its digest, with the bytes that give this digest.
skopeo_folder_is_whole() {
    local digest digests
    digests=$(jq -er '.config.digest, .layers[].digest' "$1/manifest.json")
    for digest in $digests; do
        equal "blob" "$digest" "$(digest_of "$1/${digest#sha256:}")"
    done
}

# skopeo leaves a trace of a mount only in its debug output.
skopeo_mounts() {
    local said
    said=$(skopeo_cli --debug copy --all --src-tls-verify=false --dest-tls-verify=false \
        "docker://$SERVER/skopeo/app:1" "docker://$SERVER/skopeo/second/name:1" 2>&1)
    same_image "$SERVER" skopeo/app 1 "$SERVER" skopeo/second/name 1
    contains "$said" '\.\.\. mount OK'
}

skopeo_deletes() {
    skopeo_cli delete --tls-verify=false "docker://$SERVER/skopeo/second/name:1"
    refused 'manifest unknown|not found' \
        skopeo_copy "docker://$SERVER/skopeo/second/name:1" "dir:$E2E_FOLDER/skopeo/deleted"
    skopeo_has_children
}

skopeo_pulls_proxied_platforms() {
    rm -rf "$E2E_FOLDER/skopeo/"{upstream,server}
    skopeo_copy --all "docker://$UPSTREAM/upstream/skopeo:1" "dir:$E2E_FOLDER/skopeo/upstream"
    skopeo_copy --all "docker://$PROXIED/upstream/skopeo:1" "dir:$E2E_FOLDER/skopeo/server"
    diff -r "$E2E_FOLDER/skopeo/upstream" "$E2E_FOLDER/skopeo/server"
}

skopeo_adopts() {
    skopeo_copy --all "docker://$PROXIED/upstream/skopeo:1" "docker://$SERVER/skopeo/adopted:1"
    same_image "$UPSTREAM" upstream/skopeo 1 "$SERVER" skopeo/adopted 1
}

skopeo_follows_tag() {
    local old new
    old=$(manifest_digest "$UPSTREAM" upstream/skopeo 1)
    skopeo_copy --all "docker://$UPSTREAM/source/skopeo:1" "docker://$UPSTREAM/upstream/skopeo:1"
    new=$(manifest_digest "$UPSTREAM" upstream/skopeo 1)
    skopeo_pull_anew "$PROXIED/upstream/skopeo:1" "$new"
    skopeo_pull_anew "$PROXIED/upstream/skopeo@$old" "$old"
}

skopeo_lists_proxied_tags() {
    local found
    found=$(skopeo_cli list-tags --tls-verify=false "docker://$PROXIED/upstream/skopeo" | jq -c .Tags)
    equal "tags" '["1"]' "$found"
}

skopeo_uses_mirror() {
    local settings
    settings=$(mirror_settings)
    rm -rf "$E2E_FOLDER/skopeo/mirrored"
    skopeo_cli --registries-conf "$settings" copy --all docker://docker.io/upstream/skopeo:1 "dir:$E2E_FOLDER/skopeo/mirrored"
    equal "digest of the index" "$(manifest_digest "$UPSTREAM" upstream/skopeo 1)" \
        "$(digest_of "$E2E_FOLDER/skopeo/mirrored/manifest.json")"
}

skopeo_is_refused() {
    refused '405|unsupported' skopeo_copy --all "docker://$SERVER/skopeo/app:1" "docker://$PROXIED/skopeo/app:1"
    has_status 404 -H "Accept: $MANIFEST_TYPES" "$(url "$UPSTREAM" skopeo/app manifests/1)"
}

skopeo_may_not_delete() {
    refused '405|unsupported' skopeo_cli delete --tls-verify=false "docker://$PROXIED/upstream/skopeo:1"
    same_image "$UPSTREAM" upstream/skopeo 1 "$PROXIED" upstream/skopeo 1
}
