# shellcheck shell=bash
#
# curl: the protocol itself, where the other clients show only that they are content.

OCI_MANIFEST=application/vnd.oci.image.manifest.v1+json
OCI_INDEX=application/vnd.oci.image.index.v1+json

curl_checks() {
    mkdir -p "$E2E_FOLDER/curl"
    build_folder "$E2E_FOLDER/curl/layers" 2
    check "is answered at the root of the API without credentials" curl_finds_root
    check "uploads a blob in one request, and reads the same bytes back" curl_uploads_whole
    check "uploads a blob in pieces, told each time how far it came" curl_uploads_pieces
    check "is refused a blob under a wrong digest, and nothing is kept of it" curl_uploads_wrong
    check "cancels an upload" curl_cancels
    check "pushes a manifest, and reads it byte for byte by tag and by digest" curl_pushes_manifest
    check "is refused a manifest that names a missing layer" curl_names_missing
    check "mounts a blob from another repository" curl_mounts
    check "is told in JSON what is unknown" curl_asks_unknown
    if [ -z "$E2E_STAND_IN" ]; then
        check "is refused a piece that leaves a gap, and told where to go on" curl_leaves_gap
        check "reads ranges of a blob" curl_reads_ranges
        check "pages through the tags" curl_pages_tags
        check "attaches an artifact to an image, and finds it among the referrers" curl_attaches
        check "finds referrers by their type only" curl_filters_referrers
        check "no longer finds a referrer that was deleted" curl_deletes_referrer
        check "deletes a tag and keeps the manifest" curl_deletes_tag
        check "reads the metrics, which are not on the main port" curl_reads_metrics
    else
        skipped "gaps, ranges beyond the end, pages of tags, referrers, deletion of tags: the stand-in has none of these"
    fi
    check "deletes a manifest with all its tags" curl_deletes_manifest
    check "deletes a blob" curl_deletes_blob

    curl_proxied_checks
}

curl_proxied_checks() {
    [ -z "$E2E_WITHOUT_PROXY" ] || {
        skipped "pulls of another registry's images"
        return 0
    }
    proxied_checks curl_pull_anew upstream/curl oci
    check "gets the same headers for a manifest cold and warm" curl_compares_headers
    check "reads a range of a proxied blob, cold" curl_reads_proxied_range
    check "cannot write or delete under a proxied name" curl_is_refused
    check "is told that the upstream has no such image" curl_asks_upstream_unknown
    check "cannot reach a loopback registry that is not listed" curl_asks_unlisted
    check "asks for referrers of a proxied image" curl_asks_proxied_referrers
    stop_upstream
    check "is warned that a tag may be out of date while the upstream is stopped" curl_is_warned
    check "is told which upstream is away when nothing is cached" curl_misses_upstream
    start_upstream
}

# Small helpers of this file: SERVER/v2/curl/app/REST.

at() {
    { local - && set +x; } 2>/dev/null
    url "$SERVER" "${2:-curl/app}" "$1"
}

# begin_upload: the address of a new upload.
begin_upload() {
    local headers
    headers=$(get --dump-header - -o "$E2E_FOLDER/answer" -X POST "$(at blobs/uploads/)")
    absolute "$(header location <<<"$headers")"
}

# A Location may leave out the host.
absolute() {
    { local - && set +x; } 2>/dev/null
    case $1 in
        http*) echo "$1" ;;
        *) echo "http://$SERVER$1" ;;
    esac
}

# with_query URL QUERY: the address of an upload may come with a query already.
with_query() {
    { local - && set +x; } 2>/dev/null
    case $1 in
        *\?*) echo "$1&$2" ;;
        *) echo "$1?$2" ;;
    esac
}

# upload FILE: the whole way of a blob, in two requests. Says its digest.
upload() {
    local digest location
    digest=$(digest_of "$1")
    location=$(begin_upload)
    has_status 201 -X PUT -H 'Content-Type: application/octet-stream' --data-binary "@$1" \
        "$(with_query "$location" "digest=$digest")"
    echo "$digest"
}

# descriptor TYPE FILE
descriptor() {
    { local - && set +x; } 2>/dev/null
    jq -nc --arg type "$1" --arg digest "$(digest_of "$2")" --argjson size "$(stat -c %s "$2")" \
        '{mediaType: $type, digest: $digest, size: $size}'
}

# put_manifest REFERENCE FILE [TYPE]
put_manifest() {
    has_status 201 -X PUT -H "Content-Type: ${3:-$OCI_MANIFEST}" --data-binary "@$2" "$(at "manifests/$1")"
}

# An image of this file's layers, with a configuration that makes every call's manifest another one.
write_image() {
    local config=$E2E_FOLDER/curl/config.json layers=$E2E_FOLDER/curl/layers
    jq -nc --arg salt "$RANDOM$RANDOM" '{architecture: "amd64", os: "linux", config: {Labels: {salt: $salt}},
        rootfs: {type: "layers", diff_ids: []}}' >"$config"
    upload "$config"
    upload "$layers/large"
    upload "$layers/small"
    jq -nc --arg type "$OCI_MANIFEST" \
        --argjson config "$(descriptor application/vnd.oci.image.config.v1+json "$config")" \
        --argjson large "$(descriptor application/vnd.oci.image.layer.v1.tar "$layers/large")" \
        --argjson small "$(descriptor application/vnd.oci.image.layer.v1.tar "$layers/small")" \
        '{schemaVersion: 2, mediaType: $type, config: $config, layers: [$large, $small]}' >"$1"
}

curl_finds_root() {
    has_status 200 "http://$SERVER/v2/"
}

curl_uploads_whole() {
    local file=$E2E_FOLDER/curl/layers/large digest headers
    digest=$(upload "$file")
    digest=${digest##*$'\n'}
    get -o "$E2E_FOLDER/curl/back" "$(at "blobs/$digest")"
    cmp "$file" "$E2E_FOLDER/curl/back"
    headers=$(get --head "$(at "blobs/$digest")")
    equal "Content-Length" "$(stat -c %s "$file")" "$(header content-length <<<"$headers")"
    equal "Docker-Content-Digest" "$digest" "$(header docker-content-digest <<<"$headers")"
}

curl_uploads_pieces() {
    local file=$E2E_FOLDER/curl/pieces location headers digest
    head -c 3M /dev/urandom >"$file"
    digest=$(digest_of "$file")
    location=$(begin_upload)
    split -b 1M "$file" "$file."
    headers=$(send_piece "$location" "$file.aa" 0-1048575)
    equal "Range" 0-1048575 "$(header range <<<"$headers")"
    location=$(absolute "$(header location <<<"$headers")")
    headers=$(send_piece "$location" "$file.ab" 1048576-2097151)
    equal "Range" 0-2097151 "$(header range <<<"$headers")"
    location=$(absolute "$(header location <<<"$headers")")
    headers=$(get --head -X GET "$location")
    equal "Range of the upload's state" 0-2097151 "$(header range <<<"$headers")"
    location=$(absolute "$(header location <<<"$headers")")
    has_status 201 -X PUT -H 'Content-Type: application/octet-stream' -H 'Content-Range: 2097152-3145727' \
        --data-binary "@$file.ac" "$(with_query "$location" "digest=$digest")"
    get -o "$E2E_FOLDER/curl/back" "$(at "blobs/$digest")"
    cmp "$file" "$E2E_FOLDER/curl/back"
}

# send_piece LOCATION FILE RANGE
send_piece() {
    get --dump-header - -o "$E2E_FOLDER/answer" -X PATCH -H 'Content-Type: application/octet-stream' \
        -H "Content-Range: $3" --data-binary "@$2" "$1"
}

curl_leaves_gap() {
    local file=$E2E_FOLDER/curl/layers/small location headers
    location=$(begin_upload)
    headers=$(curl -sS --dump-header - -o "$E2E_FOLDER/answer" -X PATCH -H 'Content-Type: application/octet-stream' \
        -H 'Content-Range: 1000-1999' --data-binary "@$file" "$location")
    contains "$headers" '^HTTP/1.1 416 '
    equal "Range" 0-0 "$(header range <<<"$headers")"
    contains "$(header location <<<"$headers")" /blobs/uploads/
}

curl_uploads_wrong() {
    local file=$E2E_FOLDER/curl/wrong location digest
    head -c 1000 /dev/urandom >"$file"
    digest=$(digest_of "$file")
    location=$(begin_upload)
    echo more >>"$file"
    has_status 400 -X PUT -H 'Content-Type: application/octet-stream' --data-binary "@$file" \
        "$(with_query "$location" "digest=$digest")"
    is_error DIGEST_INVALID
    has_status 404 "$(at "blobs/$digest")"
    has_status 404 "$(at "blobs/$(digest_of "$file")")"
}

# is_error CODE: the answer just read is an error document with this code.
is_error() {
    equal "error code" "$1" "$(jq -er '.errors[0].code' "$E2E_FOLDER/answer")"
}

curl_cancels() {
    local location
    location=$(begin_upload)
    has_status 204 -X DELETE "$location"
    has_status 404 "$location"
}

curl_pushes_manifest() {
    local file=$E2E_FOLDER/curl/manifest.json digest reference headers
    write_image "$file"
    digest=$(digest_of "$file")
    put_manifest 1 "$file"
    put_manifest stable "$file"
    for reference in 1 stable "$digest"; do
        get --dump-header "$E2E_FOLDER/headers" -o "$E2E_FOLDER/curl/back" -H "Accept: $MANIFEST_TYPES" "$(at "manifests/$reference")"
        cmp "$file" "$E2E_FOLDER/curl/back"
        headers=$(get --head -H "Accept: $MANIFEST_TYPES" "$(at "manifests/$reference")")
        equal "Content-Type" "$OCI_MANIFEST" "$(header content-type <<<"$headers")"
        equal "Content-Length" "$(stat -c %s "$file")" "$(header content-length <<<"$headers")"
        equal "Docker-Content-Digest" "$digest" "$(header docker-content-digest <<<"$headers")"
        equal "Docker-Content-Digest of a GET" "$digest" "$(header docker-content-digest <"$E2E_FOLDER/headers")"
    done
}

curl_names_missing() {
    local file=$E2E_FOLDER/curl/missing.json found
    jq -c '.layers[0].digest = "sha256:" + ("0123456789abcdef" * 4)' "$E2E_FOLDER/curl/manifest.json" >"$file"
    found=$(status -X PUT -H "Content-Type: $OCI_MANIFEST" --data-binary "@$file" "$(at manifests/missing)")
    contains "$found" '^(400|404)$'
    is_error MANIFEST_BLOB_UNKNOWN
    has_status 404 "$(at manifests/missing)"
}

curl_reads_ranges() {
    local file=$E2E_FOLDER/curl/layers/large size
    size=$(stat -c %s "$file")
    range_is "$file" 0-99 0 99
    range_is "$file" 1000000- 1000000 $((size - 1))
    range_is "$file" -100 $((size - 100)) $((size - 1))
    has_status 416 -H "Range: bytes=$size-" "$(at "blobs/$(digest_of "$file")")"
}

# range_is FILE RANGE FIRST LAST
range_is() {
    local headers
    headers=$(get --dump-header - -o "$E2E_FOLDER/curl/back" -H "Range: bytes=$2" "$(at "blobs/$(digest_of "$1")")")
    contains "$headers" '^HTTP/1.1 206 '
    equal "Content-Range" "bytes $3-$4/$(stat -c %s "$1")" "$(header content-range <<<"$headers")"
    tail -c "+$(($3 + 1))" "$1" | head -c $(($4 - $3 + 1)) >"$E2E_FOLDER/curl/wanted" || true
    cmp "$E2E_FOLDER/curl/wanted" "$E2E_FOLDER/curl/back"
}

curl_mounts() {
    local digest
    digest=$(digest_of "$E2E_FOLDER/curl/layers/large")
    has_status 404 "$(at "blobs/$digest" curl/mounted)"
    has_status 201 -X POST "$(at "blobs/uploads/?mount=$digest&from=curl/app" curl/mounted)"
    has_status 200 --head "$(at "blobs/$digest" curl/mounted)"
    # Nothing to mount is no error: an ordinary upload begins.
    has_status 202 -X POST "$(at "blobs/uploads/?mount=$(digest_of /dev/null)&from=curl/app" curl/mounted)"
}

curl_asks_unknown() {
    has_status 404 "$(at manifests/none)"
    is_error MANIFEST_UNKNOWN
    has_status 404 "$(at "blobs/sha256:$(printf '0%.0s' {1..64})")"
    is_error BLOB_UNKNOWN
    has_status 404 "$(at tags/list curl/none)"
    is_error NAME_UNKNOWN
}

curl_pages_tags() {
    local headers found next
    equal "tags" '["1","stable"]' "$(get "$(at tags/list)" | jq -c .tags)"
    headers=$(get --dump-header - -o "$E2E_FOLDER/answer" "$(at 'tags/list?n=1')")
    equal "first page" '["1"]' "$(jq -c .tags "$E2E_FOLDER/answer")"
    contains "$(header link <<<"$headers")" 'rel="next"'
    next=$(header link <<<"$headers" | sed 's/^<\([^>]*\)>.*/\1/')
    found=$(get "$(absolute "$next")" | jq -c .tags)
    equal "second page" '["stable"]' "$found"
}

# attach FILE ARTIFACT_TYPE: an artifact whose subject is the image `1`, written to FILE and pushed by its digest.
attach() {
    local empty=$E2E_FOLDER/curl/empty.json layer=$E2E_FOLDER/curl/artifact digest headers
    printf '{}' >"$empty"
    head -c 500 /dev/urandom >"$layer"
    upload "$empty"
    upload "$layer"
    jq -nc --arg type "$OCI_MANIFEST" --arg artifact "$2" \
        --argjson config "$(descriptor application/vnd.oci.empty.v1+json "$empty")" \
        --argjson layer "$(descriptor application/octet-stream "$layer")" \
        --argjson subject "$(descriptor "$OCI_MANIFEST" "$E2E_FOLDER/curl/manifest.json")" \
        '{schemaVersion: 2, mediaType: $type, artifactType: $artifact, config: $config, layers: [$layer],
            subject: $subject, annotations: {made: "here"}}' >"$1"
    digest=$(digest_of "$1")
    headers=$(get --dump-header - -o "$E2E_FOLDER/answer" -X PUT -H "Content-Type: $OCI_MANIFEST" \
        --data-binary "@$1" "$(at "manifests/$digest")")
    equal "OCI-Subject" "$(digest_of "$E2E_FOLDER/curl/manifest.json")" "$(header oci-subject <<<"$headers")"
}

referrers() {
    get --dump-header "$E2E_FOLDER/headers" "$(at "referrers/$(digest_of "$E2E_FOLDER/curl/manifest.json")${1:-}")"
}

curl_attaches() {
    local file=$E2E_FOLDER/curl/signature.json found
    equal "referrers before" '[]' "$(referrers | jq -c .manifests)"
    attach "$file" application/vnd.test.signature
    found=$(referrers)
    equal "Content-Type" "$OCI_INDEX" "$(header content-type <"$E2E_FOLDER/headers")"
    equal "referrers" "$(digest_of "$file")" "$(jq -r '.manifests[].digest' <<<"$found")"
    equal "type" application/vnd.test.signature "$(jq -r '.manifests[0].artifactType' <<<"$found")"
    equal "size" "$(stat -c %s "$file")" "$(jq -r '.manifests[0].size' <<<"$found")"
    equal "annotation" here "$(jq -r '.manifests[0].annotations.made' <<<"$found")"
}

curl_filters_referrers() {
    local file=$E2E_FOLDER/curl/bill.json found
    attach "$file" application/vnd.test.bill
    equal "number of referrers" 2 "$(referrers | jq '.manifests | length')"
    found=$(referrers '?artifactType=application/vnd.test.bill')
    equal "OCI-Filters-Applied" artifactType "$(header oci-filters-applied <"$E2E_FOLDER/headers")"
    equal "referrers of that type" "$(digest_of "$file")" "$(jq -r '.manifests[].digest' <<<"$found")"
}

curl_deletes_referrer() {
    has_status 202 -X DELETE "$(at "manifests/$(digest_of "$E2E_FOLDER/curl/bill.json")")"
    equal "referrers" "$(digest_of "$E2E_FOLDER/curl/signature.json")" "$(referrers | jq -r '.manifests[].digest')"
}

curl_deletes_tag() {
    local digest
    digest=$(digest_of "$E2E_FOLDER/curl/manifest.json")
    has_status 202 -X DELETE "$(at manifests/stable)"
    has_status 404 "$(at manifests/stable)"
    has_status 200 -H "Accept: $MANIFEST_TYPES" "$(at "manifests/$digest")"
    has_status 200 -H "Accept: $MANIFEST_TYPES" "$(at manifests/1)"
}

curl_reads_metrics() {
    has_status 200 "http://$METRICS/metrics"
    grep -q '^# TYPE ' "$E2E_FOLDER/answer"
    has_status 404 "http://$SERVER/metrics"
}

curl_deletes_manifest() {
    local file=$E2E_FOLDER/curl/deleted.json
    write_image "$file"
    put_manifest gone "$file"
    put_manifest gone-too "$file"
    delete_manifest curl/app gone
    has_status 404 -H "Accept: $MANIFEST_TYPES" "$(at manifests/gone-too)"
    has_status 404 -H "Accept: $MANIFEST_TYPES" "$(at "manifests/$(digest_of "$file")")"
    has_status 404 -X DELETE "$(at "manifests/$(digest_of "$file")")"
}

curl_deletes_blob() {
    local file=$E2E_FOLDER/curl/deleted digest
    head -c 1000 /dev/urandom >"$file"
    upload "$file"
    digest=$(digest_of "$file")
    has_status 202 -X DELETE "$(at "blobs/$digest")"
    has_status 404 "$(at "blobs/$digest")"
}

# curl_pull_anew REFERENCE DIGEST: the way of every client: the index, this platform's manifest, its blobs.
curl_pull_anew() {
    local rest=${1#"$PROXIED"/} folder=$E2E_FOLDER/curl/pulled repository reference child blob blobs
    case $rest in
        *@*) repository=${rest%@*} reference=${rest#*@} ;;
        *) repository=${rest%:*} reference=${rest##*:} ;;
    esac
    rm -rf "$folder"
    mkdir -p "$folder"
    manifest "$PROXIED" "$repository" "$reference" >"$folder/index"
    equal "digest of the index" "$2" "$(digest_of "$folder/index")"
    child=$(jq -er '.manifests[] | select(.platform.architecture == "amd64") | .digest' "$folder/index")
    manifest "$PROXIED" "$repository" "$child" >"$folder/manifest"
    equal "digest of the manifest" "$child" "$(digest_of "$folder/manifest")"
    blobs=$(jq -er '.config.digest, .layers[].digest' "$folder/manifest")
    for blob in $blobs; do
        get -o "$folder/blob" "$(url "$PROXIED" "$repository" "blobs/$blob")"
        equal "digest of the blob" "$blob" "$(digest_of "$folder/blob")"
    done
}

curl_compares_headers() {
    local address cold warm name
    address=$(url "$PROXIED" upstream/headers manifests/1)
    upstream_image upstream/headers 1 oci
    cold=$(get --head -H "Accept: $MANIFEST_TYPES" "$address")
    get -o "$E2E_FOLDER/answer" -H "Accept: $MANIFEST_TYPES" "$address"
    warm=$(get --head -H "Accept: $MANIFEST_TYPES" "$address")
    for name in content-type content-length docker-content-digest; do
        contains "$(header "$name" <<<"$cold")" .
        equal "$name" "$(header "$name" <<<"$cold")" "$(header "$name" <<<"$warm")"
    done
}

curl_reads_proxied_range() {
    local index child layer size
    child=$(index_children "$UPSTREAM" upstream/headers 1 | head -n 1)
    layer=$(manifest "$UPSTREAM" upstream/headers "$child" | jq -er '.layers[0].digest')
    get -o "$E2E_FOLDER/curl/whole" "$(url "$UPSTREAM" upstream/headers "blobs/$layer")"
    manifest "$PROXIED" upstream/headers "$child" >/dev/null
    size=$(stat -c %s "$E2E_FOLDER/curl/whole")
    get -o "$E2E_FOLDER/curl/back" -H "Range: bytes=$((size - 1000))-" "$(url "$PROXIED" upstream/headers "blobs/$layer")"
    tail -c 1000 "$E2E_FOLDER/curl/whole" >"$E2E_FOLDER/curl/wanted"
    cmp "$E2E_FOLDER/curl/wanted" "$E2E_FOLDER/curl/back"
    get -o "$E2E_FOLDER/curl/back" "$(url "$PROXIED" upstream/headers "blobs/$layer")"
    cmp "$E2E_FOLDER/curl/whole" "$E2E_FOLDER/curl/back"
}

curl_is_refused() {
    local digest
    digest=$(manifest_digest "$PROXIED" upstream/curl 1)
    has_status 405 -X POST "$(url "$PROXIED" upstream/curl blobs/uploads/)"
    is_error UNSUPPORTED
    has_status 405 -X PUT -H "Content-Type: $OCI_MANIFEST" --data-binary '{}' "$(url "$PROXIED" upstream/curl manifests/2)"
    is_error UNSUPPORTED
    has_status 405 -X DELETE "$(url "$PROXIED" upstream/curl "manifests/$digest")"
    is_error UNSUPPORTED
    has_status 405 -X DELETE "$(url "$PROXIED" upstream/curl manifests/1)"
    same_image "$UPSTREAM" upstream/curl 1 "$PROXIED" upstream/curl 1
}

curl_asks_upstream_unknown() {
    has_status 404 -H "Accept: $MANIFEST_TYPES" "$(url "$PROXIED" upstream/curl manifests/none)"
    contains "$(jq -er '.errors[0].code' "$E2E_FOLDER/answer")" '^(MANIFEST|NAME)_UNKNOWN$'
    has_status 404 -H "Accept: $MANIFEST_TYPES" "$(url "$PROXIED" upstream/none manifests/1)"
    contains "$(jq -er '.errors[0].code' "$E2E_FOLDER/answer")" '^(MANIFEST|NAME)_UNKNOWN$'
}

# A name that means this very machine must not lead to it: only what is listed may be on a loopback address.
curl_asks_unlisted() {
    local found mark
    mark=$(upstream_mark)
    found=$(status -H "Accept: $MANIFEST_TYPES" "http://$SERVER/v2/proxy/localhost/upstream/curl/manifests/1")
    contains "$found" '^(400|403|404)$'
    jq -er '.errors[0].message' "$E2E_FOLDER/answer"
    equal "requests to the upstream" 0 "$(upstream_requests "$mark" '"[A-Z]+ ')"
}

# The upstream knows no referrers API; the server does.
curl_asks_proxied_referrers() {
    local digest
    digest=$(manifest_digest "$UPSTREAM" upstream/curl 1)
    equal "referrers" '[]' "$(get "$(url "$PROXIED" upstream/curl "referrers/$digest")" | jq -c .manifests)"
}

curl_is_warned() {
    local headers
    headers=$(get --head -H "Accept: $MANIFEST_TYPES" "$(url "$PROXIED" upstream/curl manifests/1)")
    contains "$(header warning <<<"$headers")" '^[0-9]{3} '
}

curl_misses_upstream() {
    local found
    found=$(status -H "Accept: $MANIFEST_TYPES" "$(url "$PROXIED" upstream/never manifests/1)")
    contains "$found" '^(502|503|504)$'
    contains "$(jq -er '.errors[0].message' "$E2E_FOLDER/answer")" 'upstream\.test'
}
