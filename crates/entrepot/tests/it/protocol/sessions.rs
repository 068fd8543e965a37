//! The life of an upload session: broken connections, restarts, cancelling, expiry.

use std::path::Path;
use std::time::Duration;

use entrepot_registry::Limits;
use futures_util::future::join_all;

use super::trial::{Trial, closing, files, sha512};
use super::wire::{Feed, Wire};
use crate::support::{Running, Setup};

rules! {
    "C14" "what was received before a part broke off is kept, and the upload goes on behind it" => broken_parts_are_resumed;
    "C14" "an upload goes on after a restart at the exact byte" => uploads_survive_a_restart;
    "C15" "a cancelled session is gone, with its bytes" => cancelled_sessions_are_gone;
    "C16" "sessions that nobody uses end after their time, others do not" => abandoned_sessions_end;
    "C8" "many may ask at once how far a session is" => status_for_many;
    "threat D3" "the size limit counts the whole session, not one request" => sessions_have_a_limit;
}

async fn broken_parts_are_resumed(trial: Trial) {
    let blob = trial.blob(1, 10_000);
    let location = trial.start().await;
    let (feed, body) = Feed::new();
    let breaking = async {
        feed.send(&blob.bytes.slice(..4000));
        trial.until_received(&location, 4000).await;
        feed.break_off();
    };
    let (broken, ()) = tokio::join!(trial.patch(&location).body(body).attempt(), breaking);
    assert!(!broken.is_ok_and(|answer| answer.status < 400), "half a body is no success");
    trial.get(&location).await.expect(204).has("range", "0-3999");
    // By length instead of in chunks: the connection dies early.
    let lines = ["Content-Length: 6000".to_owned(), "Content-Range: 4000-9999".to_owned()];
    trial.until_free(&location).await;
    let mut wire = Wire::begin(&trial, "PATCH", &location, &lines).await;
    wire.send(&blob.bytes[4000..7000]).await;
    trial.until_received(&location, 7000).await;
    wire.end().await;
    if let Some(answer) = wire.answer().await {
        answer.refused(400, "SIZE_INVALID");
    }
    trial.until_free(&location).await;
    let rest = trial.patch(&location).chunk(7000, &blob.bytes.slice(7000..)).await;
    rest.expect(202).has("range", "0-9999");
    trial.put(&closing(&location, &blob.digest)).await.expect(201);
    trial.holds_blob(&blob.digest, &blob.bytes).await;
}

async fn uploads_survive_a_restart(trial: Trial) {
    let mut running = Running::start().await;
    let before = trial.on(&running);
    let blob = before.blob(1, 300_000);
    let digests = [blob.digest.clone(), sha512(&blob.bytes)];
    let mut locations = Vec::new();
    for _ in &digests {
        let location =
            before.patch(&before.start().await).chunk(0, &blob.bytes.slice(..123_457)).await.expect(202).location();
        locations.push(location);
    }
    let empty = before.start().await;
    running.restart().await;
    let after = trial.on(&running);
    after.get(&empty).await.expect(204).has("range", "0-0");
    for (location, digest) in locations.iter().zip(&digests) {
        after.get(location).await.expect(204).has("range", "0-123456").has("location", location);
        after.patch(location).chunk(0, &blob.bytes).await.refused(416, "BLOB_UPLOAD_INVALID");
        let part = after.patch(location).chunk(123_457, &blob.bytes.slice(123_457..200_000)).await;
        part.expect(202).has("range", "0-199999");
        let put = after.put(&closing(location, digest)).chunk(200_000, &blob.bytes.slice(200_000..)).await;
        put.expect(201);
        after.holds_blob(digest, &blob.bytes).await;
    }
    running.restart().await;
    trial.on(&running).holds_blob(&blob.digest, &blob.bytes).await;
    trial.on(&running).get(&locations[0]).await.refused(404, "BLOB_UPLOAD_UNKNOWN");
}

async fn cancelled_sessions_are_gone(trial: Trial) {
    let running = Running::start().await;
    let trial = trial.on(&running);
    let blob = trial.blob(1, 1000);
    let location = trial.patch(&trial.start().await).chunk(0, &blob.bytes).await.expect(202).location();
    assert_eq!(staged(&trial.folder), 1);
    let cancelled = trial.delete(&location).await;
    cancelled.expect(204).has("docker-upload-uuid", location.rsplit('/').next().unwrap());
    for method in ["GET", "HEAD", "PATCH", "DELETE"] {
        trial.ask(method, &location).await.expect(404);
    }
    trial.put(&closing(&location, &blob.digest)).await.refused(404, "BLOB_UPLOAD_UNKNOWN");
    trial.holds_no_blob(&blob.digest).await;
    assert_eq!(staged(&trial.folder), 0);
}

/// How many files wait in the temporary storage.
fn staged(folder: &Path) -> usize {
    let is_staged = |path: &&std::path::PathBuf| path.metadata().unwrap().is_file() && !path.ends_with("entrepot.lock");
    files(&folder.join("tmp")).iter().filter(is_staged).count()
}

async fn abandoned_sessions_end(trial: Trial) {
    let mut running = Running::start().await;
    let patient = trial.on(&running);
    let blob = patient.blob(1, 1000);
    let location = patient.patch(&patient.start().await).chunk(0, &blob.bytes).await.expect(202).location();
    let swept = running.assembly().registry.sweep(false).await.unwrap();
    assert_eq!(swept.uploads, 0, "a session that is in use has been ended");
    patient.get(&location).await.expect(204).has("range", "0-999");
    drop(patient);
    // With no patience at all, it is abandoned as soon as the clock has moved.
    running.replace_limits(Limits { upload_expiry: Duration::ZERO, ..Limits::default() }).await;
    let trial = trial.on(&running);
    while trial.get(&location).await.status == 204 {
        running.assembly().registry.sweep(false).await.unwrap();
    }
    trial.get(&location).await.refused(404, "BLOB_UPLOAD_UNKNOWN");
    assert_eq!(staged(&trial.folder), 0);
    trial.holds_no_blob(&blob.digest).await;
}

async fn status_for_many(trial: Trial) {
    let mut running = Running::start().await;
    let before = trial.on(&running);
    let blob = before.blob(1, 1_000_000);
    let location = before.patch(&before.start().await).chunk(0, &blob.bytes).await.expect(202).location();
    // Also right after a restart, when nobody knows yet.
    running.restart().await;
    let trial = trial.on(&running);
    for answer in join_all((0..32).map(|_| async { trial.get(&location).await })).await {
        answer.expect(204).has("range", "0-999999");
    }
    trial.put(&closing(&location, &blob.digest)).await.expect(201);
}

async fn sessions_have_a_limit(trial: Trial) {
    let limits = Limits { blob_bytes_max: 1000, ..Limits::default() };
    let running = Running::with(Setup { limits: Some(limits), ..Setup::default() }).await;
    let trial = trial.on(&running);
    let (largest, larger) = (trial.blob(1, 1000), trial.blob(2, 1001));
    trial.push_blob(&largest).await;
    let location = trial.patch(&trial.start().await).chunk(0, &larger.bytes.slice(..600)).await.expect(202).location();
    trial.patch(&location).chunk(600, &larger.bytes.slice(600..)).await.refused(413, "SIZE_INVALID");
    trial.get(&location).await.refused(404, "BLOB_UPLOAD_UNKNOWN");
    let post = trial.post(&format!("blobs/uploads/?digest={}", larger.digest)).body(larger.bytes.clone()).await;
    post.refused(413, "SIZE_INVALID");
    trial
        .put(&closing(&trial.start().await, &larger.digest))
        .body(larger.bytes.clone())
        .await
        .refused(413, "SIZE_INVALID");
    trial.holds_no_blob(&larger.digest).await;
    assert_eq!(staged(&trial.folder), 0);
}
