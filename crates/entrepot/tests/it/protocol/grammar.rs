//! The grammar of names, tags, digests and sessions, from the friendly to the hostile.

use entrepot_testkit::Blob;
use futures_util::future::join_all;

use super::trial::{Trial, files};
use super::wire::Wire;
use crate::support::Running;

rules! {
    "grammar" "names may hold the words of the API" => names_may_hold_the_words_of_the_api;
    "grammar" "a name has up to 255 characters" => long_names;
    "grammar" "a name that is none is 400 NAME_INVALID to every method" => malformed_names;
    "grammar" "a tag has up to 128 characters, is case-sensitive and has no plus" => tags_of_every_shape;
    "grammar" "a reference with a colon is a digest and never a tag" => a_colon_makes_a_digest;
    "grammar" "the colon of a digest may be percent-encoded" => encoded_colons;
    "threat D8" "no spelling of a path leads out of the store" => nothing_leads_out;
    "fault R25" "32 pushes of one blob and one manifest at once all succeed" => concurrent_pushes_all_succeed;
}

async fn names_may_hold_the_words_of_the_api(trial: Trial) {
    for odd in ["blobs/uploads", "manifests", "tags/list", "blobs", "referrers/x/manifests", "uploads/blobs/tags"] {
        let odd = trial.beside(odd);
        let image = odd.pushed("1").await;
        odd.get("manifests/1").await.expect(200).is(&image.manifest.bytes);
        odd.holds_blob(&image.layers[0].digest, &image.layers[0].bytes).await;
        assert_eq!(odd.tags().await, ["1"], "{}", odd.name);
        odd.get(&format!("referrers/{}", image.manifest.digest)).await.expect(200);
    }
}

async fn long_names(trial: Trial) {
    let longest = format!("{}/{}", trial.name, "a".repeat(255 - trial.name.len() - 1));
    trial.named(&longest).pushed("1").await;
    assert_eq!(trial.named(&longest).tags().await, ["1"]);
    let too_long = trial.named(&format!("{longest}a"));
    too_long.post("blobs/uploads/").await.refused(400, "NAME_INVALID");
    too_long.get("tags/list").await.refused(400, "NAME_INVALID");
}

async fn malformed_names(trial: Trial) {
    let blob = trial.blob(1, 10);
    for name in ["Upper", "a..b", "a._b", "_a", "a_", "-a", "a-", "a___b", "a:b", "a%20b", "a//b", "a/", "%C3%A4"] {
        let malformed = trial.named(name);
        malformed
            .post(&format!("blobs/uploads/?digest={}", blob.digest))
            .body(blob.bytes.clone())
            .await
            .refused(400, "NAME_INVALID");
        malformed.put("manifests/1").body("{}").await.refused(400, "NAME_INVALID");
        for path in
            ["manifests/1", "tags/list", &format!("blobs/{}", blob.digest), &format!("referrers/{}", blob.digest)]
        {
            malformed.get(path).await.refused(400, "NAME_INVALID");
        }
        malformed.delete("manifests/1").await.refused(400, "NAME_INVALID");
    }
}

async fn tags_of_every_shape(trial: Trial) {
    let image = trial.pushed("first").await;
    let longest = "t".repeat(128);
    for tag in ["A", "a", "_", "1.2.3-rc_1", longest.as_str()] {
        trial.push_manifest(tag, &image.manifest).await;
        trial.get(&format!("manifests/{tag}")).await.expect(200);
    }
    trial.delete("manifests/a").await.expect(202);
    trial.get("manifests/A").await.expect(200);
    let before = trial.tags().await;
    for tag in [&format!("{longest}t"), "-a", ".a", "a+b", "%2B", "a%20b", "%C3%BC"] {
        trial.put_manifest(tag, &image.manifest).await.refused(400, "MANIFEST_INVALID");
        trial.get(&format!("manifests/{tag}")).await.refused(404, "MANIFEST_UNKNOWN");
        trial.delete(&format!("manifests/{tag}")).await.refused(404, "MANIFEST_UNKNOWN");
    }
    assert_eq!(trial.tags().await, before);
}

async fn a_colon_makes_a_digest(trial: Trial) {
    let image = trial.pushed("1").await;
    let hex = image.manifest.digest.hex();
    let upper = format!("sha256:{}", hex.to_uppercase());
    for text in ["sha256:baddigeststring", "sha256:", ":", "x:y", &upper, &format!("sha384:{hex}{}", &hex[..32])] {
        trial.get(&format!("manifests/{text}")).await.refused(404, "MANIFEST_UNKNOWN");
        trial.head(&format!("blobs/{text}")).await.expect(404);
        trial.put_manifest(text, &image.manifest).await.refused(400, "DIGEST_INVALID");
    }
    assert_eq!(trial.tags().await, ["1"]);
}

async fn encoded_colons(trial: Trial) {
    let image = trial.pushed("1").await;
    for colon in ["%3A", "%3a"] {
        let encoded = |digest: &entrepot_oci::Digest| digest.as_str().replace(':', colon);
        let (layer, manifest) = (&image.layers[0], &image.manifest);
        trial.get(&format!("blobs/{}", encoded(&layer.digest))).await.expect(200).is(&layer.bytes);
        trial.get(&format!("manifests/{}", encoded(&manifest.digest))).await.expect(200).is(&manifest.bytes);
        trial.get(&format!("referrers/{}", encoded(&manifest.digest))).await.expect(200);
        trial.push_manifest(encoded(&manifest.digest), manifest).await;
        let blob = Blob::new(format!("{colon} {}", trial.name));
        let path = format!("blobs/uploads/?digest={}", encoded(&blob.digest));
        trial.post(&path).body(blob.bytes.clone()).await.expect(201);
    }
}

/// What comes behind `/v2/`, with the repository as `NAME`.
const HOSTILE: &[&str] = &[
    "../../etc/passwd",
    "../../../../manifests/1",
    "%2e%2e/%2e%2e/manifests/1",
    "..%2f..%2fmanifests/1",
    "./NAME/manifests/1",
    "NAME/../../x/manifests/1",
    "NAME/..%5c..%5c/manifests/1",
    "NAME\\..\\x/manifests/1",
    "NAME%00/manifests/1",
    "NAME%0d%0aX:1/manifests/1",
    "/NAME/manifests/1",
    "%2fetc/manifests/1",
    "NAME/manifests/..",
    "NAME/manifests/../../../x",
    "NAME/manifests/..%2f..%2fx",
    "NAME/manifests/%2e%2e%2fx",
    "NAME/manifests/a%00b",
    "NAME/manifests/a%5cb",
    "NAME/manifests/sha256:..%2f..%2f..%2fetc%2fpasswd",
    "NAME/blobs/..",
    "NAME/blobs/sha256:../../../../etc/passwd",
    "NAME/blobs/sha256:..%2f..%2fetc",
    "NAME/blobs/sha256%2f..%2fx",
    "NAME/blobs/sha256:%00",
    "NAME/blobs/uploads/..",
    "NAME/blobs/uploads/..%2f..%2fx",
    "NAME/blobs/uploads/%00",
    "NAME/blobs/uploads/a%5c..%5cb",
    "NAME/blobs/uploads/upload-1",
    "NAME/referrers/sha256:..%2f..%2fx",
    "NAME/tags/../list",
    "../_catalog/../x",
];

async fn nothing_leads_out(trial: Trial) {
    let running = Running::start().await;
    let trial = trial.on(&running);
    let image = trial.pushed("1").await;
    let upload = trial.start().await;
    let before = files(&trial.folder);
    for target in HOSTILE {
        let target = format!("/v2/{}", target.replace("NAME", &trial.name));
        for method in ["GET", "PUT", "POST", "PATCH", "DELETE"] {
            let answer = Wire::ask(&trial, method, &target, &image.manifest.bytes).await;
            answer.must((400..500).contains(&answer.status), "it is refused");
        }
    }
    for digest in ["sha256:..%2f..%2fx", "..%2fx", "sha256:%00"] {
        let target = format!("{upload}?digest={digest}");
        Wire::ask(&trial, "PUT", &target, b"x").await.refused(400, "DIGEST_INVALID");
        let target = format!("/v2/{}/blobs/uploads/?mount={digest}&from=..%2f..%2fx", trial.name);
        Wire::ask(&trial, "POST", &target, b"").await.refused(400, "DIGEST_INVALID");
    }
    let target = format!("/v2/{}/manifests/{}?tag=..%2fx", trial.name, image.manifest.digest);
    Wire::ask(&trial, "PUT", &target, &image.manifest.bytes).await.refused(400, "MANIFEST_INVALID");
    assert_eq!(files(&trial.folder), before);
    assert_eq!(trial.tags().await, ["1"]);
}

async fn concurrent_pushes_all_succeed(trial: Trial) {
    let image = trial.image(0);
    let push = async |way: usize| {
        // Half of them into one repository, half into one of their own.
        let place = if way.is_multiple_of(2) { trial.clone() } else { trial.beside(&way.to_string()) };
        place.push_image("1", &image).await;
        let digest = image.manifest.digest.as_str();
        place.put_manifest(digest, &image.manifest).await.expect(201);
        place.get("manifests/1").await.expect(200).is(&image.manifest.bytes);
    };
    join_all((0..32).map(push)).await;
    for blob in image.blobs() {
        trial.holds_blob(&blob.digest, &blob.bytes).await;
    }
    assert_eq!(trial.tags().await, ["1"]);
}
