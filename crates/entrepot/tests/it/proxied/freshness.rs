//! What tags and lists cost the upstream, as a client sees it; all else about freshness is tested in the domain, with its own clock.

use entrepot_testkit::{Blob, Image, Seen};
use entrepot_upstream::UpstreamConfig;
use reqwest::{Method, StatusCode};
use serde_json::Value;

use super::{NAME, Port, REPOSITORY, header};
use crate::support::{Running, Setup};

#[tokio::test]
async fn within_its_window_a_tag_costs_nothing_and_carries_no_warning() {
    let (port, image) = Port::with_image(&[10]).await;
    port.manifest("1").await;
    port.upstream.forget_requests();
    for response in [port.manifest("1").await, port.head(port.manifest_url("1")).await] {
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(header(&response, "docker-content-digest"), image.manifest.digest.as_str());
        assert_eq!(header(&response, "warning"), "");
    }
    assert_eq!(port.upstream.requests().len(), 0);
}

#[tokio::test]
async fn the_pages_of_a_list_cost_one_question() {
    let (port, image) = Port::with_image(&[10]).await;
    for tag in ["2", "3", "4", "5"] {
        port.upstream.put_tag(REPOSITORY, tag, &image.manifest.digest);
    }
    let mut url = format!("{}?n=2", port.tags_url());
    let mut listed: Vec<String> = Vec::new();
    loop {
        let page = port.get(url).await;
        let next =
            header(&page, "link").split_once('<').and_then(|(_, rest)| rest.split_once('>')).map(|(next, _)| next);
        let next = next.map(|next| port.registry.url(next));
        let page: Value = serde_json::from_slice(&page.bytes().await.unwrap()).unwrap();
        listed.extend(page["tags"].as_array().unwrap().iter().map(|tag| tag.as_str().unwrap().to_owned()));
        match next {
            Some(next) => url = next,
            None => break,
        }
    }
    assert_eq!(listed, ["1", "2", "3", "4", "5"]);
    assert_eq!(port.upstream.count(Seen::is_tags), 1);
}

#[tokio::test]
async fn a_cache_in_front_of_a_cache_asks_through_to_the_upstream_and_answers_without_it() {
    let (mut back, image) = Port::confirming(&[1000]).await;
    let cold = Blob::random(5, 77);
    back.upstream.put_blob(REPOSITORY, cold.bytes.clone());
    let address = format!("http://{}", back.registry.address);
    let front = Setup { upstreams: vec![UpstreamConfig::new("back", address.parse().unwrap())], ..Setup::default() };
    let front = Running::with(front).await;
    let url = |path: String| front.url(&format!("/v2/proxy/back/proxy/{NAME}/{REPOSITORY}/{path}"));
    let ask = |method: Method, path: String| front.client.request(method, url(path)).send();
    // HEAD of what neither of them has: of a blob its size, of a manifest its digest.
    let blob = ask(Method::HEAD, format!("blobs/{}", cold.digest)).await.unwrap();
    assert_eq!((blob.status(), header(&blob, "content-length")), (StatusCode::OK, "77"));
    let manifest = ask(Method::HEAD, format!("manifests/{}", image.manifest.digest)).await.unwrap();
    assert_eq!(header(&manifest, "docker-content-digest"), image.manifest.digest.as_str());
    let manifest = ask(Method::GET, "manifests/1".to_owned()).await.unwrap();
    assert_eq!(manifest.bytes().await.unwrap(), image.manifest.bytes);
    let layer = &image.layers[0];
    let blob = ask(Method::GET, format!("blobs/{}", layer.digest)).await.unwrap();
    assert_eq!(blob.bytes().await.unwrap(), layer.bytes);
    assert_eq!(back.blob_gets(), 1);
    let missing = ask(Method::HEAD, format!("blobs/{}", Image::new(9, &[10]).config.digest)).await.unwrap();
    assert_eq!(missing.status(), StatusCode::NOT_FOUND);
    back.leftovers().await;
    front.assembly().registry.fills_ended().await;
    // Neither the upstream nor the cache before it is needed for what is here.
    back.upstream.stop().await;
    back.registry.replace_upstreams(Vec::new()).await;
    let blob = ask(Method::GET, format!("blobs/{}", layer.digest)).await.unwrap();
    assert_eq!(blob.bytes().await.unwrap(), layer.bytes);
    let manifest = ask(Method::GET, "manifests/1".to_owned()).await.unwrap();
    assert_eq!(manifest.bytes().await.unwrap(), image.manifest.bytes);
}
