//! From method and path to a route: the first thing done for every request.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use entrepot_server::Route;
use http::Method;

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// What a registry is asked, roughly as often as here: many pulls, some pushes, a few lists, and what is none of its API.
fn requests() -> Vec<(Method, String)> {
    let blob = format!("/v2/team/app/blobs/{DIGEST}");
    let proxied = format!("/v2/proxy/registry-1.docker.io/library/redis/blobs/{DIGEST}");
    let encoded = blob.replace(':', "%3A");
    vec![
        (Method::GET, "/v2/".into()),
        (Method::HEAD, "/v2/team/app/manifests/latest".into()),
        (Method::GET, "/v2/team/app/manifests/latest".into()),
        (Method::GET, format!("/v2/team/app/manifests/{DIGEST}")),
        (Method::GET, "/v2/proxy/ghcr.io/org/project/app/manifests/1.2.3".into()),
        (Method::HEAD, blob.clone()),
        (Method::GET, blob),
        (Method::GET, proxied),
        (Method::GET, encoded),
        (Method::POST, "/v2/team/app/blobs/uploads/".into()),
        (Method::PATCH, "/v2/team/app/blobs/uploads/9b2e6f0c4a5d4d0f8a4b5c6d7e8f9a0b".into()),
        (Method::PUT, "/v2/team/app/blobs/uploads/9b2e6f0c4a5d4d0f8a4b5c6d7e8f9a0b".into()),
        (Method::PUT, "/v2/team/app/manifests/latest".into()),
        (Method::GET, "/v2/team/app/tags/list".into()),
        (Method::GET, format!("/v2/team/app/referrers/{DIGEST}")),
        (Method::GET, "/favicon.ico".into()),
    ]
}

fn routing(criterion: &mut Criterion) {
    let requests = requests();
    let mut group = criterion.benchmark_group("route");
    group.throughput(Throughput::Elements(requests.len() as u64));
    group.bench_function("16 requests", |bencher| {
        bencher.iter(|| {
            for (method, path) in &requests {
                // Whether it is a route or a refusal: both are answers.
                let _ = black_box(Route::parse(black_box(method), black_box(path)));
            }
        });
    });
    group.finish();
}

criterion_group!(benches, routing);
criterion_main!(benches);
