//! Tags and referrers, page by page.

use entrepot_oci::MediaType;
use entrepot_testkit::{FakeUpstream, Image, Reply, Seen, artifact};
use entrepot_upstream::Error;
use serde_json::json;

use crate::setup::{remote, repository};

async fn fake_with_tags(tags: &[&str]) -> FakeUpstream {
    let (fake, image) = (FakeUpstream::start().await, Image::new(1, &[10]));
    for tag in tags {
        image.load_into(&fake, "team/app", tag);
    }
    fake
}

fn texts(tags: &[entrepot_oci::Tag]) -> Vec<&str> {
    tags.iter().map(entrepot_oci::Tag::as_str).collect()
}

#[tokio::test]
async fn all_tags_come_sorted_and_once() {
    let fake = fake_with_tags(&["b", "a", "c"]).await;
    assert_eq!(texts(&remote(&fake).tags(&repository()).await.unwrap()), ["a", "b", "c"]);
}

#[tokio::test]
async fn every_style_of_cursor_is_followed() {
    for (cursor, is_absolute) in [("last=m&n=1000", false), ("next_page=gA%3D%3D", true), ("last=m&orderby=", false)] {
        let fake = fake_with_tags(&["a"]).await;
        let host = if is_absolute { fake.url() } else { String::new() };
        let link = format!(r#"<{host}/v2/team/app/tags/list?{cursor}>; rel="next""#);
        fake.when(|seen| seen.is_tags() && seen.query == "n=1000").reply(move |honest| honest.header("link", &link));
        fake.when(move |seen| seen.is_tags() && seen.query == cursor)
            .reply(|_| Reply::json(&json!({ "name": "x", "tags": ["z"] })));
        assert_eq!(texts(&remote(&fake).tags(&repository()).await.unwrap()), ["a", "z"], "{cursor}");
    }
}

#[tokio::test]
async fn what_is_not_a_tag_is_left_out() {
    let rows = [
        (json!({ "tags": null }), vec![]),
        (json!({ "name": "x" }), vec![]),
        (
            json!({ "tags": ["b", "sha256:beef", 7, null, "a", "", "a", "x y"], "child": [], "manifest": {} }),
            vec!["a", "b"],
        ),
    ];
    for (body, expected) in rows {
        let fake = fake_with_tags(&[]).await;
        let page = body.clone();
        fake.when(Seen::is_tags).reply(move |_| Reply::json(&page));
        assert_eq!(texts(&remote(&fake).tags(&repository()).await.unwrap()), expected, "{body}");
    }
}

#[tokio::test]
async fn c3_a_link_to_another_host_never_leads_there() {
    let (fake, other) = (fake_with_tags(&["a"]).await, FakeUpstream::start().await);
    let link = format!(r#"<{}/v2/team/app/tags/list?last=a>; rel="next""#, other.url());
    fake.when(|seen| seen.is_tags() && seen.query == "n=1000").reply(move |honest| honest.header("link", &link));
    remote(&fake).tags(&repository()).await.unwrap();
    assert_eq!(other.connections(), 0);
}

#[tokio::test]
async fn a_link_in_a_circle_ends() {
    let fake = fake_with_tags(&["a"]).await;
    fake.when(Seen::is_tags).reply(|honest| honest.header("link", "</v2/x?last=a>; rel=next"));
    assert_eq!(remote(&fake).tags(&repository()).await.unwrap().len(), 1);
    assert_eq!(fake.count(Seen::is_tags), 2);
}

#[tokio::test]
async fn a_list_that_breaks_in_the_middle_is_an_error() {
    let fake = fake_with_tags(&["a"]).await;
    fake.when(Seen::is_tags).once().reply(|honest| honest.header("link", "</v2/x?last=a>; rel=next"));
    fake.when(Seen::is_tags).reply(|_| Reply::new(500));
    assert!(matches!(remote(&fake).tags(&repository()).await, Err(Error::Unavailable { status: 500, .. })));
}

#[tokio::test]
async fn referrers_come_by_the_api() {
    let (fake, image) = (FakeUpstream::start().await, Image::new(1, &[10]));
    image.load_into(&fake, "team/app", "1");
    let remote = remote(&fake);
    assert!(remote.referrers(&repository(), &image.manifest.digest).await.unwrap().is_empty());
    let (signature, _) = artifact(7, "application/vnd.example.signature", &image.manifest);
    signature.load_into(&fake, "team/app");
    let referrers = remote.referrers(&repository(), &image.manifest.digest).await.unwrap();
    assert_eq!(referrers.len(), 1);
    assert_eq!(referrers[0].digest, signature.digest);
    assert_eq!(referrers[0].artifact_type.as_deref(), Some("application/vnd.example.signature"));
    assert_eq!(fake.count(Seen::is_manifest), 0);
}

#[tokio::test]
async fn without_the_api_referrers_come_by_their_tag() {
    let (fake, image) = (FakeUpstream::start().await, Image::new(1, &[10]));
    image.load_into(&fake, "team/app", "1");
    let digest = &image.manifest.digest;
    let (signature, _) = artifact(7, "application/vnd.example.signature", &image.manifest);
    let list = entrepot_testkit::index(&[("amd64", &signature)]);
    let tag = format!("sha256-{}", digest.hex());
    let remote = remote(&fake);
    for reply in [Reply::new(400), Reply::error(404, "NOT_FOUND", "no"), Reply::new(405), Reply::page()] {
        fake.heal();
        fake.when(Seen::is_referrers).reply(move |_| reply.clone());
        fake.remove_tag("team/app", &tag);
        assert!(remote.referrers(&repository(), digest).await.unwrap().is_empty());
        // registry.gitlab.com resolves this tag to the subject itself.
        fake.put_tag("team/app", &tag, digest);
        assert!(remote.referrers(&repository(), digest).await.unwrap().is_empty());
        list.load_into(&fake, "team/app");
        fake.put_tag("team/app", &tag, &list.digest);
        let referrers = remote.referrers(&repository(), digest).await.unwrap();
        assert_eq!(referrers[0].digest, signature.digest);
        // The subject may be an index itself.
        fake.put_tag("team/app", &tag.replace(digest.hex(), list.digest.hex()), &list.digest);
        assert!(remote.referrers(&repository(), &list.digest).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn an_upstream_that_cannot_be_asked_is_an_error_and_no_empty_list() {
    let (fake, image) = (FakeUpstream::start().await, Image::new(1, &[10]));
    image.load_into(&fake, "team/app", "1");
    // A new remote each time: the next one is asked whatever the last one was told.
    let (remote, digest) = (|| remote(&fake), &image.manifest.digest);
    for status in [401, 403, 429, 500, 502, 503] {
        fake.when(Seen::is_any).once().reply(move |_| Reply::new(status));
        assert!(remote().referrers(&repository(), digest).await.is_err(), "{status}");
    }
    fake.when(Seen::is_any).once().reply(|_| Reply::new(404));
    fake.when(Seen::is_any).once().reply(|_| Reply::new(503));
    assert!(remote().referrers(&repository(), digest).await.is_err(), "the tag cannot be asked either");
    fake.when(Seen::is_any).once().reply(|_| Reply::content(MediaType::OCI_INDEX, "{"));
    assert!(remote().referrers(&repository(), digest).await.is_err(), "broken");
    fake.stop().await;
    assert!(matches!(remote().referrers(&repository(), digest).await, Err(Error::Unreachable { .. })));
}
