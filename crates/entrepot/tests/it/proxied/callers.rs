//! An upstream that is asked with the account of the caller, where nobody has one (threat B10).

use entrepot_testkit::{Auth, Image, Users};
use serde_json::Value;

use super::{NAME, Port};

/// With a repository for everybody and one for alice.
async fn open() -> (Port, Image) {
    let port = Port::with(|upstream| upstream.is_asked_as_caller = true).await;
    let image = Image::new(7, &[1000]);
    for repository in ["team/app", "team/public"] {
        image.load_into(&port.upstream, repository, "1");
    }
    let users = Users::with_tokens().user("alice", "secret", &["team/app"]).public("team/public");
    port.upstream.set_auth(Auth::Users(users));
    (port, image)
}

/// The status and the body without what differs from request to request.
async fn told(port: &Port, repository: &str, rest: &str) -> (u16, String) {
    let response = port.get(port.registry.url(&format!("/v2/proxy/{NAME}/{repository}/{rest}"))).await;
    let status = response.status().as_u16();
    let body: Value = response.json().await.unwrap();
    let message = body["errors"][0]["message"].as_str().unwrap().split(" (request").next().unwrap().to_owned();
    let detail = body["errors"][0]["detail"].to_string();
    (status, format!("{} {message} {detail}", body["errors"][0]["code"]).replace(repository, "NAME"))
}

#[tokio::test]
async fn b10_whoever_says_nothing_gets_what_is_public_and_is_told_of_nothing_else() {
    let (port, image) = open().await;
    let rests = [
        "manifests/1".to_owned(),
        format!("manifests/{}", image.manifest.digest),
        format!("blobs/{}", image.layers[0].digest),
        "tags/list".to_owned(),
    ];
    for rest in &rests {
        let public = port.get(port.registry.url(&format!("/v2/proxy/{NAME}/team/public/{rest}"))).await;
        assert_eq!(public.status(), 200, "{rest}");
        let private = told(&port, "team/app", rest).await;
        assert_eq!(private.0, 404, "{rest}: {}", private.1);
        assert_eq!(private, told(&port, "team/none", rest).await, "{rest}");
    }
    port.upstream.stop().await;
    let (status, body) = told(&port, "team/elsewhere", "manifests/1").await;
    assert!(status >= 500, "an outage is no absence: {status} {body}");
}
