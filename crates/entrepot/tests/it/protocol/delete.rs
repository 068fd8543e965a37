//! Deleting tags, manifests and blobs.

use super::trial::{Trial, sha512};

rules! {
    "D0" "tags, manifests and blobs can all be deleted" => everything_can_be_deleted;
    "D1" "a deleted tag is gone and its manifest is not" => deleted_tags;
    "D2" "a manifest that is deleted by its digest takes every tag with it" => deleted_manifests;
    "D3" "what is not there cannot be deleted, and it is said what is missing" => nothing_to_delete;
    "D4" "where deleting is off it is 405 for tags, manifests and blobs" => deleting_may_be_off;
    "D5" "a deleted blob is gone" => deleted_blobs;
    "D6" "a deletion is seen at once, and a push brings everything back" => seen_at_once;
    "D7" "a blob may be deleted although a manifest names it" => blobs_in_use;
    "D8" "the entries of an index may go before it and after it" => indexes_and_their_entries;
}

async fn everything_can_be_deleted(trial: Trial) {
    let image = trial.pushed("1").await;
    trial.delete("manifests/1").await.expect(202).has("content-length", "0");
    trial.delete(&format!("manifests/{}", image.manifest.digest)).await.expect(202).has("content-length", "0");
    for blob in image.blobs() {
        trial.delete(&format!("blobs/{}", blob.digest)).await.expect(202).has("content-length", "0");
    }
    assert_eq!(trial.tags().await, Vec::<String>::new());
}

async fn deleted_tags(trial: Trial) {
    let image = trial.pushed("1").await;
    trial.push_manifest("2", &image.manifest).await;
    trial.delete("manifests/1").await.expect(202);
    trial.holds_no_manifest("1").await;
    assert_eq!(trial.tags().await, ["2"]);
    trial.delete("manifests/2").await.expect(202);
    trial.get(&format!("manifests/{}", image.manifest.digest)).await.expect(200).is(&image.manifest.bytes);
    trial.delete("manifests/2").await.refused(404, "MANIFEST_UNKNOWN");
}

async fn deleted_manifests(trial: Trial) {
    let (image, kept) = (trial.pushed("1").await, trial.image(1));
    let digest = &image.manifest.digest;
    trial.push_manifest(format!("{digest}?tag=2&tag=3"), &image.manifest).await;
    trial.push_image("kept", &kept).await;
    let long = sha512(&image.manifest.bytes);
    trial.push_manifest(format!("{long}?tag=long"), &image.manifest).await;
    let other = trial.beside("other");
    other.push_image("1", &image).await;
    trial.delete(&format!("manifests/{digest}")).await.expect(202);
    for reference in ["1", "2", "3", digest.as_str()] {
        trial.holds_no_manifest(reference).await;
    }
    assert_eq!(trial.tags().await, ["kept", "long"]);
    // Another name of the same bytes, and another repository, have lost nothing.
    trial.get("manifests/long").await.expect(200).is(&image.manifest.bytes);
    other.get("manifests/1").await.expect(200).is(&image.manifest.bytes);
    trial.delete(&format!("manifests/{digest}")).await.refused(404, "MANIFEST_UNKNOWN");
}

async fn nothing_to_delete(trial: Trial) {
    let absent = trial.image(1);
    let paths = ["manifests/1".to_owned(), format!("manifests/{}", absent.manifest.digest)];
    let blob = format!("blobs/{}", absent.config.digest);
    for path in paths.iter().chain([&blob]) {
        trial.delete(path).await.refused(404, "NAME_UNKNOWN");
    }
    trial.start().await;
    for path in &paths {
        trial.delete(path).await.refused(404, "MANIFEST_UNKNOWN");
    }
    trial.delete(&blob).await.refused(404, "BLOB_UNKNOWN");
    trial.delete("manifests/sha256:short").await.refused(404, "MANIFEST_UNKNOWN");
    trial.delete("blobs/sha256:short").await.refused(404, "BLOB_UNKNOWN");
}

async fn deleting_may_be_off(trial: Trial) {
    let digest = trial.image(1).manifest.digest;
    let proxied = trial.named("proxy/registry-1.docker.io/library/app");
    for path in ["manifests/1".to_owned(), format!("manifests/{digest}"), format!("blobs/{digest}")] {
        proxied.delete(&path).await.refused(405, "UNSUPPORTED").has("allow", "GET, HEAD");
    }
}

async fn deleted_blobs(trial: Trial) {
    let (blob, kept) = (trial.blob(1, 100), trial.blob(2, 100));
    trial.push_blob(&blob).await;
    trial.push_blob(&kept).await;
    trial.delete(&format!("blobs/{}", blob.digest)).await.expect(202);
    trial.holds_no_blob(&blob.digest).await;
    trial.delete(&format!("blobs/{}", blob.digest)).await.refused(404, "BLOB_UNKNOWN");
    trial.holds_blob(&kept.digest, &kept.bytes).await;
}

async fn seen_at_once(trial: Trial) {
    let image = trial.image(0);
    for _ in 0..10 {
        trial.push_image("1", &image).await;
        trial.delete("manifests/1").await.expect(202);
        trial.head("manifests/1").await.expect(404);
        let paths = [format!("manifests/{}", image.manifest.digest), format!("blobs/{}", image.config.digest)];
        for path in paths {
            trial.head(&path).await.expect(200);
            trial.delete(&path).await.expect(202);
            trial.head(&path).await.expect(404);
        }
    }
}

async fn blobs_in_use(trial: Trial) {
    let image = trial.pushed("1").await;
    let layer = &image.layers[0];
    trial.delete(&format!("blobs/{}", layer.digest)).await.expect(202);
    trial.holds_no_blob(&layer.digest).await;
    trial.get("manifests/1").await.expect(200).is(&image.manifest.bytes);
    trial.put_manifest("2", &image.manifest).await.refused(400, "MANIFEST_BLOB_UNKNOWN");
    trial.push_image("2", &image).await;
    trial.holds_blob(&layer.digest, &layer.bytes).await;
}

async fn indexes_and_their_entries(trial: Trial) {
    let image = trial.pushed("image").await;
    let index = entrepot_testkit::index(&[("amd64", &image.manifest)]);
    let (child, parent) = (format!("manifests/{}", image.manifest.digest), format!("manifests/{}", index.digest));
    for order in [[&child, &parent], [&parent, &child]] {
        trial.push_manifest("image", &image.manifest).await;
        trial.push_manifest("index", &index).await;
        for path in order {
            trial.delete(path).await.expect(202);
            trial.head(path).await.expect(404);
        }
        assert_eq!(trial.tags().await, Vec::<String>::new());
    }
}
