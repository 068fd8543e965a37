//! Uploads and mounts: whose a session is, and where a blob may come from.

use bytes::Bytes;
use entrepot_testkit::{Blob, Image};

use super::setup::{House, With};

const TEAM: &str = "repository:team/app:pull,push";

#[tokio::test]
async fn b1_a_blob_is_read_through_the_repository_that_holds_it_alone() {
    let house = House::build().await;
    let image = Image::new(1, &[1000]);
    house.push("team/secret", "1", &image, &With::User("pusher")).await;
    let blob = format!("blobs/{}", image.layers[0].digest);
    let manifest = format!("manifests/{}", image.manifest.digest);
    let other = house.token("other", &["repository:other/app:*"]).await;
    for with in [&With::User("other"), &other] {
        for path in [&blob, &manifest] {
            for method in ["GET", "HEAD"] {
                assert_eq!(
                    house.ask(method, &format!("/v2/other/app/{path}"), with).await.status,
                    404,
                    "{method} {path}"
                );
            }
        }
    }
    // Neither can a manifest lay hold of it.
    let pushed = house.push_manifest("other/app", "1", &image, &With::User("other")).await;
    assert_eq!((pushed.status, pushed.code().as_str()), (400, "MANIFEST_BLOB_UNKNOWN"));
}

#[tokio::test]
async fn b2_a_mount_needs_the_right_to_pull_from_its_source() {
    let house = House::build().await;
    let image = Image::new(1, &[1000]);
    house.push("team/secret", "1", &image, &With::User("pusher")).await;
    let layer = &image.layers[0].digest;
    let absent = &Blob::random(99, 10).digest;
    let other = house.token("other", &["repository:other/app:pull,push", "repository:team/secret:pull"]).await;
    for with in [&With::User("other"), &other] {
        let mut answers = Vec::new();
        for query in [
            format!("mount={layer}&from=team/secret"),
            format!("mount={layer}&from=team/absent"),
            format!("mount={absent}&from=team/secret"),
            format!("mount={layer}&from=NO/NAME"),
            format!("mount={layer}"),
            format!("mount={absent}"),
        ] {
            let answer = house.ask("POST", &format!("/v2/other/app/blobs/uploads/?{query}"), with).await;
            let mut names: Vec<String> = answer.headers.keys().map(ToString::to_string).collect();
            names.sort();
            answers.push((answer.status, names, answer.body));
        }
        assert_eq!(answers[0].0, 202);
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
        assert_eq!(house.ask("GET", &format!("/v2/other/app/blobs/{layer}"), with).await.status, 404);
    }
}

#[tokio::test]
async fn b2_the_source_of_a_mount_has_to_be_covered_by_the_token_and_the_automatic_one_by_the_rules() {
    let house = House::build().await;
    let image = Image::new(1, &[1000, 1001]);
    house.push("team/source", "1", &image, &With::User("pusher")).await;
    let (first, second) = (&image.layers[0].digest, &image.layers[1].digest);
    let mount = async |target: &str, query: String, with: &With| {
        house.ask("POST", &format!("/v2/{target}/blobs/uploads/?mount={query}"), with).await.status
    };
    let narrow = house.token("pusher", &[TEAM]).await;
    assert_eq!(mount("team/app", format!("{first}&from=team/source"), &narrow).await, 202);
    let wide = house.token("pusher", &[TEAM, "repository:team/source:pull"]).await;
    assert_eq!(mount("team/app", format!("{first}&from=team/source"), &wide).await, 201);
    // Its holder may pull from where it is, so nothing is given to him that he could not get.
    assert_eq!(mount("team/app", second.to_string(), &narrow).await, 201);
    // Without the right to the target nothing is asked about the source.
    let puller = house.token("puller", &[TEAM, "repository:team/source:pull"]).await;
    assert_eq!(mount("team/app", format!("{first}&from=team/source"), &puller).await, 401);
}

#[tokio::test]
async fn b3_the_upload_of_somebody_else_looks_like_none() {
    let house = House::build().await;
    let blob = Blob::random(1, 1000);
    let owner = With::User("pusher");
    let started = house.ask("POST", "/v2/team/app/blobs/uploads/", &owner).await;
    let location = started.header("location").to_owned();
    let absent = format!("/v2/team/app/blobs/uploads/{}", "0".repeat(location.rsplit('/').next().unwrap().len()));
    let strangers = [
        With::User("pusher2"),
        With::User("creator"),
        With::User("all"),
        house.token("pusher2", &[TEAM]).await,
        house.expired_token("pusher2", &[TEAM]).await,
    ];
    for stranger in &strangers {
        for method in ["GET", "HEAD", "PATCH", "PUT", "DELETE"] {
            let ask = async |path: &str| {
                let path = format!("{path}?digest={}", blob.digest);
                let answer = house.send(method, &path, stranger, &[], blob.bytes.clone()).await;
                (answer.status, answer.code(), answer.headers.len())
            };
            let foreign = ask(&location).await;
            assert_eq!(foreign.0, 404, "{stranger:?} {method}");
            assert_eq!(foreign, ask(&absent).await, "{stranger:?} {method}");
        }
    }
    // By whichever scheme he comes, it is its owner's.
    let token = house.token("pusher", &[TEAM]).await;
    let path = format!("{location}?digest={}", blob.digest);
    assert_eq!(house.ask("GET", &location, &token).await.status, 204);
    assert_eq!(house.send("PUT", &path, &token, &[], blob.bytes.clone()).await.status, 201);
}

#[tokio::test]
async fn an_upload_outlives_the_token_that_began_it_and_nothing_else_does() {
    let house = House::build().await;
    let blob = Blob::random(1, 1000);
    let fresh = house.token("pusher", &[TEAM]).await;
    let expired = house.expired_token("pusher", &[TEAM]).await;
    let started = house.ask("POST", "/v2/team/app/blobs/uploads/", &fresh).await;
    let location = started.header("location").to_owned();
    let patched = house.send("PATCH", &location, &expired, &[], blob.bytes.clone()).await;
    assert_eq!(patched.status, 202, "{}", patched.message());
    assert_eq!(house.ask("GET", &location, &expired).await.status, 204);
    let path = format!("{location}?digest={}", blob.digest);
    assert_eq!(house.send("PUT", &path, &expired, &[], Bytes::new()).await.status, 201);
    for (method, path) in [
        ("POST", "/v2/team/app/blobs/uploads/".to_owned()),
        ("GET", format!("/v2/team/app/blobs/{}", blob.digest)),
        ("PUT", "/v2/team/app/manifests/1".to_owned()),
        ("GET", "/v2/".to_owned()),
    ] {
        let answer = house.ask(method, &path, &expired).await;
        assert_eq!(answer.status, 401, "{method} {path}");
        assert!(answer.challenge().contains(r#"error="invalid_token""#), "{method} {path}");
    }
    // Nor does what its holder may not any more, or the token was never for.
    let puller = house.expired_token("puller", &[TEAM]).await;
    assert_eq!(house.ask("GET", &location, &puller).await.status, 401);
    let elsewhere = house.expired_token("pusher", &["repository:team/other:pull,push"]).await;
    assert_eq!(house.ask("GET", &location, &elsewhere).await.status, 401);
}
