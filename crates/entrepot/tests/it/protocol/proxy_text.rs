//! What the specification says about proxies, as far as it concerns pushes and hosted names. Pulling through has tests
//! of its own.

use super::trial::{Trial, Way};

rules! {
    "X4" "ns is ignored where it is our own host or the path says more, and reaches nothing hosted where it is not" => ns_shadows_nothing;
    "X5" "a push or delete under proxy/ is 405 UNSUPPORTED, whatever it says" => caches_are_not_written;
}

async fn ns_shadows_nothing(trial: Trial) {
    let image = trial.image(0);
    let library = trial.named(&format!("library/{}", trial.name));
    library.push_image("1", &image).await;
    let own = trial.address.to_string();
    for ns in [own.as_str(), &own.replace(':', "%3A"), ""] {
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
    // Another registry's name of the same spelling is another name. These are none that could be asked.
    for ns in ["nothing", "127.0.0.1:5000", "%00"] {
        for path in ["manifests/1".to_owned(), "tags/list".into(), format!("blobs/{}", image.layers[0].digest)] {
            library.get(&format!("{path}?ns={ns}")).await.refused(404, "NAME_UNKNOWN").lacks("oci-namespace");
            library.head(&format!("{path}?ns={ns}")).await.expect(404);
        }
        library.put(&format!("manifests/1?ns={ns}")).await.refused(405, "UNSUPPORTED").has("allow", "GET, HEAD");
        library.post(&format!("blobs/uploads/?ns={ns}")).await.refused(405, "UNSUPPORTED");
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
