//! Mounting blobs from other repositories.

use super::trial::{Trial, Way, sha512};

rules! {
    "M1" "a mounted blob is answered with its place in the target" => mounted_into_the_target;
    "M2" "what cannot be mounted starts an upload" => what_cannot_be_mounted_starts_an_upload;
    "M3" "without a source the blob is found wherever it is" => found_anywhere;
    "M4" "a source that is unknown, malformed or another registry's is answered as an upload" => sources_of_every_kind;
    "M5" "a source alone is ignored, a malformed digest refused, the target itself no mount of nothing" => odd_mounts;
    "M6" "a mounted blob stays when its source is deleted" => mounts_outlive_their_source;
}

async fn mounted_into_the_target(trial: Trial) {
    let blob = trial.blob(1, 1000);
    for digest in [blob.digest.clone(), sha512(&blob.bytes)] {
        let mounted = trial.push_by(Way::Mount, &blob.bytes, &digest).await;
        mounted.expect(201).has("location", format!("/v2/{}/blobs/{digest}", trial.name));
        mounted.has("docker-content-digest", digest.as_str()).lacks("docker-upload-uuid");
        trial.holds_blob(&digest, &blob.bytes).await;
    }
}

/// The answer to a mount is the start of an upload that works.
async fn starts_an_upload(trial: &Trial, query: &str) {
    let answer = trial.post(&format!("blobs/uploads/?{query}")).await;
    answer.expect(202).has("range", "0-0").lacks("docker-content-digest");
    trial.get(&answer.location()).await.expect(204);
}

async fn what_cannot_be_mounted_starts_an_upload(trial: Trial) {
    let (blob, absent) = (trial.blob(1, 1000), trial.blob(2, 1000));
    let source = trial.beside("source");
    source.push_blob(&blob).await;
    starts_an_upload(&trial, &format!("mount={}&from={}", absent.digest, source.name)).await;
    starts_an_upload(&trial, &format!("mount={}&from=rule/nobodys", blob.digest)).await;
    // The same bytes under the other digest are another blob.
    starts_an_upload(&trial, &format!("mount={}&from={}", sha512(&blob.bytes), source.name)).await;
    trial.holds_no_blob(&blob.digest).await;
    trial.holds_no_blob(&absent.digest).await;
}

async fn found_anywhere(trial: Trial) {
    let (blob, absent) = (trial.blob(1, 1000), trial.blob(2, 1000));
    starts_an_upload(&trial, &format!("mount={}", absent.digest)).await;
    trial.beside("source").push_blob(&blob).await;
    for query in [format!("mount={}", blob.digest), format!("mount={}&from=", blob.digest)] {
        trial.post(&format!("blobs/uploads/?{query}")).await.expect(201);
        trial.holds_blob(&blob.digest, &blob.bytes).await;
    }
}

async fn sources_of_every_kind(trial: Trial) {
    let blob = trial.blob(1, 1000);
    trial.beside("source").push_blob(&blob).await;
    for from in
        ["rule/nobodys", "UPPER", "..%2f..", "proxy/localhost/x", "proxy/quay.io/team/app", "proxy/quay.io", "proxy"]
    {
        starts_an_upload(&trial, &format!("mount={}&from={from}", blob.digest)).await;
    }
    trial.holds_no_blob(&blob.digest).await;
}

async fn odd_mounts(trial: Trial) {
    let blob = trial.blob(1, 1000);
    let source = trial.beside("source");
    source.push_blob(&blob).await;
    starts_an_upload(&trial, &format!("from={}", source.name)).await;
    for digest in ["", "short", "sha256:short", "sha384:00"] {
        let answer = trial.post(&format!("blobs/uploads/?mount={digest}&from={}", source.name)).await;
        answer.refused(400, "DIGEST_INVALID");
    }
    starts_an_upload(&trial, &format!("mount={}&from={}", blob.digest, trial.name)).await;
    source.post(&format!("blobs/uploads/?mount={}&from={}", blob.digest, source.name)).await.expect(201);
}

async fn mounts_outlive_their_source(trial: Trial) {
    let blob = trial.blob(1, 1000);
    let source = trial.beside("source");
    source.push_blob(&blob).await;
    trial.post(&format!("blobs/uploads/?mount={}&from={}", blob.digest, source.name)).await.expect(201);
    source.delete(&format!("blobs/{}", blob.digest)).await.expect(202);
    source.holds_no_blob(&blob.digest).await;
    trial.holds_blob(&blob.digest, &blob.bytes).await;
}
