//! Manifests: what is verified, and what is refused (threats C7 and C10).

use entrepot_oci::{Algorithm, MANIFEST_BYTES_MAX, MediaType};
use entrepot_testkit::{FakeUpstream, Image, Reply, Seen, index};
use entrepot_upstream::{ContentError, Error};

use crate::setup::{Lie, by_digest, remote, repository, tag};

async fn fake() -> (FakeUpstream, Image) {
    let (fake, image) = (FakeUpstream::start().await, Image::new(1, &[1000]));
    image.load_into(&fake, "team/app", "1");
    (fake, image)
}

#[tokio::test]
async fn a_manifest_is_fetched_by_tag_and_by_digest_as_it_is() {
    let (fake, image) = fake().await;
    let list = index(&[("amd64", &image.manifest)]);
    list.load_into(&fake, "team/app");
    let remote = remote(&fake);
    for (reference, expected) in [
        (tag("1"), &image.manifest),
        (by_digest(&image.manifest.digest), &image.manifest),
        (by_digest(&list.digest), &list),
    ] {
        let fetched = remote.get_manifest(&repository(), &reference).await.unwrap();
        assert_eq!(fetched.digest, expected.digest);
        assert_eq!(fetched.manifest.bytes(), &expected.bytes);
        assert_eq!(fetched.manifest.media_type(), &expected.media_type);
        let head = remote.head_manifest(&repository(), &reference, None).await.unwrap();
        assert_eq!(head.digest.as_ref(), Some(&expected.digest));
        assert_eq!(head.media_type.as_ref(), Some(&expected.media_type));
        assert_eq!(head.size, Some(expected.bytes.len() as u64));
    }
}

#[tokio::test]
async fn requests_say_what_they_accept_and_who_sends_them() {
    let (fake, _) = fake().await;
    remote(&fake).get_manifest(&repository(), &tag("1")).await.unwrap();
    let seen = fake.wait_for(Seen::is_manifest).await;
    let accept = seen.header("accept").unwrap();
    for media_type in
        [MediaType::OCI_INDEX, MediaType::OCI_MANIFEST, MediaType::DOCKER_LIST, MediaType::DOCKER_MANIFEST]
    {
        assert!(accept.contains(media_type), "{accept}");
    }
    assert_eq!(seen.header("accept-encoding"), Some("identity"));
    assert!(seen.header("user-agent").unwrap().starts_with("entrepot/"));
    assert_eq!(seen.query, "");
}

#[tokio::test]
async fn c7_a_manifest_that_is_not_what_its_digest_names_is_refused() {
    let (fake, image) = fake().await;
    let other = Algorithm::Sha256.digest(b"other");
    let last = image.manifest.bytes.len() - 1;
    let by_digest = by_digest(&image.manifest.digest);
    let rows: [(_, Lie); 5] = [
        (by_digest.clone(), Box::new(|honest| honest.flip_byte(0))),
        (by_digest.clone(), Box::new(move |honest| honest.flip_byte(last))),
        (by_digest, Box::new(|honest| honest.followed_by(b" "))),
        (tag("1"), Box::new(|honest| honest.followed_by(b" "))),
        (tag("1"), Box::new(move |honest| honest.announcing(&other))),
    ];
    let remote = remote(&fake);
    for (number, (reference, lie)) in rows.into_iter().enumerate() {
        fake.when(Seen::is_manifest).once().reply(lie);
        let error = remote.get_manifest(&repository(), &reference).await.unwrap_err();
        assert!(matches!(error, Error::DigestMismatch { .. }), "row {number}: {error}");
        assert!(remote.get_manifest(&repository(), &reference).await.is_ok(), "row {number}: healed");
    }
}

#[tokio::test]
async fn without_an_announced_digest_that_of_the_bytes_counts() {
    let (fake, image) = fake().await;
    let sha512 = Algorithm::Sha512.digest(&image.manifest.bytes);
    let remote = remote(&fake);
    fake.when(Seen::is_manifest).times(2).reply(Reply::without_digest);
    assert_eq!(remote.head_manifest(&repository(), &tag("1"), None).await.unwrap().digest, None);
    assert_eq!(remote.get_manifest(&repository(), &tag("1")).await.unwrap().digest, image.manifest.digest);
    fake.when(Seen::is_manifest).once().reply(|honest| honest.header("docker-content-digest", "\"abc\""));
    assert_eq!(remote.get_manifest(&repository(), &tag("1")).await.unwrap().digest, image.manifest.digest);
    let announced = sha512.clone();
    fake.when(Seen::is_manifest).once().reply(move |honest| honest.announcing(&announced));
    assert_eq!(remote.get_manifest(&repository(), &tag("1")).await.unwrap().digest, sha512);
}

#[tokio::test]
async fn a_head_that_is_refused_tells_nothing_and_a_missing_tag_is_missing() {
    let (fake, _) = fake().await;
    let remote = remote(&fake);
    for status in [401, 403, 405] {
        fake.when(Seen::is_head).once().reply(move |_| Reply::new(status));
        assert_eq!(remote.head_manifest(&repository(), &tag("1"), None).await.unwrap().digest, None, "{status}");
    }
    let error = remote.head_manifest(&repository(), &tag("2"), None).await.unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
}

#[tokio::test]
async fn a_head_by_digest_that_announces_other_content_is_refused() {
    let (fake, image) = fake().await;
    let other = Algorithm::Sha256.digest(b"other");
    fake.when(Seen::is_head).reply(move |honest| honest.announcing(&other));
    let head = remote(&fake).head_manifest(&repository(), &by_digest(&image.manifest.digest), None).await;
    assert!(matches!(head, Err(Error::DigestMismatch { .. })));
}

#[tokio::test]
async fn c10_what_is_no_manifest_is_refused_with_a_clear_text() {
    let large = "x".repeat(MANIFEST_BYTES_MAX + 1);
    let chunked = large.clone();
    let rows: [(Lie, &str); 9] = [
        (Box::new(|_| Reply::page()), "a web page"),
        (Box::new(|_| Reply::content(MediaType::OCI_MANIFEST, "<html>")), "not a valid document"),
        (Box::new(|_| Reply::content(MediaType::DOCKER_SCHEMA1_SIGNED, r#"{"schemaVersion":1}"#)), "schema 1"),
        // Announced under a digest that leaves the signatures out, as old registries do.
        (
            Box::new(|honest| {
                honest.with_body(r#"{"schemaVersion":1}"#).header("content-type", MediaType::DOCKER_SCHEMA1_SIGNED)
            }),
            "schema 1",
        ),
        (Box::new(|_| Reply::content("application/json", r#"{"schemaVersion":2,"manifests":[]}"#)), "neither by"),
        (Box::new(|_| Reply::content("application/x-tar", r#"{"schemaVersion":2}"#)), "not the type of a manifest"),
        (Box::new(|honest| honest.header("content-encoding", "gzip")), "gzip"),
        (Box::new(move |_| Reply::content(MediaType::OCI_MANIFEST, large.clone())), "larger than"),
        (Box::new(move |_| Reply::content(MediaType::OCI_MANIFEST, chunked.clone()).without_length()), "larger than"),
    ];
    for (lie, needle) in rows {
        let (fake, _) = fake().await;
        fake.when(Seen::is_manifest).reply(lie);
        let error = remote(&fake).get_manifest(&repository(), &tag("1")).await.unwrap_err();
        assert!(matches!(error, Error::InvalidContent { .. } | Error::TooLarge { .. }), "{error:?}");
        assert!(error.to_string().contains(needle), "{error} does not say {needle:?}");
        assert!(!error.is_temporary());
    }
}

#[tokio::test]
async fn a_web_page_is_named_as_such_whatever_is_asked() {
    let (fake, image) = fake().await;
    fake.when(Seen::is_any).reply(|_| Reply::page());
    let remote = remote(&fake);
    for error in [
        remote.get_manifest(&repository(), &by_digest(&image.manifest.digest)).await.unwrap_err(),
        remote.tags(&repository()).await.unwrap_err(),
    ] {
        assert!(matches!(error, Error::InvalidContent { reason: ContentError::WebPage, .. }), "{error}");
    }
}

#[tokio::test]
async fn a_tag_that_moves_between_head_and_get_is_told_apart_by_digest() {
    let (fake, old) = fake().await;
    let new = Image::new(2, &[10]);
    let remote = remote(&fake);
    let head = remote.head_manifest(&repository(), &tag("1"), None).await.unwrap().digest.unwrap();
    new.load_into(&fake, "team/app", "1");
    assert_eq!(remote.get_manifest(&repository(), &by_digest(&head)).await.unwrap().digest, old.manifest.digest);
    assert_eq!(remote.get_manifest(&repository(), &tag("1")).await.unwrap().digest, new.manifest.digest);
}
