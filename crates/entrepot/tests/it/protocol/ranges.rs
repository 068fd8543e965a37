//! Parts of blobs, and requests that depend on what the client has already.

use std::io::BufRead;

use bytes::Bytes;
use entrepot_testkit::Blob;

use super::trial::{Trial, sha512};
use super::wire::Wire;

rules! {
    "V1" "a range is answered with exactly its bytes" => ranges_are_exact;
    "V2" "a range that ends behind the blob is cut, a long suffix is the whole" => ranges_are_cut;
    "V3" "a range outside of the blob or the wrong way round is 416" => ranges_outside;
    "V4" "several ranges come as parts of one answer" => several_ranges;
    "V4" "ranges that overlap are answered by the whole, too many are refused" => greedy_ranges;
    "V5" "another unit than bytes is ignored" => unknown_units;
    "V6" "If-Range with another entity tag asks for the whole" => if_range;
    "V7" "HEAD ignores ranges" => head_ignores_ranges;
    "V8" "If-None-Match is answered with 304 in every spelling of the digest" => not_modified;
    "V9" "ranges of manifests are ignored" => manifests_have_no_ranges;
    "V10" "a client may leave in the middle" => clients_may_leave;
}

const SIZE: usize = 2048;

async fn blob(trial: &Trial) -> (Blob, String) {
    let blob = trial.blob(1, SIZE);
    trial.push_blob(&blob).await;
    let path = format!("blobs/{}", blob.digest);
    (blob, path)
}

async fn exact(trial: &Trial, rows: &[(&str, usize, usize)]) {
    let (blob, path) = blob(trial).await;
    for (range, first, last) in rows {
        let answer = trial.get(&path).header("range", range).await;
        answer.expect(206).has("content-range", format!("bytes {first}-{last}/{SIZE}"));
        answer.has("content-length", (last - first + 1).to_string()).has("accept-ranges", "bytes");
        answer.has("docker-content-digest", blob.digest.as_str()).has("etag", format!("\"{}\"", blob.digest));
        answer.has("content-type", "application/octet-stream").is(&blob.bytes[*first..=*last]);
    }
}

async fn ranges_are_exact(trial: Trial) {
    let rows = [
        ("bytes=500-1499", 500, 1499),
        ("bytes=500-", 500, 2047),
        ("bytes=-500", 1548, 2047),
        ("bytes=0-0", 0, 0),
        ("bytes=2047-2047", 2047, 2047),
        ("bytes=0-", 0, 2047),
        ("BYTES=1-2", 1, 2),
        ("bytes= 1-2 ", 1, 2),
        ("bytes=0001-2", 1, 2),
    ];
    exact(&trial, &rows).await;
}

async fn ranges_are_cut(trial: Trial) {
    let rows = [
        ("bytes=2000-5000", 2000, 2047),
        ("bytes=-5000", 0, 2047),
        ("bytes=-2048", 0, 2047),
        ("bytes=2047-99999999999999999999999", 2047, 2047),
        ("bytes=5000-6000,1-2", 1, 2),
    ];
    exact(&trial, &rows).await;
}

async fn ranges_outside(trial: Trial) {
    let (_, path) = blob(&trial).await;
    for range in
        ["500-0", "5000-10000", "2048-", "-0", "a-b", "-", "1", "1-2-3", "+1-2", "99999999999999999999-", "1-2,x"]
    {
        let answer = trial.get(&path).header("range", format!("bytes={range}")).await;
        answer.refused(416, "RANGE_INVALID").has("content-range", "bytes */2048");
    }
    let nothing = Blob::new("");
    trial.push_blob(&nothing).await;
    let answer = trial.get(&format!("blobs/{}", nothing.digest)).header("range", "bytes=0-").await;
    answer.refused(416, "RANGE_INVALID").has("content-range", "bytes */0");
}

/// The parts of a `multipart/byteranges` body: what each says it is, and what it has.
fn parts(content_type: &str, body: &Bytes) -> Vec<(String, Bytes)> {
    let boundary = content_type.strip_prefix("multipart/byteranges; boundary=").unwrap();
    let (delimiter, mut rest) = (format!("\r\n--{boundary}"), body.clone());
    let mut parts = Vec::new();
    let find = |bytes: &[u8], needle: &[u8]| bytes.windows(needle.len()).position(|window| window == needle).unwrap();
    drop(rest.split_to(find(&rest, delimiter.as_bytes()) + delimiter.len()));
    while rest != b"--\r\n"[..] {
        assert_eq!(rest.split_to(2), "\r\n");
        let head = rest.split_to(find(&rest, b"\r\n\r\n") + 4);
        let lines: Vec<String> = head.lines().map(Result::unwrap).collect();
        assert!(lines.contains(&"Content-Type: application/octet-stream".to_owned()), "{lines:?}");
        let range = lines.iter().find_map(|line| line.strip_prefix("Content-Range: ")).unwrap().to_owned();
        let content = rest.split_to(find(&rest, delimiter.as_bytes()));
        drop(rest.split_to(delimiter.len()));
        parts.push((range, content));
    }
    parts
}

async fn several_ranges(trial: Trial) {
    let (blob, path) = blob(&trial).await;
    let rows: [(&str, &[(usize, usize)]); 4] = [
        ("bytes=0-9,20-29", &[(0, 9), (20, 29)]),
        ("bytes=20-29, 0-9", &[(20, 29), (0, 9)]),
        ("bytes=0-0,-1,1000-1009", &[(0, 0), (2047, 2047), (1000, 1009)]),
        ("bytes=0-9,5000-,2040-", &[(0, 9), (2040, 2047)]),
    ];
    for (range, expected) in rows {
        let answer = trial.get(&path).header("range", range).await;
        answer.expect(206).lacks("content-range").has("content-length", answer.body.len().to_string());
        let found = parts(answer.header("content-type"), &answer.body);
        let expected: Vec<(String, Bytes)> = expected
            .iter()
            .map(|(first, last)| (format!("bytes {first}-{last}/{SIZE}"), blob.bytes.slice(*first..=*last)))
            .collect();
        assert_eq!(found, expected, "{range}");
    }
    let most: Vec<String> = (0..64).map(|number| format!("{}-{}", number * 10, number * 10)).collect();
    let answer = trial.get(&path).header("range", format!("bytes={}", most.join(","))).await;
    assert_eq!(parts(answer.expect(206).header("content-type"), &answer.body).len(), 64);
}

async fn greedy_ranges(trial: Trial) {
    let (blob, path) = blob(&trial).await;
    for range in ["bytes=0-,0-,0-", "bytes=0-2000,1-2001"] {
        trial.get(&path).header("range", range).await.expect(200).is(&blob.bytes);
    }
    let too_many = format!("bytes={}", vec!["0-0"; 65].join(","));
    trial.get(&path).header("range", too_many).await.refused(416, "RANGE_INVALID");
}

async fn unknown_units(trial: Trial) {
    let (blob, path) = blob(&trial).await;
    for range in ["items=0-1", "seconds=1-", "none", "0-1"] {
        trial.get(&path).header("range", range).await.expect(200).is(&blob.bytes).lacks("content-range");
    }
}

async fn if_range(trial: Trial) {
    let (blob, path) = blob(&trial).await;
    let etag = format!("\"{}\"", blob.digest);
    let ask = |condition: &str| trial.get(&path).header("range", "bytes=0-9").header("if-range", condition);
    ask(&etag).await.expect(206).is(&blob.bytes[..10]);
    let other = format!("\"{}\"", sha512(&blob.bytes));
    for condition in [other.as_str(), &format!("W/{etag}"), "\"\"", "*", "Mon, 23 Nov 2026 10:00:00 GMT"] {
        ask(condition).await.expect(200).is(&blob.bytes).lacks("content-range");
    }
    // A range that cannot be is none either, when the condition asks for the whole.
    let ask = trial.get(&path).header("range", "bytes=9-0").header("if-range", &other);
    ask.await.expect(200).is(&blob.bytes);
}

async fn head_ignores_ranges(trial: Trial) {
    let (blob, path) = blob(&trial).await;
    for range in ["bytes=0-9", "bytes=9-0", "bytes=0-0,2-2"] {
        let head = trial.head(&path).header("range", range).await;
        head.expect(200).has("content-length", SIZE.to_string()).has("docker-content-digest", blob.digest.as_str());
        head.lacks("content-range");
    }
}

async fn not_modified(trial: Trial) {
    let (blob, path) = blob(&trial).await;
    let image = trial.pushed("1").await;
    let manifest = &image.manifest.digest;
    let paths =
        [(path, &blob.digest), ("manifests/1".to_owned(), manifest), (format!("manifests/{manifest}"), manifest)];
    for (path, digest) in paths {
        let other = sha512(b"other");
        let spellings = [
            format!("\"{digest}\""),
            format!("W/\"{digest}\""),
            digest.to_string(),
            "*".to_owned(),
            format!("\"{other}\", W/\"{digest}\""),
        ];
        for method in ["GET", "HEAD"] {
            for spelling in &spellings {
                let answer = trial.ask(method, &path).header("if-none-match", spelling).await;
                answer.expect(304).has("etag", format!("\"{digest}\"")).has("docker-content-digest", digest.as_str());
                answer.is("").header("cache-control");
            }
            for spelling in [format!("\"{other}\""), "\"x\"".to_owned(), String::new()] {
                trial.ask(method, &path).header("if-none-match", spelling).await.expect(200);
            }
        }
        // Two lines are one list, and 304 comes before any range.
        let two =
            trial.get(&path).header("if-none-match", format!("\"{other}\"")).header("if-none-match", digest.as_str());
        two.await.expect(304);
        trial.get(&path).header("if-none-match", "*").header("range", "bytes=0-1").await.expect(304);
    }
    let absent = trial.get(&format!("blobs/{}", sha512(b"absent"))).header("if-none-match", "*").await;
    absent.refused(404, "BLOB_UNKNOWN");
}

async fn manifests_have_no_ranges(trial: Trial) {
    let image = trial.pushed("1").await;
    for range in ["bytes=0-9", "bytes=9-0", "bytes=99999-"] {
        let answer = trial.get("manifests/1").header("range", range).await;
        answer.expect(200).is(&image.manifest.bytes).lacks("content-range").lacks("accept-ranges");
    }
}

async fn clients_may_leave(trial: Trial) {
    // Larger than what a socket takes in.
    let blob = trial.blob(1, 20_000_000);
    trial.push_blob(&blob).await;
    let target = format!("/v2/{}/blobs/{}", trial.name, blob.digest);
    for _ in 0..10 {
        let mut wire = Wire::begin(&trial, "GET", &target, &["Range: bytes=5-".to_owned()]).await;
        wire.receive_something().await;
    }
    let answer = trial.get(&target).header("range", "bytes=5-").await;
    answer.expect(206).is(&blob.bytes[5..]);
}
