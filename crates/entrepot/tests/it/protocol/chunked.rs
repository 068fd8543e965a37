//! Pushing a blob in parts: what each part is answered with, and which are refused.

use bytes::Bytes;
use entrepot_testkit::Blob;

use super::exchange::Answer;
use super::trial::{Trial, closing, sha512, streamed};
use super::wire::Feed;

rules! {
    "C3" "a part is answered with the location and the last byte that is there" => parts_say_how_far;
    "C4" "a part out of order is 416, the very first one too, and is not stored" => parts_out_of_order;
    "C5" "a last part out of order in the closing PUT is 416 and closes nothing" => a_last_part_out_of_order;
    "C6" "a part that is sent again is 416 and not appended twice" => replayed_parts;
    "C7" "an upload is closed with or without a last part" => closed_with_and_without_a_last_part;
    "C8" "every location of a session answers how far it is, old ones too" => every_location_answers;
    "C9" "no part is too small, so no minimum is announced" => the_smallest_parts;
    "C10" "a part without a range is appended" => streams_are_appended;
    "C11" "two parts at once are never mixed: the second is refused" => two_parts_at_once;
    "C12" "a range that contradicts the length is 400, a malformed one 416" => contradictory_ranges;
    "C13" "a part may have any content type, or none" => parts_of_any_type;
    "C17" "an empty session says 0-0" => empty_sessions_say_so;
}

fn half(blob: &Blob, second: bool) -> Bytes {
    let half = blob.bytes.len() / 2;
    if second { blob.bytes.slice(half..) } else { blob.bytes.slice(..half) }
}

fn at(answer: &Answer, location: &str, last: &str) {
    answer.has("location", location).has("range", format!("0-{last}"));
    answer.has("docker-upload-uuid", location.rsplit('/').next().unwrap());
}

async fn parts_say_how_far(trial: Trial) {
    let blob = trial.blob(1, 3000);
    let location = trial.start().await;
    for (first, last) in [(0, 999), (1000, 1000), (1001, 2999)] {
        let answer = trial.patch(&location).chunk(first, &blob.bytes.slice(first..=last)).await;
        answer.expect(202).has("content-length", "0");
        at(&answer, &location, &last.to_string());
    }
    trial.put(&closing(&location, &blob.digest)).await.expect(201);
    trial.holds_blob(&blob.digest, &blob.bytes).await;
}

async fn parts_out_of_order(trial: Trial) {
    let blob = trial.blob(1, 2000);
    let location = trial.start().await;
    let refused = trial.patch(&location).chunk(1000, &half(&blob, true)).await;
    refused.refused(416, "BLOB_UPLOAD_INVALID");
    at(&refused, &location, "0");
    at(trial.get(&location).await.expect(204), &location, "0");
    trial.patch(&location).chunk(0, &half(&blob, false)).await.expect(202);
    for first in [0, 999, 1001, 2000] {
        let refused = trial.patch(&location).chunk(first, &half(&blob, true)).await;
        refused.refused(416, "BLOB_UPLOAD_INVALID");
        at(&refused, &location, "999");
    }
    trial.patch(&location).chunk(1000, &half(&blob, true)).await.expect(202);
    trial.put(&closing(&location, &blob.digest)).await.expect(201);
    trial.holds_blob(&blob.digest, &blob.bytes).await;
}

async fn a_last_part_out_of_order(trial: Trial) {
    let blob = trial.blob(1, 2000);
    let location = trial.start().await;
    let refused = trial.put(&closing(&location, &blob.digest)).chunk(1000, &half(&blob, true)).await;
    refused.refused(416, "BLOB_UPLOAD_INVALID");
    at(&refused, &location, "0");
    trial.patch(&location).chunk(0, &half(&blob, false)).await.expect(202);
    let refused = trial.put(&closing(&location, &blob.digest)).chunk(1001, &half(&blob, true)).await;
    refused.refused(416, "BLOB_UPLOAD_INVALID");
    at(&refused, &location, "999");
    trial.holds_no_blob(&blob.digest).await;
    trial.put(&closing(&location, &blob.digest)).chunk(1000, &half(&blob, true)).await.expect(201);
    trial.holds_blob(&blob.digest, &blob.bytes).await;
}

async fn replayed_parts(trial: Trial) {
    let blob = trial.blob(1, 2000);
    let old = trial.start().await;
    let location = trial.patch(&old).chunk(0, &half(&blob, false)).await.expect(202).location();
    let refused = trial.patch(&old).chunk(0, &half(&blob, false)).await;
    refused.refused(416, "BLOB_UPLOAD_INVALID");
    at(&refused, &location, "999");
    at(trial.get(&old).await.expect(204), &location, "999");
    trial.put(&closing(&location, &blob.digest)).chunk(1000, &half(&blob, true)).await.expect(201);
    trial.holds_blob(&blob.digest, &blob.bytes).await;
}

async fn closed_with_and_without_a_last_part(trial: Trial) {
    for (index, digest) in [None, Some(sha512 as fn(&[u8]) -> _)].into_iter().enumerate() {
        let blob = trial.blob(index as u64, 2000);
        let digest = digest.map_or(blob.digest.clone(), |digest| digest(&blob.bytes));
        for is_ranged in [true, false] {
            let location = trial.patch(&trial.start().await).chunk(0, &half(&blob, false)).await.expect(202).location();
            let put = trial.put(&closing(&location, &digest));
            let put = if is_ranged { put.chunk(1000, &half(&blob, true)) } else { put.body(half(&blob, true)) };
            put.await.expect(201).has("location", format!("/v2/{}/blobs/{digest}", trial.name));
        }
        let location = trial.patch(&trial.start().await).chunk(0, &blob.bytes).await.expect(202).location();
        trial.put(&closing(&location, &digest)).header("content-length", "0").await.expect(201);
        trial.holds_blob(&digest, &blob.bytes).await;
    }
}

async fn every_location_answers(trial: Trial) {
    let blob = trial.blob(1, 300);
    let mut locations = vec![trial.start().await];
    for first in [0, 100, 200] {
        let answer = trial.patch(locations.last().unwrap()).chunk(first, &blob.bytes.slice(first..first + 100)).await;
        locations.push(answer.expect(202).location());
        for location in &locations {
            let status = trial.get(location).await;
            at(status.expect(204), locations.last().unwrap(), &(first + 99).to_string());
            trial.head(location).await.expect(204);
        }
    }
}

async fn the_smallest_parts(trial: Trial) {
    let blob = trial.blob(1, 10);
    let started = trial.post("blobs/uploads/").await;
    let location = started.expect(202).lacks("oci-chunk-min-length").location();
    for index in 0..10 {
        let answer = trial.patch(&location).chunk(index, &blob.bytes.slice(index..=index)).await;
        answer.expect(202).has("range", format!("0-{index}"));
    }
    trial.put(&closing(&location, &blob.digest)).await.expect(201);
    trial.holds_blob(&blob.digest, &blob.bytes).await;
}

async fn streams_are_appended(trial: Trial) {
    let blob = trial.blob(1, 300_000);
    let location = trial.start().await;
    for (first, last) in [(0, 99_999), (100_000, 199_999), (200_000, 299_999)] {
        let pieces = [blob.bytes.slice(first..first + 7), blob.bytes.slice(first + 7..=last)];
        let answer = trial.patch(&location).body(streamed(pieces)).await;
        at(answer.expect(202), &location, &last.to_string());
    }
    trial.put(&closing(&location, &blob.digest)).await.expect(201);
    trial.holds_blob(&blob.digest, &blob.bytes).await;
}

async fn two_parts_at_once(trial: Trial) {
    let blob = trial.blob(1, 2000);
    let location = trial.start().await;
    let (feed, body) = Feed::new();
    let first = async { trial.patch(&location).body(body).await };
    let meanwhile = async {
        feed.send(&half(&blob, false));
        // The status tells how far the first is while it runs: no other signal is needed.
        trial.until_received(&location, 1000).await;
        for answer in [
            trial.patch(&location).body("intruder").await,
            trial.patch(&location).chunk(1000, &half(&blob, true)).await,
            trial.put(&closing(&location, &blob.digest)).body("intruder").await,
            trial.delete(&location).await,
        ] {
            answer.must(matches!(answer.status, 409 | 416 | 429), "the second is refused");
        }
        feed.send(&half(&blob, true));
        drop(feed);
    };
    let (first, ()) = tokio::join!(first, meanwhile);
    at(first.expect(202), &location, "1999");
    trial.put(&closing(&location, &blob.digest)).await.expect(201);
    trial.holds_blob(&blob.digest, &blob.bytes).await;
}

async fn contradictory_ranges(trial: Trial) {
    let blob = trial.blob(1, 100);
    let location = trial.start().await;
    let part = |range: &str| trial.patch(&location).header("content-range", range).body(blob.bytes.clone());
    for range in ["0-98", "0-100", "0-0"] {
        part(range).await.refused(400, "SIZE_INVALID");
    }
    for range in ["", "0", "a-b", "99-0", "-99", "0-", "0--1", "0-99-100", "0-18446744073709551615", "items 0-99"] {
        let answer = part(range).await;
        answer.expect(416);
        let code = answer.json()["errors"][0]["code"].as_str().unwrap().to_owned();
        answer.must(matches!(code.as_str(), "RANGE_INVALID" | "BLOB_UPLOAD_INVALID"), "the code fits");
        trial
            .put(&closing(&location, &blob.digest))
            .header("content-range", range)
            .body(blob.bytes.clone())
            .await
            .expect(416);
    }
    at(trial.get(&location).await.expect(204), &location, "0");
    trial.holds_no_blob(&blob.digest).await;
    part("0-99").await.expect(202);
    trial.put(&closing(&location, &blob.digest)).await.expect(201);
}

async fn parts_of_any_type(trial: Trial) {
    let blob = trial.blob(1, 100);
    for content_type in [None, Some("application/octet-stream"), Some("text/plain; charset=x"), Some("nonsense")] {
        let patch = trial.patch(&trial.start().await).chunk(0, &blob.bytes);
        let patch = content_type.into_iter().fold(patch, |patch, text| patch.header("content-type", text));
        let location = patch.await.expect(202).location();
        trial.put(&closing(&location, &blob.digest)).await.expect(201);
    }
}

async fn empty_sessions_say_so(trial: Trial) {
    let started = trial.post("blobs/uploads/").await;
    let location = started.expect(202).has("range", "0-0").location();
    at(trial.get(&location).await.expect(204), &location, "0");
    at(trial.patch(&location).body(Bytes::new()).await.expect(202), &location, "0");
    at(trial.patch(&location).chunk(0, &Bytes::from_static(b"x")).await.expect(202), &location, "0");
}
