//! The doors: every way to spell another registry's repository, and that none of them leads to what is ours or past what is refused.

use entrepot_registry::ProxySettings;
use entrepot_testkit::{FakeUpstream, Image, Seen};
use entrepot_upstream::UpstreamConfig;
use reqwest::{Method, Response, StatusCode};
use serde_json::Value;

use super::{NAME, REPOSITORY, header};
use crate::support::{Running, Setup};

/// A registry whose root is a mirror of an upstream with one image.
struct House {
    upstream: FakeUpstream,
    registry: Running,
    image: Image,
}

impl House {
    async fn build() -> Self {
        Self::with_root_mirror(Some(NAME)).await
    }

    async fn with_root_mirror(root_mirror: Option<&str>) -> Self {
        let upstream = FakeUpstream::start().await;
        let image = Image::new(7, &[1000]);
        image.load_into(&upstream, REPOSITORY, "1");
        let config = UpstreamConfig::new(NAME, upstream.url().parse().unwrap());
        let settings = ProxySettings { root_mirror: root_mirror.map(str::to_owned), ..ProxySettings::default() };
        let registry = Running::with(Setup { upstreams: vec![config], settings, ..Setup::default() }).await;
        Self { upstream, registry, image }
    }

    async fn ask(&self, method: &str, path: &str) -> Response {
        let method: Method = method.parse().unwrap();
        self.registry.client.request(method, self.registry.url(path)).send().await.unwrap()
    }

    async fn get(&self, path: &str) -> Response {
        self.ask("GET", path).await
    }

    /// Every way to spell a path below the upstream's repository.
    fn spellings(&self, path: &str) -> Vec<String> {
        let authority = self.upstream.address();
        vec![
            format!("/v2/proxy/{NAME}/{REPOSITORY}/{path}"),
            format!("/v2/proxy/{NAME}/{REPOSITORY}/{path}?ns={NAME}"),
            format!("/v2/proxy/{NAME}/{REPOSITORY}/{path}?ns=elsewhere.example"),
            format!("/v2/{REPOSITORY}/{path}?ns={NAME}"),
            format!("/v2/{REPOSITORY}/{path}?ns=Upstream.TEST"),
            format!("/v2/{REPOSITORY}/{path}?ns={authority}"),
            format!("/proxy/{NAME}/v2/{REPOSITORY}/{path}"),
            format!("/proxy/{NAME}/v2/{REPOSITORY}/{path}?ns=elsewhere.example"),
            format!("/proxy/{authority}/v2/{REPOSITORY}/{path}"),
            format!("/v2/{REPOSITORY}/{path}"),
        ]
    }

    /// Pushes an image into a repository of our own.
    async fn push(&self, repository: &str, tag: &str, image: &Image) {
        for blob in image.blobs() {
            let url = self.registry.url(&format!("/v2/{repository}/blobs/uploads/?digest={}", blob.digest));
            let pushed = self.registry.client.post(url).body(blob.bytes.clone()).send().await.unwrap();
            assert_eq!(pushed.status(), StatusCode::CREATED);
        }
        let url = self.registry.url(&format!("/v2/{repository}/manifests/{tag}"));
        let put = self.registry.client.put(url).header("content-type", image.manifest.media_type.as_str());
        assert_eq!(put.body(image.manifest.bytes.clone()).send().await.unwrap().status(), StatusCode::CREATED);
    }
}

async fn error(response: Response) -> (String, String) {
    let body: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
    let text = |field: &str| body["errors"][0][field].as_str().unwrap().to_owned();
    (text("code"), text("message"))
}

#[tokio::test]
async fn every_door_leads_to_the_same_entries() {
    let house = House::build().await;
    let layer = &house.image.layers[0];
    for path in house.spellings("manifests/1") {
        let response = house.get(&path).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        assert_eq!(header(&response, "docker-distribution-api-version"), "registry/2.0", "{path}");
        let namespace = path.split_once("?ns=").map(|(_, namespace)| namespace);
        let is_echoed = namespace.is_some_and(|namespace| namespace != "elsewhere.example");
        assert_eq!(header(&response, "oci-namespace"), namespace.filter(|_| is_echoed).unwrap_or_default(), "{path}");
        assert_eq!(response.bytes().await.unwrap(), house.image.manifest.bytes, "{path}");
        assert_eq!(house.ask("HEAD", &path).await.status(), StatusCode::OK, "{path}");
    }
    for path in house.spellings(&format!("blobs/{}", layer.digest)) {
        assert_eq!(house.get(&path).await.bytes().await.unwrap(), layer.bytes, "{path}");
    }
    for path in house.spellings(&format!("referrers/{}", house.image.manifest.digest)) {
        assert_eq!(house.get(&path).await.status(), StatusCode::OK, "{path}");
    }
    assert_eq!(house.upstream.count(|seen| seen.is_get() && seen.is_manifest()), 1);
    assert_eq!(house.upstream.count(|seen| seen.is_get() && seen.is_blob()), 1);
    assert_eq!(house.upstream.count(|seen| !seen.parameters("ns").is_empty()), 0, "ns is for us alone");
}

#[tokio::test]
async fn pages_lead_on_through_the_door_that_the_client_came_in_by() {
    let house = House::build().await;
    house.upstream.put_tag(REPOSITORY, "2", &house.image.manifest.digest);
    for path in house.spellings("tags/list") {
        let (place, query) = path.split_once('?').map_or((path.as_str(), ""), |(place, query)| (place, query));
        let mut next = format!("{place}?n=1&{query}");
        let mut tags = Vec::new();
        loop {
            let response = house.get(&next).await;
            let link = header(&response, "link").to_owned();
            let body: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
            tags.extend(body["tags"].as_array().unwrap().iter().map(|tag| tag.as_str().unwrap().to_owned()));
            let is_path = path.starts_with("/v2/proxy/");
            let name = if is_path { format!("proxy/{NAME}/{REPOSITORY}") } else { REPOSITORY.to_owned() };
            assert_eq!(body["name"], name, "the client's own name for it: {path}");
            let Some(target) = link.strip_prefix('<').and_then(|link| link.strip_suffix(">; rel=\"next\"")) else {
                break;
            };
            assert!(target.starts_with(&format!("{place}?")), "{path}: {target}");
            assert!(query.is_empty() || target.contains("&ns="), "{path}: {target}");
            target.clone_into(&mut next);
        }
        assert_eq!(tags, ["1", "2"], "{path}");
    }
}

#[tokio::test]
async fn a_namespace_that_is_no_registry_sends_the_client_on() {
    let house = House::build().await;
    for namespace in
        ["nothing", "localhost:5000", "10.0.0.1", "ghcr.io:5000", "a/b", "user@ghcr.io", "%00", "%ff", "%0d%0a"]
    {
        for path in ["manifests/1", "tags/list", &format!("blobs/{}", house.image.layers[0].digest)] {
            let path = format!("/v2/{REPOSITORY}/{path}?ns={namespace}");
            let response = house.get(&path).await;
            assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
            assert_eq!(header(&response, "oci-namespace"), "", "{path}");
            let (code, message) = error(response).await;
            assert_eq!(code, "NAME_UNKNOWN", "{path}");
            assert!(message.contains("proxy.upstream"), "{path}: {message}");
            assert_eq!(house.ask("HEAD", &path).await.status(), StatusCode::NOT_FOUND, "{path}");
        }
    }
    assert_eq!(house.upstream.connections(), 0);
}

#[tokio::test]
async fn the_root_of_every_door_answers_without_any_upstream() {
    let house = House::build().await;
    house.upstream.stop().await;
    let roots = ["/v2/?ns=docker.io", "/v2/?ns=%00", "/v2?ns=nothing", "/proxy/docker.io/v2/", "/proxy/nothing/v2"];
    for path in roots {
        let response = house.get(path).await;
        assert_eq!(
            (response.status(), header(&response, "docker-distribution-api-version")),
            (StatusCode::OK, "registry/2.0")
        );
        assert_eq!(response.text().await.unwrap(), "{}", "{path}");
    }
    // The list of what is hosted is nobody else's.
    house.push("team/secret", "1", &Image::new(9, &[10])).await;
    for path in [format!("/v2/_catalog?ns={NAME}"), format!("/proxy/{NAME}/v2/_catalog")] {
        let response = house.get(&path).await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
        assert!(!response.text().await.unwrap().contains("secret"), "{path}");
    }
}

#[tokio::test]
async fn nothing_is_written_through_a_door() {
    let house = House::build().await;
    let session = format!("blobs/uploads/{}", "0".repeat(32));
    let digest = &house.image.layers[0].digest;
    let writes = [
        ("PUT", "manifests/1".to_owned()),
        ("DELETE", "manifests/1".to_owned()),
        ("DELETE", format!("blobs/{digest}")),
        ("POST", "blobs/uploads/".to_owned()),
        ("GET", session.clone()),
        ("PATCH", session.clone()),
        ("PUT", session.clone()),
        ("DELETE", session),
    ];
    for namespace in [NAME, "nothing", "docker.io", "%00"] {
        for (method, path) in &writes {
            let doors = [
                format!("/v2/{REPOSITORY}/{path}?ns={namespace}"),
                format!("/proxy/{namespace}/v2/{REPOSITORY}/{path}"),
            ];
            for path in doors {
                let response = house.ask(method, &path).await;
                assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
                assert_eq!(header(&response, "allow"), "GET, HEAD", "{method} {path}");
                assert_eq!(error(response).await.0, "UNSUPPORTED", "{method} {path}");
            }
        }
    }
    assert_eq!(house.upstream.connections(), 0);
    let catalog: Value = serde_json::from_slice(&house.get("/v2/_catalog").await.bytes().await.unwrap()).unwrap();
    assert_eq!(catalog["repositories"], Value::Array(Vec::new()));
}

#[tokio::test]
async fn own_and_foreign_names_are_never_confused() {
    let house = House::build().await;
    // The same name here and there, other content.
    let ours = Image::new(8, &[500]);
    house.push(REPOSITORY, "1", &ours).await;
    house.push("team/secret", "1", &ours).await;
    let own = house.registry.address;
    for path in [format!("/v2/{REPOSITORY}/manifests/1"), format!("/v2/{REPOSITORY}/manifests/1?ns={own}")] {
        let response = house.get(&path).await;
        assert_eq!(header(&response, "oci-namespace"), "", "{path}");
        assert_eq!(response.bytes().await.unwrap(), ours.manifest.bytes, "{path}");
    }
    // What a hosted repository lacks, it lacks.
    house.upstream.put_tag(REPOSITORY, "2", &house.image.manifest.digest);
    let layer = &house.image.layers[0].digest;
    for path in
        ["manifests/2".to_owned(), format!("manifests/{}", house.image.manifest.digest), format!("blobs/{layer}")]
    {
        assert_eq!(house.get(&format!("/v2/{REPOSITORY}/{path}")).await.status(), StatusCode::NOT_FOUND, "{path}");
    }
    let tags = house.get(&format!("/v2/{REPOSITORY}/tags/list")).await.text().await.unwrap();
    assert!(tags.contains(r#"["1"]"#), "{tags}");
    assert_eq!(house.upstream.connections(), 0, "no hosted name was sent to the upstream");
    // And the other way round: whoever asks for the upstream's gets the upstream's.
    let theirs = house.get(&format!("/v2/{REPOSITORY}/manifests/1?ns={NAME}")).await;
    assert_eq!(theirs.bytes().await.unwrap(), house.image.manifest.bytes);
    let blob = format!("blobs/{}", ours.layers[0].digest);
    for path in [format!("{REPOSITORY}/{blob}"), "team/secret/manifests/1".to_owned(), format!("team/secret/{blob}")] {
        for path in [format!("/v2/{path}?ns={NAME}"), format!("/proxy/{NAME}/v2/{path}")] {
            assert_eq!(house.get(&path).await.status(), StatusCode::NOT_FOUND, "{path}");
        }
    }
}

#[tokio::test]
async fn an_own_host_in_ns_is_a_hosted_name_also_for_writes() {
    let house = House::build().await;
    let own = house.registry.address;
    let started = house.ask("POST", &format!("/v2/fresh/app/blobs/uploads/?ns={own}")).await;
    assert_eq!(started.status(), StatusCode::ACCEPTED);
    // Said to be ours, it is not looked for at the root mirror.
    let path = format!("/v2/{REPOSITORY}/manifests/1?ns={own}");
    assert_eq!(house.get(&path).await.status(), StatusCode::NOT_FOUND);
    assert_eq!(house.upstream.connections(), 0);
}

#[tokio::test]
async fn a_root_mirror_is_asked_for_pulls_of_what_nobody_has_pushed_and_for_nothing_else() {
    let house = House::build().await;
    let layer = &house.image.layers[0];
    // Who asks by HEAD for a blob is about to push: told that it is there, the push would leave it out and fail.
    let blob = format!("/v2/{REPOSITORY}/blobs/{}", layer.digest);
    assert_eq!(house.ask("HEAD", &blob).await.status(), StatusCode::NOT_FOUND);
    for path in ["manifests/1", "blobs/uploads/"] {
        let method = if path.ends_with('/') { "POST" } else { "DELETE" };
        let status = house.ask(method, &format!("/v2/other/app/{path}")).await.status();
        assert!(matches!(status, StatusCode::ACCEPTED | StatusCode::NOT_FOUND), "{method} {path}: {status}");
    }
    assert_eq!(house.upstream.connections(), 0);
    assert_eq!(house.get(&blob).await.bytes().await.unwrap(), layer.bytes);
    // From its first push on the name is ours.
    let ours = Image::new(8, &[500]);
    house.push(REPOSITORY, "1", &ours).await;
    let pulled = house.get(&format!("/v2/{REPOSITORY}/manifests/1")).await;
    assert_eq!(pulled.bytes().await.unwrap(), ours.manifest.bytes);
    assert_eq!(house.upstream.count(Seen::is_manifest), 0);

    let closed = House::with_root_mirror(None).await;
    assert_eq!(closed.get(&format!("/v2/{REPOSITORY}/manifests/1")).await.status(), StatusCode::NOT_FOUND);
    assert_eq!(closed.upstream.connections(), 0);
}
