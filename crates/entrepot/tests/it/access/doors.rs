//! Doors and access: by whichever door, a repository has one name, and that one is judged.

use entrepot_access::Anonymous;
use entrepot_registry::ProxySettings;
use entrepot_testkit::{Auth, FakeUpstream, Image};
use entrepot_upstream::UpstreamConfig;

use super::setup::{House, With, blueprint, rule, rules};
use crate::support::Setup;

const UPSTREAM: &str = "upstream.test";
const REPOSITORY: &str = "library/app";
const CANONICAL: &str = "proxy/upstream.test/library/app";

/// A registry in front of an upstream with one image and, if so, an account there.
struct Street {
    house: House,
    upstream: FakeUpstream,
    image: Image,
}

impl Street {
    async fn build(anonymous: Anonymous, more: &[(&str, &[&str], &str)], has_account: bool, root: bool) -> Self {
        let upstream = FakeUpstream::start().await;
        let image = Image::new(7, &[1000]);
        image.load_into(&upstream, REPOSITORY, "1");
        let mut config = UpstreamConfig::new(UPSTREAM, upstream.url().parse().unwrap());
        config.aliases = vec!["alias.test".to_owned()];
        if has_account {
            upstream.set_auth(Auth::bearer("robot", "hidden"));
            config.username = Some("robot".into());
            config.password = Some("hidden".into());
        }
        let settings = ProxySettings { root_mirror: root.then(|| UPSTREAM.to_owned()), ..ProxySettings::default() };
        let mut all = rules();
        all.extend(more.iter().map(|(principal, repositories, actions)| rule(principal, repositories, actions)));
        let access = Some(blueprint(anonymous, all));
        let house = House::with(Setup { upstreams: vec![config], settings, access, ..Setup::default() }).await;
        Self { house, upstream, image }
    }

    /// Every way to spell a path of the image, but for that of the root.
    fn spellings(&self, path: &str) -> Vec<String> {
        let address = self.upstream.address();
        vec![
            format!("/v2/proxy/{UPSTREAM}/{REPOSITORY}/{path}"),
            format!("/v2/proxy/alias.test/{REPOSITORY}/{path}"),
            format!("/v2/proxy/{UPSTREAM}/{REPOSITORY}/{path}?ns=elsewhere.example"),
            format!("/v2/{REPOSITORY}/{path}?ns={UPSTREAM}"),
            format!("/v2/{REPOSITORY}/{path}?ns=Alias.TEST"),
            format!("/v2/{REPOSITORY}/{path}?ns={address}"),
            format!("/proxy/{UPSTREAM}/v2/{REPOSITORY}/{path}"),
            format!("/proxy/alias.test/v2/{REPOSITORY}/{path}"),
            format!("/proxy/{address}/v2/{REPOSITORY}/{path}"),
        ]
    }

    fn paths(&self) -> Vec<String> {
        let content = ["manifests/1".to_owned(), format!("manifests/{}", self.image.manifest.digest)];
        let blobs = self.image.blobs().map(|blob| format!("blobs/{}", blob.digest));
        content.into_iter().chain(blobs).chain(["tags/list".to_owned()]).collect()
    }
}

#[tokio::test]
async fn b9_every_door_and_spelling_is_judged_by_the_one_name() {
    // Rules may be written with any of the names.
    for written in ["proxy/upstream.test/library/*", "proxy/alias.test/library/*"] {
        let street = Street::build(Anonymous::None, &[("puller", &[written], "pull")], false, false).await;
        let canonical = format!("repository:{CANONICAL}:pull");
        let token = street.house.token("puller", &[&canonical]).await;
        let elsewhere = street.house.token("puller", &["repository:library/app:pull"]).await;
        for path in street.paths() {
            for spelling in street.spellings(&path) {
                let ask = async |with: &With| street.house.ask("GET", &spelling, with).await;
                let nobody = ask(&With::Nothing).await;
                assert_eq!(nobody.status, 401, "{spelling}");
                let scope = format!(r#"scope="{canonical}""#);
                assert!(nobody.challenge().contains(&scope), "{spelling}: {}", nobody.challenge());
                assert_eq!(ask(&With::User("pusher")).await.status, 403, "{spelling}");
                assert_eq!(ask(&elsewhere).await.status, 401, "{spelling}");
                assert_eq!(ask(&token).await.status, 200, "{spelling}");
                assert_eq!(ask(&With::User("puller")).await.status, 200, "{spelling}");
                // Cached by now, it is no more anybody's than before.
                for method in ["GET", "HEAD"] {
                    let headers = [("range", "bytes=0-9")];
                    let with = With::User("other");
                    let answer = street.house.send(method, &spelling, &with, &headers, bytes::Bytes::new()).await;
                    assert_eq!(answer.status, 403, "{method} {spelling}");
                }
            }
        }
    }
}

#[tokio::test]
async fn b10_what_is_cached_with_an_account_is_for_those_a_rule_names() {
    let street = Street::build(Anonymous::Pull, &[("puller", &["proxy/**"], "pull")], true, false).await;
    for path in street.paths() {
        for spelling in street.spellings(&path) {
            let ask = async |with: &With| street.house.ask("GET", &spelling, with).await;
            assert_eq!(ask(&With::User("puller")).await.status, 200, "{spelling}");
            assert_eq!(ask(&With::Nothing).await.status, 401, "{spelling}");
            assert_eq!(ask(&With::User("pusher")).await.status, 403, "{spelling}");
        }
    }
    // Nor can it be mounted away by somebody else.
    let layer = &street.image.layers[0].digest;
    for query in [format!("mount={layer}&from={CANONICAL}"), format!("mount={layer}")] {
        let path = format!("/v2/team/app/blobs/uploads/?{query}");
        assert_eq!(street.house.ask("POST", &path, &With::User("pusher")).await.status, 202, "{query}");
    }
}

#[tokio::test]
async fn a_challenge_by_a_mirrors_door_says_whose_names_the_client_uses() {
    let street = Street::build(Anonymous::None, &[], false, false).await;
    let address = street.house.registry.address;
    let rows = [
        (format!("/v2/{REPOSITORY}/manifests/1?ns={UPSTREAM}"), format!("http://{address}/token?ns={UPSTREAM}")),
        (format!("/proxy/alias.test/v2/{REPOSITORY}/manifests/1"), format!("http://{address}/token?ns=alias.test")),
        (format!("/proxy/{UPSTREAM}/v2/"), format!("http://{address}/token?ns={UPSTREAM}")),
        (format!("/v2/{CANONICAL}/manifests/1"), format!("http://{address}/token")),
        (format!("/v2/{REPOSITORY}/manifests/1?ns={address}"), format!("http://{address}/token")),
        ("/v2/".to_owned(), format!("http://{address}/token")),
    ];
    for (path, realm) in rows {
        let answer = street.house.ask("GET", &path, &With::Nothing).await;
        assert_eq!(answer.status, 401, "{path}");
        let begin = format!(r#"Bearer realm="{realm}",service="#);
        assert!(answer.challenge().starts_with(&begin), "{path}: {}", answer.challenge());
    }
}

#[tokio::test]
async fn which_upstreams_there_are_is_said_to_those_who_may_use_them() {
    let street = Street::build(Anonymous::None, &[("puller", &["proxy/**"], "pull")], false, false).await;
    for unknown in ["localhost", "10.0.0.1:5000", "nothing", "%00", "a b"] {
        for path in [
            format!("/v2/{REPOSITORY}/manifests/1?ns={unknown}"),
            format!("/proxy/{}/v2/{REPOSITORY}/manifests/1", unknown.replace(' ', "%20")),
        ] {
            assert_eq!(street.house.ask("GET", &path, &With::Nothing).await.status, 401, "{path}");
            assert_eq!(street.house.ask("GET", &path, &With::User("pusher")).await.status, 403, "{path}");
            let told = street.house.ask("GET", &path, &With::User("puller")).await;
            assert_eq!((told.status, told.code().as_str()), (404, "NAME_UNKNOWN"), "{path}");
        }
    }
}

#[tokio::test]
async fn nobody_writes_through_a_door_and_strangers_do_not_even_learn_that() {
    let street = Street::build(Anonymous::Pull, &[], false, false).await;
    for path in street.spellings("manifests/1") {
        assert_eq!(street.house.ask("PUT", &path, &With::Nothing).await.status, 401, "{path}");
        assert_eq!(street.house.ask("PUT", &path, &With::User("pusher")).await.status, 403, "{path}");
        assert_eq!(street.house.ask("PUT", &path, &With::User("all")).await.status, 405, "{path}");
    }
}

#[tokio::test]
async fn a_root_mirror_tells_nobody_which_names_are_taken() {
    let more: &[(&str, &[&str], &str)] = &[
        ("puller", &["library/**", "proxy/upstream.test/**"], "pull"),
        ("creator", &["library/**"], "pull"),
        ("deleter", &["proxy/upstream.test/**"], "pull"),
    ];
    let street = Street::build(Anonymous::None, more, false, true).await;
    let house = &street.house;
    house.push("library/own", "1", &Image::new(8, &[10]), &With::User("all")).await;
    let ask = async |name: &str, with: &With| house.ask("GET", &format!("/v2/{name}/manifests/1"), with).await.status;
    // Whoever may pull by the name that he asks for, and what it stands for, gets it, also with the token that clients ask for.
    assert_eq!(ask(REPOSITORY, &With::User("puller")).await, 200);
    let token = house.token("puller", &["repository:library/app:pull"]).await;
    assert_eq!(ask(REPOSITORY, &token).await, 200);
    assert_eq!(ask("library/own", &With::User("puller")).await, 200);
    // One of the two is not enough, and what is taken looks like what is not to whoever may not know.
    assert_eq!(ask(REPOSITORY, &With::User("creator")).await, 403);
    assert_eq!(ask("library/own", &With::User("creator")).await, 200);
    for name in [REPOSITORY, "library/own", "library/absent"] {
        assert_eq!(ask(name, &With::User("deleter")).await, 403, "{name}");
        let nobody = house.ask("GET", &format!("/v2/{name}/manifests/1"), &With::Nothing).await;
        assert_eq!(nobody.status, 401, "{name}");
        assert!(nobody.challenge().ends_with(&format!(r#"scope="repository:{name}:pull""#)), "{}", nobody.challenge());
    }
}

#[tokio::test]
async fn b1_a_pushed_layer_is_not_to_be_had_through_an_upstream_that_names_it() {
    let street = Street::build(Anonymous::None, &[("puller", &["proxy/**"], "pull")], false, false).await;
    let image = Image::new(9, &[1000]);
    street.house.push("other/secret", "1", &image, &With::User("other")).await;
    // It names the layer, and does not have it.
    image.manifest.load_into(&street.upstream, REPOSITORY);
    street.upstream.put_tag(REPOSITORY, "stolen", &image.manifest.digest);
    let ask = async |path: String, user: &'static str| street.house.ask("GET", &path, &With::User(user)).await;
    let layer = &image.layers[0];
    assert_eq!(ask(format!("/v2/{CANONICAL}/manifests/stolen"), "puller").await.status, 200);
    let stolen = ask(format!("/v2/{CANONICAL}/blobs/{}", layer.digest), "puller").await;
    assert_eq!((stolen.status, stolen.code().as_str()), (404, "BLOB_UNKNOWN"));
    assert_eq!(ask(format!("/v2/other/secret/blobs/{}", layer.digest), "other").await.body, layer.bytes);
}
