# shellcheck shell=bash
#
# The recipes of docs/recipes, as they stand there: their files, at their addresses, with real clients. Only what cannot be the same
# in a test is replaced: the issuer of another company, and the answers that people type.

recipes_checks() {
    local client
    [ -z "${E2E_IN_PLACE:-}" ] || {
        skipped "recipes: without namespaces their addresses belong to this machine"
        return 0
    }
    for client in docker podman skopeo access; do
        # shellcheck source=/dev/null
        source "$here/clients/$client.sh"
    done
    mkdir -p "$E2E_FOLDER"/{recipes,podman,skopeo}
    DOMAIN=registry.example.org
    recipes_domain
    start_docker
    check "images are made" recipes_images
    recipe_home
    recipe_team
    recipe_ci
}

# recipe_block PAGE NAME: the block below the line that is the name of a file.
recipe_block() {
    awk -v name="**\`$2\`**" '
        index($0, name) == 1 { found = 1; next }
        found && /^```/ { if (inside) exit; inside = 1; next }
        inside { print }
    ' "$here/../../docs/recipes/$1.md"
}

# A name, and a certificate for it that every client trusts.
recipes_domain() {
    local folder=$E2E_FOLDER/recipes
    cp /etc/hosts "$folder/hosts"
    echo "127.0.0.1 $DOMAIN" >>"$folder/hosts"
    mount --bind "$folder/hosts" /etc/hosts
    mkdir -p "$folder/ssl" "$folder/certs.d/$DOMAIN" "$folder/docker-certs/$DOMAIN"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj '/CN=recipes authority' \
        -keyout "$folder/ca.key" -out "$folder/ca.crt" 2>/dev/null
    recipes_certificate
    cp "$folder/ca.crt" "$folder/certs.d/$DOMAIN/ca.crt"
    # Where the engine looks is fixed; ours is laid over it.
    mkdir -p /etc/docker/certs.d
    mount -t tmpfs tmpfs /etc/docker/certs.d
    mkdir -p "/etc/docker/certs.d/$DOMAIN"
    cp "$folder/ca.crt" "/etc/docker/certs.d/$DOMAIN/ca.crt"
}

recipes_certificate() {
    local folder=$E2E_FOLDER/recipes
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$DOMAIN" \
        -keyout "$folder/new.key" -out "$folder/new.csr" 2>/dev/null
    openssl x509 -req -in "$folder/new.csr" -CA "$folder/ca.crt" -CAkey "$folder/ca.key" -CAcreateserial -days 1 \
        -extfile <(echo "subjectAltName=DNS:$DOMAIN") -out "$folder/new.crt" 2>/dev/null
    mv "$folder/new.key" "$folder/ssl/$DOMAIN.key"
    mv "$folder/new.crt" "$folder/ssl/$DOMAIN.pem"
}

recipes_images() {
    build_folder "$E2E_FOLDER/recipes/build" 2
    builder bud --quiet --layers --format docker --tag recipe "$E2E_FOLDER/recipes/build"
    rm -rf "$E2E_FOLDER/recipes/image"
    builder push --quiet recipe "dir:$E2E_FOLDER/recipes/image"
    builder push --quiet recipe "docker-archive:$E2E_FOLDER/recipes/image.tar:recipe:1"
    docker_cli load --quiet --input "$E2E_FOLDER/recipes/image.tar"
}

# recipe_server PAGE [SED EXPRESSION…]: a server with the configuration of the page, and nothing else.
recipe_server() {
    local page=$1
    shift
    RECIPE=$E2E_FOLDER/recipes/$page
    mkdir -p "$RECIPE"
    recipe_block "$page" configuration.toml |
        sed "s#/etc/ssl/#$E2E_FOLDER/recipes/ssl/#" | sed "${@:-;}" >"$RECIPE/configuration.toml"
    start "recipe-$page" env --chdir="$RECIPE" "$ENTREPOT"
}

recipe_cli() {
    (cd "$RECIPE" && timeout 60 "$ENTREPOT" "$@")
}

# recipe_is_ready URL
recipe_is_ready() {
    within 20 curl -fsS --max-time 2 --cacert "$E2E_FOLDER/recipes/ca.crt" "$1/readyz"
}

recipe_user() {
    printf '%s-password\n' "$1" | recipe_cli user add "$1" --password-stdin
    lets_in recipe_knows "$1"
}

recipe_knows() {
    [ "$(status --cacert "$E2E_FOLDER/recipes/ca.crt" --user "$1:$1-password" "https://$DOMAIN/v2/")" = 200 ]
}

recipe_skopeo() {
    skopeo_cli copy --src-cert-dir "$E2E_FOLDER/recipes/certs.d/$DOMAIN" --dest-cert-dir "$E2E_FOLDER/recipes/certs.d/$DOMAIN" "$@"
}

recipe_login() {
    printf '%s' "$2" | docker_cli login --username "$1" --password-stdin "$DOMAIN"
}

recipe_push() {
    docker_cli tag recipe:1 "$DOMAIN/$1"
    docker_cli push "$DOMAIN/$1"
}

# The home server.

recipe_home() {
    recipe_server home-server
    recipe_nginx
    check "home server: is ready behind its reverse proxy" recipe_is_ready "https://$DOMAIN"
    [ -n "$CHECK_PASSED" ] || return 0
    check "home server: a user is made" recipe_user me
    check "home server: docker logs in through the proxy and pushes" recipe_home_pushes
    check "home server: nobody sees anything without a login" recipe_home_is_private
    check "home server: guesses are counted against the client, not the proxy" recipe_home_counts_guesses
    stop nginx
    stop recipe-home-server
}

recipe_nginx() {
    local folder=$E2E_FOLDER/recipes/nginx
    mkdir -p "$folder"
    {
        echo "pid $folder/pid; error_log stderr; daemon off; worker_processes 1; user root;"
        echo "events { worker_connections 256; }"
        echo "http { access_log off; client_body_temp_path $folder; proxy_temp_path $folder;"
        recipe_block home-server nginx.conf | sed "s#/etc/ssl/#$E2E_FOLDER/recipes/ssl/#"
        echo "}"
    } >"$folder/nginx.conf"
    start nginx nginx -e stderr -p "$folder" -c "$folder/nginx.conf"
}

recipe_home_pushes() {
    recipe_login me me-password
    recipe_push team/hello:1
    docker_cli rmi "$DOMAIN/team/hello:1"
    docker_cli pull "$DOMAIN/team/hello:1"
    docker_cli logout "$DOMAIN"
}

recipe_home_is_private() {
    docker_cli rmi "$DOMAIN/team/hello:1"
    refused 'denied|unauthorized' docker_cli pull "$DOMAIN/team/hello:1"
    has_status 401 --cacert "$E2E_FOLDER/recipes/ca.crt" "https://$DOMAIN/v2/_catalog"
    has_status 401 --cacert "$E2E_FOLDER/recipes/ca.crt" "https://$DOMAIN/api/v1/cache/stats"
}

# Another client behind the same proxy: nginx tells 127.0.0.2 from 127.0.0.1.
recipe_home_counts_guesses() {
    local count
    for count in $(seq 15); do
        status --cacert "$E2E_FOLDER/recipes/ca.crt" --interface 127.0.0.2 --user "me:guess-$count" "https://$DOMAIN/v2/"
    done
    has_status 429 --cacert "$E2E_FOLDER/recipes/ca.crt" --interface 127.0.0.2 --user me:one-more "https://$DOMAIN/v2/"
    has_status 200 --cacert "$E2E_FOLDER/recipes/ca.crt" --user me:me-password "https://$DOMAIN/v2/"
}

# The team.

recipe_team() {
    recipe_server team
    check "team: is ready, with a certificate of its own" recipe_is_ready "https://$DOMAIN"
    [ -n "$CHECK_PASSED" ] || return 0
    check "team: users are made" recipe_team_users
    check "team: a developer logs in with docker and pushes" recipe_team_pushes
    check "team: everybody pulls, without a login" recipe_team_pulls
    check "team: the robot makes new tags and moves none" recipe_team_robot
    check "team: a release does not change any more" recipe_team_release
    check "team: a renewed certificate is taken up while the server runs" recipe_team_renews
    check "team: a user who is removed is out" recipe_team_removes
    stop recipe-team
}

recipe_team_users() {
    recipe_user alice
    recipe_user bob
}

recipe_team_pushes() {
    recipe_login bob bob-password
    recipe_push team/app:1
    refused 'denied' recipe_push other/app:1
    docker_cli logout "$DOMAIN"
}

recipe_team_pulls() {
    docker_cli rmi "$DOMAIN/team/app:1"
    docker_cli pull "$DOMAIN/team/app:1"
    rm -rf "$E2E_FOLDER/recipes/copy"
    recipe_skopeo "docker://$DOMAIN/team/app:1" "dir:$E2E_FOLDER/recipes/copy"
    skopeo_folder_is_whole "$E2E_FOLDER/recipes/copy"
}

recipe_team_robot() {
    local token
    token=$(recipe_cli token create build --robot --repository 'team/**' --action pull --action create --expires 365d)
    recipe_login token "$token"
    recipe_push team/robot:1
    build_folder "$E2E_FOLDER/recipes/second" 1
    builder bud --quiet --layers --format docker --tag recipe-second "$E2E_FOLDER/recipes/second"
    rm -rf "$E2E_FOLDER/recipes/second-image"
    builder push --quiet recipe-second "dir:$E2E_FOLDER/recipes/second-image"
    refused 'denied|exists' recipe_skopeo --dest-creds "token:$token" \
        "dir:$E2E_FOLDER/recipes/second-image" "docker://$DOMAIN/team/robot:1"
    docker_cli logout "$DOMAIN"
}

recipe_team_release() {
    recipe_skopeo --dest-creds alice:alice-password "dir:$E2E_FOLDER/recipes/image" "docker://$DOMAIN/team/app:v1.0"
    refused 'denied|exists|moved' recipe_skopeo --dest-creds alice:alice-password \
        "dir:$E2E_FOLDER/recipes/second-image" "docker://$DOMAIN/team/app:v1.0"
}

recipe_team_renews() {
    local before
    before=$(recipe_serial)
    recipes_certificate
    within 10 recipe_has_other_serial "$before"
    docker_cli pull "$DOMAIN/team/app:1"
}

recipe_serial() {
    openssl s_client -connect "$DOMAIN:443" -servername "$DOMAIN" </dev/null 2>/dev/null | openssl x509 -noout -serial
}

recipe_has_other_serial() {
    [ "$(recipe_serial)" != "$1" ]
}

recipe_team_removes() {
    recipe_cli user rm bob
    within 10 recipe_has_forgotten bob
    has_status 200 --cacert "$E2E_FOLDER/recipes/ca.crt" --user alice:alice-password "https://$DOMAIN/v2/"
}

recipe_has_forgotten() {
    [ "$(status --cacert "$E2E_FOLDER/recipes/ca.crt" --user "$1:$1-password" "https://$DOMAIN/v2/")" = 401 ]
}

# CI.

recipe_ci() {
    ISSUER=http://127.0.0.1:$(free_port)
    start issuer "$ISSUER_PROGRAM" "${ISSUER#http://}"
    check "CI: the issuer is ready" within 20 curl -fsS --max-time 2 "$ISSUER/.well-known/openid-configuration"
    recipe_server ci "s#https://token.actions.githubusercontent.com#$ISSUER#"
    check "CI: is ready" recipe_is_ready "https://$DOMAIN"
    [ -n "$CHECK_PASSED" ] || return 0
    check "CI: a job of the main branch logs in with its token, and pushes" recipe_ci_main
    check "CI: a job of another branch pulls, and pushes nothing" recipe_ci_branch
    check "CI: jobs of others, and tokens for others, are refused" recipe_ci_others
    stop recipe-ci
    stop issuer
}

# job_token REPOSITORY REF [AUDIENCE]
job_token() {
    local claims
    claims=$(jq -nc --arg issuer "$ISSUER" --arg audience "${3:-$DOMAIN}" --arg repository "$1" --arg ref "$2" \
        --argjson now "$(date +%s)" \
        '{iss: $issuer, aud: $audience, sub: "repo:\($repository):ref:\($ref)", repository: $repository, ref: $ref,
          repository_owner: ($repository | split("/")[0]), iat: $now, nbf: $now, exp: ($now + 300)}')
    get --get --data-urlencode "claims=$claims" "$ISSUER/mint"
}

recipe_ci_main() {
    recipe_login job "$(job_token example/app refs/heads/main)"
    recipe_push ci/app:1
    refused 'denied' recipe_push team/app:1
    docker_cli logout "$DOMAIN"
}

recipe_ci_branch() {
    recipe_login job "$(job_token example/app refs/heads/other)"
    docker_cli rmi "$DOMAIN/ci/app:1"
    docker_cli pull "$DOMAIN/ci/app:1"
    refused 'denied' recipe_push ci/app:2
    docker_cli logout "$DOMAIN"
}

recipe_ci_others() {
    refused 'unauthorized|incorrect|token' recipe_login job "$(job_token stranger/app refs/heads/main)"
    refused 'unauthorized|incorrect|token' recipe_login job "$(job_token example/app refs/heads/main other.example)"
    refused 'unauthorized|incorrect' recipe_login job not-a-token
    refused 'denied|unauthorized' docker_cli pull "$DOMAIN/ci/app:1"
}
