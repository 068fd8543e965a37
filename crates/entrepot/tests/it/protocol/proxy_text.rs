//! What the specification says about proxies, as far as it concerns pushes and hosted names. Pulling through has tests
//! of its own.

use super::trial::{Trial, Way};

rules! {
    "X4" "ns never shadows what is hosted" => ns_shadows_nothing;
    "X5" "a push or delete under proxy/ is 405 UNSUPPORTED, whatever it says" => caches_are_not_written;
}

async fn ns_shadows_nothing(trial: Trial) {
    let image = trial.image(0);
    let library = trial.named(&format!("library/{}", trial.name));
    library.push_image("1", &image).await;
    for ns in ["docker.io", "quay.io", "127.0.0.1:5000", "%00", ""] {
        let with = |path: &str| format!("{path}{}ns={ns}", if path.contains('?') { '&' } else { '?' });
        library.get(&with("manifests/1")).await.expect(200).is(&image.manifest.bytes).lacks("oci-namespace");
        let layer = &image.layers[0];
        library.get(&with(&format!("blobs/{}", layer.digest))).await.expect(200).is(&layer.bytes);
        library.head(&with(&format!("blobs/{}", layer.digest))).await.expect(200);
        library.get(&with("tags/list")).await.expect(200);
        library.get(&with(&format!("referrers/{}", image.manifest.digest))).await.expect(200);
        library
            .put(&with("manifests/1"))
            .header("content-type", image.manifest.media_type.as_str())
            .body(image.manifest.bytes.clone())
            .await
            .expect(201);
        let blob = library.blob(9, 10);
        library
            .post(&with(&format!("blobs/uploads/?digest={}", blob.digest)))
            .body(blob.bytes.clone())
            .await
            .expect(201);
        library.get(&with("manifests/2")).await.refused(404, "MANIFEST_UNKNOWN");
    }
    assert_eq!(library.tags().await, ["1"]);
}

async fn caches_are_not_written(trial: Trial) {
    let image = trial.image(0);
    let (manifest, layer) = (&image.manifest, &image.layers[0]);
    trial.push_by(Way::Post, &layer.bytes, &layer.digest).await.expect(201);
    let session = format!("blobs/uploads/{}", "0".repeat(32));
    let requests = [
        ("PUT", "manifests/1".to_owned()),
        ("PUT", format!("manifests/{}?tag=1&tag=-", manifest.digest)),
        ("POST", "blobs/uploads/".to_owned()),
        ("POST", "blobs/uploads/?digest-algorithm=none".to_owned()),
        ("POST", format!("blobs/uploads/?digest={}", layer.digest)),
        ("POST", "blobs/uploads/?digest=short".to_owned()),
        ("POST", format!("blobs/uploads/?mount={}&from={}", layer.digest, trial.name)),
        ("PATCH", session.clone()),
        ("PATCH", "blobs/uploads/1".to_owned()),
        ("PUT", session.clone()),
        ("PUT", format!("{session}?digest={}", layer.digest)),
        ("DELETE", session),
        ("DELETE", "manifests/1".to_owned()),
        ("DELETE", format!("manifests/{}", manifest.digest)),
        ("DELETE", format!("blobs/{}", layer.digest)),
    ];
    // Registries that may be asked, one that may not, and what names none.
    for name in ["registry-1.docker.io/library/app", "docker.io/app", "localhost/app", "10.0.0.1/app", "nothing"] {
        let proxied = trial.named(&format!("proxy/{name}"));
        for (method, path) in &requests {
            let answer = proxied.ask(method, path).body(manifest.bytes.clone()).await;
            answer.refused(405, "UNSUPPORTED").has("allow", "GET, HEAD");
        }
    }
    // More than a manifest may have is not even read.
    let large = vec![b' '; 5 << 20];
    trial.named("proxy/docker.io/app").put("manifests/1").body(large).await.refused(405, "UNSUPPORTED");
}
