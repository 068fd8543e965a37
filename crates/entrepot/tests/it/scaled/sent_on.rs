//! Clients that get bytes from the object storage itself.

use std::time::Duration;

use entrepot::AccessBlueprint;
use entrepot_access::{Actions, Anonymous, Rule, Rules};
use entrepot_oci::Patterns;
use entrepot_testkit::Blob;
use reqwest::{Method, Response, StatusCode};

use super::{blob_path, get, header, push_blob, read};
use crate::shared::Shared;
use crate::support::{Running, Setup, client};

async fn redirecting(redirect: &str) -> Running {
    Running::replica(Setup::default(), Shared::new().with(redirect)).await
}

/// Whether a GET of the blob is answered with the bytes from here or from there; they have to be right.
async fn is_sent_on(replica: &Running, repository: &str, blob: &Blob) -> bool {
    let answer = get(replica, &blob_path(repository, &blob.digest)).await;
    if answer.status() == StatusCode::OK {
        assert!(answer.headers().get("location").is_none());
        assert!(answer.bytes().await.unwrap() == blob.bytes);
        return false;
    }
    assert_eq!(answer.status(), StatusCode::TEMPORARY_REDIRECT);
    let location = header(&answer, "location").to_owned();
    let there = client().get(&location).send().await.unwrap();
    assert_eq!(there.status(), StatusCode::OK);
    assert!(there.bytes().await.unwrap() == blob.bytes);
    true
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_get_is_sent_on_to_the_object_storage_and_gets_the_bytes_there() {
    let replica = redirecting("[storage.redirect]\nmode = \"always\"\nsize_min = \"1MiB\"\nlifetime = \"5m\"\n").await;
    let [large, small] = [Blob::random(1, 6_000_000), Blob::random(2, 1_000_000)];
    for blob in [&large, &small] {
        assert_eq!(push_blob(&replica, "team/app", blob).await.status(), StatusCode::CREATED);
    }
    let path = blob_path("team/app", &large.digest);
    let answer = get(&replica, &path).await;
    assert_eq!(answer.status(), StatusCode::TEMPORARY_REDIRECT);
    // Whoever keeps the answer would keep a URL that ends.
    assert!(header(&answer, "cache-control").contains("no-store"), "{answer:?}");
    let location = header(&answer, "location").to_owned();
    let [bucket, _] = Shared::addresses();
    assert!(location.starts_with(&format!("http://{bucket}/")), "{location}");
    assert!(answer.bytes().await.unwrap().len() < 1000);
    assert!(client().get(&location).send().await.unwrap().bytes().await.unwrap() == large.bytes);
    let part = client().get(&location).header("range", "bytes=5000000-5000099").send().await.unwrap();
    assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
    assert!(part.bytes().await.unwrap() == large.bytes.slice(5_000_000..5_000_100));
    // The URL is for this object and for reading, and its signature is looked at.
    let put = client().put(&location).body("mine").send().await.unwrap();
    assert_eq!(put.status(), StatusCode::FORBIDDEN);
    let (unsigned, _) = location.split_once('?').unwrap();
    assert!(client().get(unsigned).send().await.unwrap().status().is_client_error());
    // Who asks whether it is there, and how large it is, is told so here.
    let head = replica.client.request(Method::HEAD, replica.url(&path)).send().await.unwrap();
    assert_eq!((head.status(), header(&head, "content-length")), (StatusCode::OK, "6000000"));
    assert!(head.headers().get("location").is_none());
    assert!(read(&replica, &blob_path("team/app", &small.digest)).await == small.bytes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rules_say_who_is_sent_on() {
    let replica = redirecting(
        "[storage.redirect]\nmode = \"rules\"\nsize_min = \"1KiB\"\n\
         [[storage.redirect.rule]]\nrepositories = [\"secret/**\"]\nredirect = false\n\
         [[storage.redirect.rule]]\nrepositories = [\"*/here\"]\nnetworks = [\"127.0.0.0/8\"]\nredirect = true\n\
         [[storage.redirect.rule]]\nrepositories = [\"*/elsewhere\"]\nnetworks = [\"192.0.2.0/24\"]\nredirect = true\n\
         [[storage.redirect.rule]]\nrepositories = [\"*/large\"]\nsize_min = \"1MiB\"\nredirect = true\n",
    )
    .await;
    let [large, middle, small] = [Blob::random(3, 2_000_000), Blob::random(4, 2000), Blob::random(5, 1000)];
    let rows = [
        ("team/here", &middle, true),
        ("team/here", &small, false),
        ("secret/here", &middle, false),
        ("team/elsewhere", &middle, false),
        ("team/large", &large, true),
        ("team/large", &middle, false),
        ("team/other", &large, false),
    ];
    for (repository, blob, expected) in rows {
        assert_eq!(push_blob(&replica, repository, blob).await.status(), StatusCode::CREATED);
        assert_eq!(is_sent_on(&replica, repository, blob).await, expected, "{repository} {}", blob.size());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_gets_a_url_of_what_he_may_not_pull() {
    /// The cheapest hash that was published for it.
    const HASH: &str = "$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";
    let rule = |user: &str, repositories: &str| Rule {
        name: user.into(),
        principals: vec![user.parse().unwrap()],
        repositories: Patterns::new([repositories]).unwrap(),
        actions: Actions::parse("pull").unwrap().union(Actions::parse("push").unwrap()),
    };
    let access = AccessBlueprint {
        service: "registry.example".to_owned(),
        rules: Rules::new(Anonymous::None, Vec::new(), vec![rule("alice", "team/**"), rule("bob", "other/**")]),
        users: Some(format!("alice:{HASH}\nbob:{HASH}\n")),
        issuers: Vec::new(),
        token_lifetime: Duration::from_mins(5),
    };
    let shared = Shared::new().with("[storage.redirect]\nmode = \"always\"\nsize_min = \"1KiB\"\n");
    let replica = Running::replica(Setup { access: Some(access), ..Setup::default() }, shared).await;
    let blob = Blob::random(6, 10_000);
    let url = replica.url(&format!("/v2/team/app/blobs/uploads/?digest={}", blob.digest));
    let pushed = replica.client.post(url).basic_auth("alice", Some("U*U")).body(blob.bytes.clone());
    assert_eq!(pushed.send().await.unwrap().status(), StatusCode::CREATED);
    let ask = async |repository: &str, user: &str, password: &str| -> Response {
        let request = replica.client.get(replica.url(&blob_path(repository, &blob.digest)));
        let request = if user.is_empty() { request } else { request.basic_auth(user, Some(password)) };
        request.send().await.unwrap()
    };
    let rows = [
        ("team/app", "alice", "U*U", 307),
        ("team/app", "alice", "wrong", 401),
        ("team/app", "bob", "U*U", 403),
        ("team/app", "", "", 401),
        // The blob is in the bucket, and not in the repository that he may read.
        ("other/app", "bob", "U*U", 404),
    ];
    for (repository, user, password, status) in rows {
        let answer = ask(repository, user, password).await;
        assert_eq!(answer.status().as_u16(), status, "{repository} {user}");
        assert_eq!(answer.headers().contains_key("location"), status == 307, "{repository} {user}");
    }
}
