//! What is parsed on every request: digests, repository names, manifests, and the `Range` header.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use entrepot_oci::{Algorithm, Digest, Manifest, RangeRequest, RepositoryName};

/// Layers of the image that stands for most images.
const LAYERS_TYPICAL: usize = 8;

/// Layers of an image that makes a manifest of about half a mebibyte: far beyond what builders produce, well inside the limit.
const LAYERS_MANY: usize = 2_500;

fn names(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("names");
    let digest = Algorithm::Sha256.digest(b"layer").to_string();
    group.bench_function("digest", |bencher| bencher.iter(|| black_box(&*digest).parse::<Digest>()));
    for (label, name) in [
        ("repository, two components", "team/application"),
        ("repository, proxied", "proxy/registry-1.docker.io/library/redis"),
    ] {
        group.bench_function(label, |bencher| bencher.iter(|| black_box(name).parse::<RepositoryName>()));
    }
    group.finish();
}

fn manifests(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("manifest");
    for (label, layers) in [("8 layers", LAYERS_TYPICAL), ("2500 layers", LAYERS_MANY)] {
        let bytes = image(layers);
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(label, |bencher| bencher.iter(|| Manifest::parse(black_box(bytes.clone()), None)));
    }
    group.finish();
}

fn ranges(criterion: &mut Criterion) {
    const SIZE: u64 = 1 << 30;
    let mut group = criterion.benchmark_group("range");
    for (label, header) in [("one part", "bytes=1048576-"), ("four parts", "bytes=0-99, 500-999,4096-8191,-1024")] {
        group.bench_function(label, |bencher| bencher.iter(|| RangeRequest::parse(black_box(Some(header)), SIZE)));
    }
    group.finish();
}

/// The manifest of an image, written as builders write it: indented, with a type for every descriptor.
fn image(layers: usize) -> Bytes {
    let descriptor = |kind: &str, number: usize| {
        serde_json::json!({
            "mediaType": format!("application/vnd.oci.image.{kind}"),
            "size": 1_000_000 + number,
            "digest": Algorithm::Sha256.digest(&number.to_le_bytes()).to_string(),
        })
    };
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("config.v1+json", layers),
        "layers": (0..layers).map(|number| descriptor("layer.v1.tar+gzip", number)).collect::<Vec<_>>(),
        "annotations": { "org.opencontainers.image.created": "2026-01-01T00:00:00Z" },
    });
    let bytes = Bytes::from(serde_json::to_vec_pretty(&manifest).expect("a value without maps of odd keys"));
    // A benchmark of a refusal would measure nothing.
    Manifest::parse(bytes.clone(), None).expect("a legal manifest");
    bytes
}

criterion_group!(benches, names, manifests, ranges);
criterion_main!(benches);
