//! What rights let and do not let happen, and how that is said.

use entrepot_access::{Anonymous, NewCredential, Principal, UserName};
use entrepot_metadata::CredentialKind;
use entrepot_testkit::Image;
use secrecy::ExposeSecret;

use super::setup::{House, PASSWORD, With, blueprint, client_at, rule, rules};
use crate::support::Setup;

#[tokio::test]
async fn b7_whoever_may_make_tags_moves_none() {
    let house = House::build().await;
    let (first, second) = (Image::new(1, &[1000]), Image::new(2, &[1000]));
    let creator = With::User("creator");
    house.push("team/app", "latest", &first, &creator).await;
    house.push("team/app", "existing", &first, &creator).await;
    for blob in second.blobs() {
        let path = format!("/v2/team/app/blobs/uploads/?digest={}", blob.digest);
        assert_eq!(house.send("POST", &path, &creator, &[], blob.bytes.clone()).await.status, 201);
    }
    let digest = &second.manifest.digest;
    let token = house.token("creator", &["repository:team/app:pull,push"]).await;
    for with in [&creator, &token] {
        for reference in ["latest".to_owned(), "existing".to_owned(), format!("{digest}?tag=new&tag=existing")] {
            let refused = house.push_manifest("team/app", &reference, &second, with).await;
            assert_eq!((refused.status, refused.code().as_str()), (403, "DENIED"), "{reference}");
            assert!(refused.message().contains("exists and must not be moved"), "{}", refused.message());
        }
    }
    for tag in ["latest", "existing"] {
        let there = house.ask("GET", &format!("/v2/team/app/manifests/{tag}"), &creator).await;
        assert_eq!(there.body, first.manifest.bytes, "{tag}");
    }
    for absent in ["new".to_owned(), digest.to_string()] {
        assert_eq!(house.ask("GET", &format!("/v2/team/app/manifests/{absent}"), &creator).await.status, 404);
    }
    // The same again is no move, and a new tag is what the right is for.
    assert_eq!(house.push_manifest("team/app", "latest", &first, &creator).await.status, 201);
    assert_eq!(house.push_manifest("team/app", &format!("{digest}?tag=a&tag=b"), &second, &creator).await.status, 201);
    // Whoever may move them does.
    assert_eq!(house.push_manifest("team/app", "latest", &second, &With::User("pusher")).await.status, 201);
}

#[tokio::test]
async fn whoever_may_move_tags_makes_none() {
    let mut rules = rules();
    rules.push(rule("boss", &["team/app"], "pull,overwrite"));
    let house = House::with(Setup { access: Some(blueprint(Anonymous::None, rules)), ..Setup::default() }).await;
    let (first, second) = (Image::new(1, &[1000]), Image::new(2, &[1000]));
    house.push("team/app", "1", &first, &With::User("pusher")).await;
    let boss = With::User("boss");
    house.push("team/app", "1", &second, &boss).await;
    let refused = house.push_manifest("team/app", "2", &second, &boss).await;
    assert_eq!((refused.status, refused.code().as_str()), (403, "DENIED"), "{}", refused.message());
}

#[tokio::test]
async fn b8_the_cache_is_written_to_by_nobody_and_no_name_is_a_right() {
    let house = House::build().await;
    let image = Image::new(1, &[1000]);
    let token = house.token("all", &["repository:proxy/docker.io/library/redis:*"]).await;
    for with in [&With::User("all"), &token] {
        let pushed = house.push_manifest("proxy/docker.io/library/redis", "7", &image, with).await;
        assert_eq!((pushed.status, pushed.code().as_str()), (405, "UNSUPPORTED"));
        let started = house.ask("POST", "/v2/proxy/docker.io/library/redis/blobs/uploads/", with).await;
        assert_eq!(started.status, 405);
    }
    for name in ["system", "proxy", "gc", "operator", "anonymous", "root"] {
        assert!(name.parse::<UserName>().is_err(), "{name}");
    }
    // A robot may be called anything, and is nothing but what rules say.
    let scanner: Principal = "robot:scanner-x".parse().unwrap();
    assert_eq!(scanner.to_string(), "robot:scanner-x");
    let authority = &house.registry.assembly().authority;
    let caller = entrepot_access::Caller::new(scanner, entrepot_access::Scheme::Bearer, None);
    for action in entrepot_access::Action::ALL {
        let target = entrepot_access::Target::repository("proxy/docker.io/library/redis".parse().unwrap());
        assert!(!authority.decide(&caller, action, &target).is_allowed(), "{action}");
    }
}

#[tokio::test]
async fn a17_the_operators_right_to_a_part_is_none_to_another_or_to_the_whole() {
    let mut rules = rules();
    rules.push(rule("pusher", &["proxy/127.0.0.1-9/team/**", "team/**"], "admin"));
    let house = House::with(Setup { access: Some(blueprint(Anonymous::None, rules)), ..Setup::default() }).await;
    let pusher = With::User("pusher");
    let json = [("content-type", "application/json")];
    let order = async |path: &str, reference: &str| {
        let body = format!(r#"{{"reference":"{reference}"}}"#);
        house.send("POST", &format!("/api/v1/cache/{path}"), &pusher, &json, body.into()).await
    };
    for path in ["pin", "unpin", "purge", "refresh", "warm"] {
        // This one may be told that there is no such upstream.
        assert_eq!(order(path, "127.0.0.1:9/team/app:1").await.status, 404, "{path}");
        for other in ["127.0.0.1:9/other/app:1", "ghcr.io/team/app:1", "127.0.0.1:8/team/app:1"] {
            assert_eq!(order(path, other).await.status, 403, "{path} {other}");
        }
    }
    let get = async |path: &str| house.ask("GET", &format!("/api/v1/{path}"), &pusher).await.status;
    assert_eq!(get("explain?reference=team/app:1").await, 200);
    assert_eq!(get("explain?reference=other/app:1").await, 403);
    assert_eq!(get("cache/entries?repository=127.0.0.1:9/other/app").await, 403);
    for path in ["cache/stats", "cache/pins", "cache/entries"] {
        assert_eq!(get(path).await, 403, "{path}");
    }
}

#[tokio::test]
async fn a_challenge_and_a_denial_say_what_is_missing() {
    let house = House::build().await;
    let address = house.registry.address;
    let answer = house.ask("GET", "/v2/team/app/manifests/1", &With::Nothing).await;
    let expected =
        format!(r#"Bearer realm="http://{address}/token",service="registry.example",scope="repository:team/app:pull""#);
    assert_eq!((answer.status, answer.challenge()), (401, expected.as_str()));
    let error = answer.json()["errors"][0].clone();
    let detail = serde_json::json!([{ "Type": "repository", "Class": "", "Name": "team/app", "Action": "pull" }]);
    assert_eq!((&error["code"], &error["detail"]), (&"UNAUTHORIZED".into(), &detail));
    assert_eq!(answer.header("docker-distribution-api-version"), "registry/2.0");
    assert_eq!(answer.header("cache-control"), "no-store");
    let head = house.ask("HEAD", "/v2/team/app/manifests/1", &With::Nothing).await;
    assert_eq!((head.status, head.challenge(), head.body.len()), (401, expected.as_str(), 0));
    let mount = "/v2/team/app/blobs/uploads/?from=other/app&mount=sha256:".to_owned() + &"0".repeat(64);
    let answer = house.ask("POST", &mount, &With::Nothing).await;
    assert!(
        answer.challenge().ends_with(r#",scope="repository:team/app:pull,push repository:other/app:pull""#),
        "{}",
        answer.challenge()
    );
    let denied = house.ask("PUT", "/v2/team/app/manifests/1", &With::User("puller")).await;
    assert_eq!((denied.status, denied.code().as_str(), denied.challenge()), (403, "DENIED", ""));
    assert!(denied.message().starts_with("puller may not push to team/app: no rule"), "{}", denied.message());
}

#[tokio::test]
async fn what_proves_nothing_is_refused_and_never_taken_for_nobody() {
    let house = House::with(Setup { access: Some(blueprint(Anonymous::Pull, rules())), ..Setup::default() }).await;
    house.push("team/app", "1", &Image::new(1, &[10]), &With::User("pusher")).await;
    let path = "/v2/team/app/manifests/1";
    let ask = async |values: &[&str]| {
        let headers: Vec<_> = values.iter().map(|value| ("authorization", *value)).collect();
        let answer = house.send("GET", path, &With::Nothing, &headers, bytes::Bytes::new()).await;
        (answer.status, answer.code(), answer.challenge().contains("error=\"invalid_token\""))
    };
    assert_eq!(ask(&[]).await.0, 200);
    let unauthorized = |is_token| (401, "UNAUTHORIZED".to_owned(), is_token);
    for value in ["Basic", "Basic !", "Digest username=\"a\"", "Negotiate abc", "basic eA=="] {
        assert_eq!(ask(&[value]).await, unauthorized(false), "{value}");
    }
    for value in ["Bearer", "Bearer a b", "Bearer abc", "Bearer a.b.c"] {
        assert_eq!(ask(&[value]).await, unauthorized(true), "{value}");
    }
    assert_eq!(ask(&["Bearer a", "Bearer a"]).await.0, 400);
}

#[tokio::test]
async fn a11_too_many_wrong_passwords_are_told_to_wait_and_others_are_not() {
    let house = House::build().await;
    let (guesser, neighbour) = (client_at(101), client_at(102));
    let guess = async |client, password: &str| {
        let with = With::Basic("puller", password.to_owned());
        house.send_by(client, "GET", "/v2/", &with, &[], bytes::Bytes::new()).await
    };
    let mut last = guess(&guesser, "0").await;
    for number in 1..20 {
        assert!(matches!(last.status, 401 | 429), "{}", last.status);
        last = guess(&guesser, &number.to_string()).await;
    }
    assert_eq!((last.status, last.code().as_str(), last.challenge()), (429, "TOOMANYREQUESTS", ""));
    assert!(last.header("retry-after").parse::<u64>().is_ok_and(|seconds| (1..=60).contains(&seconds)));
    assert_eq!(guess(&neighbour, PASSWORD).await.status, 200);
}

#[tokio::test]
async fn a_token_of_a_users_own_making_is_worth_what_it_was_made_for_and_nothing_gets_more() {
    let house = House::build().await;
    house.push("team/app", "1", &Image::new(1, &[10]), &With::User("pusher")).await;
    let narrow = NewCredential {
        kind: CredentialKind::Personal,
        principal: "all".parse().unwrap(),
        name: "narrow".to_owned(),
        repositories: vec!["team/*".to_owned()],
        actions: vec!["pull".to_owned()],
        expires_at: None,
    };
    let credentials = house.registry.assembly().authority.credentials().unwrap();
    let Ok(Some((_, token))) = credentials.create(narrow).await else { panic!("no token was made") };
    let token = token.expose_secret();
    for with in [With::Basic("all", token.to_owned()), With::Bearer(token.to_owned())] {
        assert_eq!(house.ask("GET", "/v2/team/app/manifests/1", &with).await.status, 200, "{with:?}");
        for (method, path) in [
            ("PUT", "/v2/team/app/manifests/1"),
            ("DELETE", "/v2/team/app/manifests/1"),
            ("GET", "/v2/other/app/manifests/1"),
            ("GET", "/v2/_catalog"),
            ("GET", "/api/v1/cache/stats"),
        ] {
            // No other token of the token service would help, so none is asked for.
            let denied = house.ask(method, path, &with).await;
            assert_eq!((denied.status, denied.challenge()), (403, ""), "{with:?} {method} {path}");
        }
    }
}
