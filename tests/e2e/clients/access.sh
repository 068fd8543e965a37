# shellcheck shell=bash
#
# Who may do what, as clients see it: anonymous pulls beside pushes with a login, everything private, logins that fail, tokens that
# expire in the middle of a push. Every client brings its own way of logging in.

access_checks() {
    local client
    for client in docker podman skopeo buildah containerd; do
        # shellcheck source=/dev/null
        source "$here/clients/$client.sh"
    done
    mkdir -p "$E2E_FOLDER"/{access,docker,podman,buildah,skopeo,containerd}
    start_docker
    start_containerd
    access_server open pull
    check "a server for public pulls and pushes with a login is ready" other_is_ready
    [ -n "$CHECK_PASSED" ] || return 0
    check "users are made by the command, their passwords read from its input" access_users
    check "images are made" access_images
    [ -n "$CHECK_PASSED" ] || return 0
    # It takes two minutes, with tokens of one: it runs beside everything else.
    access_begins_slow_push
    access_public_checks
    access_login_checks
    check "a robot's token pushes where it may, and nowhere else" access_robot
    check "a token that was revoked is good for nothing" access_revokes
    check "immutable tags are neither moved nor deleted" access_immutable
    stop_slow_push
    check "a push of two minutes outlives tokens of one" access_slow_push_went_well
    check "the audit log says who did what, and no password" access_audit
    stop open
    access_server closed none
    check "a server where everything is private is ready" other_is_ready
    check "its users are made" access_users
    access_private_checks
    stop closed
    access_certificate_server
    check "a server that asks for client certificates is ready" access_certificate_is_ready
    check "skopeo pushes and pulls with a certificate, and is who it says; without one it is nobody" access_certificate
    stop certificate
}

# Certificates are made anew for each run: nothing on the disk expires.
access_certificate_server() {
    local folder=$E2E_FOLDER/access/certificates name
    mkdir -p "$folder/node" "$folder/nobody"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj '/CN=authority' \
        -keyout "$folder/ca.key" -out "$folder/ca.pem" 2>/dev/null
    for name in server node-1; do
        openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$name" \
            -keyout "$folder/$name.key" -out "$folder/$name.csr" 2>/dev/null
        openssl x509 -req -in "$folder/$name.csr" -CA "$folder/ca.pem" -CAkey "$folder/ca.key" -CAcreateserial -days 1 \
            -extfile <(echo 'subjectAltName=IP:127.0.0.1') -out "$folder/$name.pem" 2>/dev/null
    done
    cp "$folder/ca.pem" "$folder/nobody/ca.crt"
    cp "$folder/ca.pem" "$folder/node/ca.crt"
    cp "$folder/node-1.pem" "$folder/node/client.cert"
    cp "$folder/node-1.key" "$folder/node/client.key"
    start_other certificate <<SETTINGS
[server.tls]
certificate = "$folder/server.pem"
key = "$folder/server.key"
client_ca = "$folder/ca.pem"

[access]
anonymous = "none"

[[access.rule]]
principals = ["certificate:node-1"]
repositories = ["team/**"]
actions = ["pull", "push"]
SETTINGS
}

access_certificate_is_ready() {
    within 20 curl -fsS --max-time 2 --cacert "$E2E_FOLDER/access/certificates/ca.pem" "https://$OTHER/readyz"
}

access_certificate() {
    local folder=$E2E_FOLDER/access/certificates
    skopeo_cli copy --dest-cert-dir "$folder/node" "dir:$E2E_FOLDER/access/image" "docker://$OTHER/team/app:1"
    rm -rf "$E2E_FOLDER/access/copy"
    skopeo_cli copy --src-cert-dir "$folder/node" "docker://$OTHER/team/app:1" "dir:$E2E_FOLDER/access/copy"
    skopeo_folder_is_whole "$E2E_FOLDER/access/copy"
    refused 'denied|unauthorized|authentication' \
        skopeo_cli copy --src-cert-dir "$folder/nobody" "docker://$OTHER/team/app:1" "dir:$E2E_FOLDER/access/nothing"
    refused 'denied|unauthorized|403' \
        skopeo_cli copy --dest-cert-dir "$folder/node" "dir:$E2E_FOLDER/access/image" "docker://$OTHER/other/app:1"
    grep -q 'certificate:node-1' "$E2E_FOLDER/log/certificate.log"
}

access_server() {
    # Everything that could show a secret is written.
    OTHER_LOG_LEVEL=trace start_other "$1" <<SETTINGS
[access]
anonymous = "$2"
token_lifetime = "1m"

[[access.group]]
name = "developers"
members = ["alice"]

[[access.rule]]
name = "developers"
principals = ["group:developers"]
repositories = ["team/**"]
actions = ["pull", "push", "delete", "catalog"]

[[access.rule]]
name = "readers"
principals = ["bob"]
repositories = ["team/**", "proxy/**"]
actions = ["pull"]

[[access.rule]]
name = "robots"
principals = ["robot:*"]
repositories = ["team/**", "robots/**"]
actions = ["pull", "create"]

[[access.immutable]]
repositories = ["team/**"]
tags = ["v*"]
SETTINGS
}

other_cli() {
    (cd "$OTHER_FOLDER" && timeout 60 "$ENTREPOT" "$@")
}

access_users() {
    local user
    for user in alice bob; do
        printf '%s-password\n' "$user" | other_cli user add "$user" --password-stdin
    done
    contains "$(other_cli user ls)" alice
    # The server takes them up by itself.
    lets_in access_knows alice
    lets_in access_knows bob
}

# lets_in COMMAND…: tries a password until the server knows it, less often than it takes to be taken for somebody who guesses.
lets_in() {
    { local - && set +x; } 2>/dev/null
    local attempt
    for attempt in 1 2 3 4 5; do
        ! "$@" || return 0
        sleep 0.8
    done
    echo "not let in after $attempt attempts: $*"
    return 1
}

access_knows() {
    [ "$(status --user "$1:$1-password" "http://$OTHER/v2/")" = 200 ]
}

access_images() {
    build_folder "$E2E_FOLDER/access/build" 3
    builder bud --quiet --layers --format docker --tag access "$E2E_FOLDER/access/build"
    rm -rf "$E2E_FOLDER/access/image"
    builder push --quiet access "dir:$E2E_FOLDER/access/image"
    builder push --quiet access "docker-archive:$E2E_FOLDER/access/image.tar:access:1"
    docker_cli load --quiet --input "$E2E_FOLDER/access/image.tar"
}

# Every pull here is from a repository that was pushed with a login, by a client that has none.
access_public_checks() {
    check "skopeo pushes with a password" access_skopeo_pushes
    check "docker pulls without a login" access_docker_pulls
    check "podman pulls without a login" access_podman_pulls
    check "buildah pulls without a login" access_buildah_pulls
    check "containerd pulls without a login" access_containerd_pulls
    check "skopeo pulls without a login, also what is another registry's" access_skopeo_pulls
    check "nobody pushes without a login, and each client says why" access_pushes_nothing
}

access_login_checks() {
    check "docker does not log in with a wrong password" access_docker_wrong
    check "docker logs in and pushes" access_docker_pushes
    check "docker pushes nothing after it has logged out" access_docker_logs_out
    check "podman logs in for one path alone, pushes there, and not beside it" access_podman_path
    check "buildah logs in and pushes" access_buildah_pushes
    check "containerd pushes with a user and a password" access_containerd_pushes
    check "a user who may only read is refused when he pushes" access_reader
}

access_private_checks() {
    check "alice pushes what nobody else may see" access_skopeo_pushes
    check "no client pulls it without a login" access_private_refuses
    check "what is not there looks the same to them" access_private_looks_empty
    check "docker pulls it with a login" access_docker_pulls_with_login
    check "podman pulls it with credentials of the command line" access_podman_pulls_with_login
    check "containerd pulls it with a header in its settings" access_containerd_header
    check "the list of repositories shows what may be read" access_catalog
    check "an own image and a cached one are pulled with one login" access_private_proxy
}

access_skopeo_pushes() {
    skopeo_copy --dest-creds alice:alice-password "dir:$E2E_FOLDER/access/image" "docker://$OTHER/team/app:1"
}

access_docker_pulls() {
    docker_cli pull "$OTHER/team/app:1"
}

access_podman_pulls() {
    podman_forget
    podman_pull "$OTHER/team/app:1"
}

access_buildah_pulls() {
    buildah_forget
    buildah_pull "$OTHER/team/app:1"
}

access_containerd_pulls() {
    containerd_forget
    containerd_pull "$OTHER/team/app:1"
}

access_skopeo_pulls() {
    rm -rf "$E2E_FOLDER/access/copy"
    skopeo_copy "docker://$OTHER/team/app:1" "dir:$E2E_FOLDER/access/copy"
    skopeo_folder_is_whole "$E2E_FOLDER/access/copy"
    [ -z "$E2E_WITHOUT_PROXY" ] || return 0
    upstream_image access/other 1 oci
    rm -rf "$E2E_FOLDER/access/copy"
    skopeo_copy "docker://$OTHER/proxy/upstream.test/access/other:1" "dir:$E2E_FOLDER/access/copy"
    skopeo_folder_is_whole "$E2E_FOLDER/access/copy"
}

access_pushes_nothing() {
    docker_cli tag access:1 "$OTHER/team/stolen:1"
    refused 'denied|unauthorized' docker_cli push "$OTHER/team/stolen:1"
    refused 'denied|unauthorized' skopeo_copy "dir:$E2E_FOLDER/access/image" "docker://$OTHER/team/stolen:1"
    podman_forget
    podman_pull "$OTHER/team/app:1"
    podman_cli tag "$OTHER/team/app:1" "$OTHER/team/stolen:1"
    refused 'denied|unauthorized' podman_push "$OTHER/team/stolen:1"
    refused 'denied|unauthorized|insufficient_scope' containerd_push "$OTHER/team/stolen:1" "$OTHER/team/app:1"
    has_status 404 -H "Accept: $MANIFEST_TYPES" "$(url "$OTHER" team/stolen manifests/1)"
}

# docker_login USER PASSWORD
docker_login() {
    printf '%s' "$2" | docker_cli login --username "$1" --password-stdin "$OTHER"
}

access_docker_wrong() {
    refused 'incorrect username or password' docker_login alice wrong
    refused 'incorrect username or password' docker_login nobody wrong
    equal "stored credentials" 0 "$(jq '.auths // {} | length' "$DOCKER_CONFIG/config.json")"
}

access_docker_pushes() {
    docker_login alice alice-password
    docker_cli tag access:1 "$OTHER/team/docker:1"
    docker_cli push "$OTHER/team/docker:1"
    same_image "$OTHER" team/docker 1 "$OTHER" team/docker 1
}

access_docker_logs_out() {
    docker_cli logout "$OTHER"
    docker_cli tag access:1 "$OTHER/team/docker:2"
    refused 'denied|unauthorized' docker_cli push "$OTHER/team/docker:2"
}

# podman keeps credentials for a path: what lies beside it is asked for without.
access_podman_path() {
    local file=$E2E_FOLDER/access/podman.json
    rm -f "$file"
    printf 'alice-password' |
        podman_cli login --tls-verify=false --authfile "$file" --username alice --password-stdin "$OTHER/team/path"
    contains "$(jq -r '.auths | keys[]' "$file")" '/team/path$'
    podman_forget
    podman_pull "$OTHER/team/app:1"
    podman_cli tag "$OTHER/team/app:1" "$OTHER/team/path/app:1"
    podman_cli tag "$OTHER/team/app:1" "$OTHER/team/beside:1"
    podman_push --authfile "$file" "$OTHER/team/path/app:1"
    refused 'denied|unauthorized' podman_push --authfile "$file" "$OTHER/team/beside:1"
    podman_cli logout --authfile "$file" "$OTHER/team/path"
    refused 'denied|unauthorized' podman_push --authfile "$file" "$OTHER/team/path/app:1"
}

access_buildah_pushes() {
    local file=$E2E_FOLDER/access/buildah.json
    rm -f "$file"
    printf 'alice-password' |
        buildah_cli login --tls-verify=false --authfile "$file" --username alice --password-stdin "$OTHER"
    buildah_forget
    buildah_pull "$OTHER/team/app:1"
    buildah_cli tag "$OTHER/team/app:1" "$OTHER/team/buildah:1"
    buildah_push --authfile "$file" "$OTHER/team/buildah:1"
}

access_containerd_pushes() {
    containerd_forget
    containerd_pull "$OTHER/team/app:1"
    containerd_push --user alice:alice-password "$OTHER/team/containerd:1" "$OTHER/team/app:1"
    # What this client says when its push is refused at its end depends on where that meets it.
    refused '' containerd_push --user alice:wrong "$OTHER/team/containerd:2" "$OTHER/team/app:1"
    has_status 404 -H "Accept: $MANIFEST_TYPES" "$(url "$OTHER" team/containerd manifests/2)"
}

access_reader() {
    refused 'denied|unauthorized' \
        skopeo_copy --dest-creds bob:bob-password "dir:$E2E_FOLDER/access/image" "docker://$OTHER/team/app:2"
    has_status 404 -H "Accept: $MANIFEST_TYPES" "$(url "$OTHER" team/app manifests/2)"
}

# The token stands where a password would; its owner's name may be left to a fixed word.
access_robot() {
    local token
    token=$(other_cli token create deploy --robot --repository 'robots/**' --action pull --action push)
    printf '%s' "$token" >"$E2E_FOLDER/access/token"
    skopeo_copy --dest-creds "token:$token" "dir:$E2E_FOLDER/access/image" "docker://$OTHER/robots/app:1"
    # The rules would let robots create here; the token is not made for it.
    refused 'denied|unauthorized' \
        skopeo_copy --dest-creds "token:$token" "dir:$E2E_FOLDER/access/image" "docker://$OTHER/team/robot:1"
    # The token is made for moving tags, too; the rules let robots create alone.
    build_folder "$E2E_FOLDER/access/second" 1
    builder bud --quiet --layers --format docker --tag access-second "$E2E_FOLDER/access/second"
    rm -rf "$E2E_FOLDER/access/second-image"
    builder push --quiet access-second "dir:$E2E_FOLDER/access/second-image"
    refused 'denied|exists' \
        skopeo_copy --dest-creds "token:$token" "dir:$E2E_FOLDER/access/second-image" "docker://$OTHER/robots/app:1"
    contains "$(other_cli token ls)" 'robot:deploy'
}

access_revokes() {
    local id token
    token=$(cat "$E2E_FOLDER/access/token")
    id=$(other_cli token ls --json | jq -er '.. | objects | select(.name? == "deploy") | .id')
    has_status 200 --user "token:$token" "http://$OTHER/v2/"
    other_cli token revoke "$id"
    has_status 401 --user "token:$token" "http://$OTHER/v2/"
    has_status 401 -H "Authorization: Bearer $token" "http://$OTHER/v2/"
}

access_immutable() {
    local digest
    skopeo_copy --dest-creds alice:alice-password "dir:$E2E_FOLDER/access/image" "docker://$OTHER/team/release:v1"
    # The same once more is no move.
    skopeo_copy --dest-creds alice:alice-password "dir:$E2E_FOLDER/access/image" "docker://$OTHER/team/release:v1"
    refused 'denied|exists|moved' skopeo_copy --dest-creds alice:alice-password \
        "dir:$E2E_FOLDER/access/second-image" "docker://$OTHER/team/release:v1"
    digest=$(manifest_digest "$OTHER" team/release v1)
    refused 'denied|immutable|403' skopeo_cli delete --tls-verify=false --creds alice:alice-password "docker://$OTHER/team/release:v1"
    has_status 403 -X DELETE --user alice:alice-password "$(url "$OTHER" team/release "manifests/$digest")"
    equal "digest of the tag" "$digest" "$(manifest_digest "$OTHER" team/release v1)"
}

# Through a pipe of a fixed rate: 48 MiB in about two minutes. Every byte of it is a client's own, from login to tag.
access_begins_slow_push() {
    local folder=$E2E_FOLDER/access/slow
    SLOW=127.0.0.1:$(free_port)
    build_folder "$folder" 48
    builder bud --quiet --layers --tag access-slow "$folder" >/dev/null
    rm -rf "$folder-image"
    builder push --quiet access-slow "dir:$folder-image"
    printf '#!/bin/sh\npv --quiet --rate-limit 400k --buffer-size 64k | socat - TCP:%s\n' "$OTHER" >"$folder/link"
    chmod +x "$folder/link"
    start slow-link socat "TCP-LISTEN:${SLOW##*:},bind=127.0.0.1,fork,reuseaddr" "EXEC:$folder/link"
    SLOW_BEGAN=$SECONDS
    start slow-push skopeo --tmpdir "$TMPDIR" copy --dest-tls-verify=false --dest-creds alice:alice-password \
        "dir:$folder-image" "docker://$SLOW/team/slow:1"
    SLOW_PUSH=${PROCESS[slow-push]}
}

# The push is a process of ours like any other: only here its status can be read.
stop_slow_push() {
    SLOW_STATUS=0
    wait "$SLOW_PUSH" || SLOW_STATUS=$?
    unset "PROCESS[slow-push]"
    SLOW_TOOK=$((SECONDS - SLOW_BEGAN))
    stop slow-link
}

access_slow_push_went_well() {
    equal "status of the push" 0 "$SLOW_STATUS" || {
        tail -n 5 "$E2E_FOLDER/log/slow-push.log"
        return 1
    }
    [ "$SLOW_TOOK" -ge 100 ] || {
        echo "it took $SLOW_TOOK s only, so that no token has expired"
        return 1
    }
    manifest_digest "$OTHER" team/slow 1
}

access_audit() {
    local log=$E2E_FOLDER/log/open.log
    grep -q 'alice' "$log"
    grep -Eq 'denied' "$log"
    access_log_shows_no "alice-password"
    access_log_shows_no "$(printf 'alice:alice-password' | base64)"
    access_log_shows_no "$(cut -d_ -f3 "$E2E_FOLDER/access/token")"
    # What a signed token begins with.
    access_log_shows_no eyJ
}

access_log_shows_no() {
    equal "lines of the log with a secret" 0 "$(grep -c -F -e "$1" "$E2E_FOLDER/log/open.log" || true)"
}

access_private_refuses() {
    docker_cli image rm --force "$OTHER/team/app:1" >/dev/null 2>&1 || true
    refused 'denied|unauthorized' docker_cli pull "$OTHER/team/app:1"
    refused 'denied|unauthorized|authentication' podman_pull "$OTHER/team/app:1"
    refused 'denied|unauthorized|authentication' buildah_pull "$OTHER/team/app:1"
    refused 'denied|unauthorized|insufficient_scope|401|403' containerd_pull "$OTHER/team/app:1"
    refused 'denied|unauthorized|authentication' skopeo_copy "docker://$OTHER/team/app:1" "dir:$E2E_FOLDER/access/nothing"
}

# Byte for byte, but for what each answer says of its own request.
access_private_looks_empty() {
    local name
    for name in team/app team/nothing; do
        curl -sS --max-time 10 -i "$(url "$OTHER" "$name" manifests/1)" |
            sed -E "s#$name#NAME#g; s/\(request [^)]*\)//; /^(date|x-request-id|content-length):/Id" >"$E2E_FOLDER/access/${name##*/}.answer"
    done
    diff "$E2E_FOLDER/access/app.answer" "$E2E_FOLDER/access/nothing.answer"
}

access_docker_pulls_with_login() {
    docker_login bob bob-password
    docker_cli pull "$OTHER/team/app:1"
    docker_cli logout "$OTHER"
}

access_podman_pulls_with_login() {
    podman_forget
    podman_pull --creds bob:bob-password "$OTHER/team/app:1"
}

# As nodes of a cluster are given an account: a header in the settings of the host.
access_containerd_header() {
    local folder=$E2E_FOLDER/access/hosts
    mkdir -p "$folder/$OTHER"
    cat >"$folder/$OTHER/hosts.toml" <<SETTINGS
server = "http://$OTHER"
[host."http://$OTHER"]
capabilities = ["pull", "resolve"]
[host."http://$OTHER".header]
Authorization = ["Basic $(printf 'bob:bob-password' | base64)"]
SETTINGS
    containerd_forget
    ctr_cli images pull --hosts-dir "$folder" --plain-http --snapshotter native "$OTHER/team/app:1"
}

access_catalog() {
    equal "what alice may list" '["team/app"]' \
        "$(get --user alice:alice-password "http://$OTHER/v2/_catalog" | jq -c .repositories)"
    has_status 403 --user bob:bob-password "http://$OTHER/v2/_catalog"
    has_status 401 "http://$OTHER/v2/_catalog"
}

access_private_proxy() {
    [ -z "$E2E_WITHOUT_PROXY" ] || return 0
    refused 'denied|unauthorized|authentication' \
        skopeo_copy "docker://$OTHER/proxy/upstream.test/access/other:1" "dir:$E2E_FOLDER/access/nothing"
    rm -rf "$E2E_FOLDER/access/copy"
    skopeo_copy --src-creds bob:bob-password "docker://$OTHER/proxy/upstream.test/access/other:1" "dir:$E2E_FOLDER/access/copy"
    skopeo_folder_is_whole "$E2E_FOLDER/access/copy"
}
