//! Pushing blobs: sessions, and whole blobs in one request.

use bytes::Bytes;
use entrepot_oci::{Algorithm, Digest};
use futures_util::future::join_all;

use super::trial::{Trial, Way, closing, sha512};
use super::wire::Wire;

rules! {
    "B1" "a POST starts a session of its own and says where it is" => sessions_are_unique;
    "B2" "the digest may join the location in any order and spelling" => queries_of_any_order;
    "B3" "a PUT with the whole blob makes it, to be pulled at once" => whole_in_one_put;
    "B4" "a POST with the digest and the whole blob makes it" => whole_in_one_post;
    "B5" "a POST with a whole blob that is taken never answers as if it had started a session" => one_post_starts_no_session;
    "B6" "a POST whose body is not what it says is refused and stores nothing" => lying_posts;
    "B7" "a wrong, malformed or unsupported digest is 400 and stores nothing" => bad_digests;
    "B8" "a blob of nothing can be pushed in every way" => empty_blobs;
    "B9" "a sha512 digest is taken without a hint in every way" => sha512_without_a_hint;
    "B10" "digest-algorithm is a hint, and refused when it cannot be followed" => hints;
    "B11" "a PUT without digest keeps the session, one with a wrong digest ends it" => a_missing_digest_is_no_wrong_one;
    "B12" "a blob is there before its push is answered" => visible_at_once;
    "B13" "a PUT or POST that breaks off commits nothing" => broken_closings;
    "B14" "pushing again succeeds, also many at once" => pushing_again;
    "B15" "a session that never was, or is another repository's, is unknown to every method" => unknown_sessions;
    "B16" "the first push creates the repository" => the_first_push_creates;
}

async fn sessions_are_unique(trial: Trial) {
    let answer = trial.post("blobs/uploads/").await;
    answer.expect(202).has("range", "0-0").has("content-length", "0").lacks("docker-content-digest");
    let id = answer.header("docker-upload-uuid");
    answer.has("location", format!("/v2/{}/blobs/uploads/{id}", trial.name));
    answer.must(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "the id is 128 bits");
    assert_ne!(trial.start().await, answer.location());
    // Keys that nobody knows are in nobody's way.
    trial.post("blobs/uploads/?x=y&platform=linux").await.expect(202);
}

async fn queries_of_any_order(trial: Trial) {
    for (index, query) in ["digest=D", "_state=x%2Fy&digest=D", "digest=D&n=1&x", "&&digest=D&"].into_iter().enumerate()
    {
        for colon in [":", "%3A", "%3a"] {
            let blob = trial.blob(index as u64, 100);
            let digest = blob.digest.as_str().replace(':', colon);
            let path = format!("{}?{}", trial.start().await, query.replace('D', &digest));
            trial.put(&path).body(blob.bytes.clone()).await.expect(201);
            trial.holds_blob(&blob.digest, &blob.bytes).await;
        }
    }
}

async fn whole_in_one_put(trial: Trial) {
    push_and_pull(&trial, Way::Put).await;
}

async fn whole_in_one_post(trial: Trial) {
    push_and_pull(&trial, Way::Post).await;
}

async fn push_and_pull(trial: &Trial, way: Way) {
    let blob = trial.blob(1, 100_000);
    let pushed = trial.push_by(way, &blob.bytes, &blob.digest).await;
    pushed.expect(201).has("location", format!("/v2/{}/blobs/{}", trial.name, blob.digest));
    pushed.has("docker-content-digest", blob.digest.as_str()).has("content-length", "0");
    trial.get(&pushed.location()).await.expect(200).is(&blob.bytes);
}

async fn one_post_starts_no_session(trial: Trial) {
    let blob = trial.blob(1, 10);
    let pushed = trial.push_by(Way::Post, &blob.bytes, &blob.digest).await;
    pushed.expect(201).lacks("docker-upload-uuid").lacks("range");
}

async fn lying_posts(trial: Trial) {
    let (blob, other) = (trial.blob(1, 100), trial.blob(2, 100));
    let path = format!("blobs/uploads/?digest={}", blob.digest);
    for wrong in [other.bytes.clone(), blob.bytes.slice(..99), Bytes::new(), [&blob.bytes[..], b"x"].concat().into()] {
        trial.post(&path).body(wrong).await.refused(400, "DIGEST_INVALID");
        trial.holds_no_blob(&blob.digest).await;
    }
    trial.holds_no_blob(&other.digest).await;
}

/// Digests that are none, or of algorithms that this registry does not know.
fn impossible_digests(bytes: &[u8]) -> Vec<String> {
    let hex = Algorithm::Sha256.digest(bytes).hex().to_owned();
    vec![
        "sha256:baddigeststring".into(),
        format!("sha256:{}", hex.to_uppercase()),
        format!("sha256:{}", &hex[1..]),
        format!("sha512:{hex}"),
        format!("sha384:{hex}{}", &hex[..32]),
        format!("blake3:{hex}"),
        format!("md5:{}", &hex[..32]),
        hex,
        ":".into(),
        String::new(),
    ]
}

async fn bad_digests(trial: Trial) {
    let (blob, other) = (trial.blob(1, 100), trial.blob(2, 100));
    for digest in impossible_digests(&blob.bytes) {
        trial
            .post(&format!("blobs/uploads/?digest={digest}"))
            .body(blob.bytes.clone())
            .await
            .refused(400, "DIGEST_INVALID");
        let location = trial.start().await;
        trial.put(&format!("{location}?digest={digest}")).body(blob.bytes.clone()).await.refused(400, "DIGEST_INVALID");
    }
    let location = trial.start().await;
    trial.put(&closing(&location, &other.digest)).body(blob.bytes.clone()).await.refused(400, "DIGEST_INVALID");
    let location = trial.start().await;
    trial.put(&closing(&location, &sha512(&other.bytes))).body(blob.bytes.clone()).await.refused(400, "DIGEST_INVALID");
    for blob in [blob, other] {
        trial.holds_no_blob(&blob.digest).await;
        trial.holds_no_blob(sha512(&blob.bytes)).await;
    }
}

async fn every_way(trial: &Trial, bytes: &Bytes, digest: &Digest) {
    for way in Way::ALL {
        let place = trial.beside(&format!("{way:?}").to_lowercase());
        let pushed = place.push_by(way, bytes, digest).await;
        pushed.expect(201).has("location", format!("/v2/{}/blobs/{digest}", place.name));
        pushed.has("docker-content-digest", digest.as_str());
        place.holds_blob(digest, bytes).await;
    }
}

async fn empty_blobs(trial: Trial) {
    for digest in [Algorithm::Sha256.digest(b""), sha512(b"")] {
        every_way(&trial, &Bytes::new(), &digest).await;
    }
    // A part of nothing is a part.
    let location = trial.patch(&trial.start().await).body(Bytes::new()).await.expect(202).location();
    trial.put(&closing(&location, &Algorithm::Sha256.digest(b""))).await.expect(201);
}

async fn sha512_without_a_hint(trial: Trial) {
    let blob = trial.blob(1, 100_000);
    every_way(&trial, &blob.bytes, &sha512(&blob.bytes)).await;
}

async fn hints(trial: Trial) {
    let blob = trial.blob(1, 1000);
    // Followed, contradicted, and the default spelled out.
    for (hint, digest) in
        [("sha512", sha512(&blob.bytes)), ("sha512", blob.digest.clone()), ("sha256", sha512(&blob.bytes))]
    {
        let location = trial.post(&format!("blobs/uploads/?digest-algorithm={hint}")).await.expect(202).location();
        let location = trial.patch(&location).body(blob.bytes.clone()).await.expect(202).location();
        trial.put(&closing(&location, &digest)).await.expect(201);
        trial.holds_blob(&digest, &blob.bytes).await;
    }
    for hint in ["sha384", "blake3", "SHA256", ""] {
        let answer = trial.post(&format!("blobs/uploads/?digest-algorithm={hint}")).await;
        answer.refused(400, "DIGEST_INVALID").lacks("location");
    }
}

async fn a_missing_digest_is_no_wrong_one(trial: Trial) {
    let (blob, other) = (trial.blob(1, 100), trial.blob(2, 100));
    let location = trial.patch(&trial.start().await).chunk(0, &blob.bytes).await.expect(202).location();
    trial.put(&location).await.refused(400, "DIGEST_INVALID");
    trial.put(&format!("{location}?digest=sha256:short")).await.refused(400, "DIGEST_INVALID");
    trial.get(&location).await.expect(204).has("range", "0-99");
    trial.holds_no_blob(&blob.digest).await;
    trial.put(&closing(&location, &other.digest)).await.refused(400, "DIGEST_INVALID");
    trial.get(&location).await.refused(404, "BLOB_UPLOAD_UNKNOWN");
    trial.put(&closing(&location, &blob.digest)).await.refused(404, "BLOB_UPLOAD_UNKNOWN");
    trial.holds_no_blob(&blob.digest).await;
    trial.holds_no_blob(&other.digest).await;
}

async fn visible_at_once(trial: Trial) {
    for way in Way::ALL {
        let blob = trial.blob(way as u64, 10_000);
        trial.push_by(way, &blob.bytes, &blob.digest).await.expect(201);
        trial.head(&format!("blobs/{}", blob.digest)).await.expect(200).has("content-length", "10000");
    }
}

async fn broken_closings(trial: Trial) {
    let blob = trial.blob(1, 100);
    let length = vec![format!("Content-Length: {}", blob.bytes.len() + 1)];
    let post = format!("/v2/{}/blobs/uploads/?digest={}", trial.name, blob.digest);
    let location = trial.start().await;
    for (method, target) in [("POST", post), ("PUT", closing(&location, &blob.digest))] {
        let mut wire = Wire::begin(&trial, method, &target, &length).await;
        wire.send(&blob.bytes).await;
        wire.end().await;
        if let Some(answer) = wire.answer().await {
            answer.refused(400, "SIZE_INVALID");
        }
        trial.holds_no_blob(&blob.digest).await;
    }
    // The session is where it was, and takes the whole blob from its first byte.
    trial.get(&location).await.expect(204).has("range", "0-0");
    trial.put(&closing(&location, &blob.digest)).body(blob.bytes.clone()).await.expect(201);
    trial.holds_blob(&blob.digest, &blob.bytes).await;
}

async fn pushing_again(trial: Trial) {
    let blob = trial.blob(1, 50_000);
    for way in Way::ALL {
        trial.push_by(way, &blob.bytes, &blob.digest).await.expect(201);
    }
    let fresh = trial.blob(2, 50_000);
    let answers = join_all((0..32).map(|_| trial.push_by(Way::Put, &fresh.bytes, &fresh.digest))).await;
    for answer in answers {
        answer.expect(201);
    }
    trial.holds_blob(&fresh.digest, &fresh.bytes).await;
}

async fn unknown_sessions(trial: Trial) {
    let blob = trial.blob(1, 100);
    let real = trial.patch(&trial.start().await).chunk(0, &blob.bytes).await.expect(202).location();
    let id = real.rsplit('/').next().unwrap();
    let stranger = trial.beside("stranger");
    stranger.start().await;
    let elsewhere = format!("/v2/{}/blobs/uploads/{id}", stranger.name);
    let never = format!("/v2/{}/blobs/uploads/{}", trial.name, "0".repeat(32));
    let malformed = format!("/v2/{}/blobs/uploads/{}", trial.name, id.to_uppercase());
    for location in [elsewhere, never, malformed, format!("/v2/{}/blobs/uploads/1", trial.name)] {
        trial.get(&location).await.refused(404, "BLOB_UPLOAD_UNKNOWN");
        trial.head(&location).await.expect(404);
        trial.patch(&location).body("x").await.refused(404, "BLOB_UPLOAD_UNKNOWN");
        trial.put(&closing(&location, &blob.digest)).await.refused(404, "BLOB_UPLOAD_UNKNOWN");
        trial.delete(&location).await.refused(404, "BLOB_UPLOAD_UNKNOWN");
    }
    stranger.holds_no_blob(&blob.digest).await;
    trial.get(&real).await.expect(204).has("range", "0-99");
    trial.put(&closing(&real, &blob.digest)).await.expect(201);
    trial.patch(&real).body("x").await.refused(404, "BLOB_UPLOAD_UNKNOWN");
}

async fn the_first_push_creates(trial: Trial) {
    for way in [Way::Post, Way::Put, Way::Mount] {
        let fresh = trial.beside(&format!("{way:?}").to_lowercase());
        fresh.get("tags/list").await.refused(404, "NAME_UNKNOWN");
        let blob = trial.blob(1, 10);
        fresh.push_by(way, &blob.bytes, &blob.digest).await.expect(201);
        assert_eq!(fresh.tags().await, Vec::<String>::new());
    }
    trial.named("Bad").post("blobs/uploads/").await.refused(400, "NAME_INVALID");
}
