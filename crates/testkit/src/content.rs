//! What the fake upstream holds, and how it is served honestly.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use entrepot_oci::{Digest, Manifest, MediaType, RangeRequest, Referrer, referrers_index};
use serde_json::json;

use crate::reply::Reply;
use crate::seen::Seen;

/// The repositories of a fake upstream.
#[derive(Debug, Default)]
pub(crate) struct Content {
    repositories: HashMap<String, Repository>,
}

#[derive(Debug, Default)]
struct Repository {
    blobs: HashMap<Digest, Bytes>,
    manifests: BTreeMap<Digest, (MediaType, Bytes)>,
    tags: BTreeMap<String, Digest>,
}

impl Content {
    pub(crate) fn put_blob(&mut self, repository: &str, digest: Digest, bytes: Bytes) {
        self.repository(repository).blobs.insert(digest, bytes);
    }

    pub(crate) fn put_manifest(&mut self, repository: &str, digest: Digest, media_type: MediaType, bytes: Bytes) {
        self.repository(repository).manifests.insert(digest, (media_type, bytes));
    }

    pub(crate) fn put_tag(&mut self, repository: &str, tag: &str, digest: Digest) {
        self.repository(repository).tags.insert(tag.to_owned(), digest);
    }

    pub(crate) fn remove_tag(&mut self, repository: &str, tag: &str) {
        self.repository(repository).tags.remove(tag);
    }

    pub(crate) fn remove(&mut self, repository: &str, digest: &Digest) {
        let repository = self.repository(repository);
        repository.blobs.remove(digest);
        repository.manifests.remove(digest);
    }

    fn repository(&mut self, name: &str) -> &mut Repository {
        self.repositories.entry(name.to_owned()).or_default()
    }

    /// The honest reply to a request below `/v2/`.
    pub(crate) fn reply(&self, seen: &Seen) -> Reply {
        if seen.is_ping() {
            return Reply::json(&json!({}));
        }
        let Some((name, kind, reference)) = parse(&seen.path) else {
            return Reply::error(404, "UNSUPPORTED", "no such path");
        };
        let Some(repository) = self.repositories.get(name) else {
            return Reply::error(404, "NAME_UNKNOWN", "no such repository");
        };
        match kind {
            "blobs" => repository.blob(reference, seen),
            "manifests" => repository.manifest(reference),
            "referrers" => repository.referrers(reference),
            _ => repository.tags(name, seen),
        }
    }
}

impl Repository {
    fn blob(&self, reference: &str, seen: &Seen) -> Reply {
        let blob = reference.parse().ok().and_then(|digest| self.blobs.get_key_value(&digest));
        let Some((digest, bytes)) = blob else {
            return Reply::error(404, "BLOB_UNKNOWN", "no such blob");
        };
        let reply = Reply::content(MediaType::OCTET_STREAM, bytes.clone()).announcing(digest);
        let reply = reply.header("accept-ranges", "bytes");
        match RangeRequest::parse(seen.header("range"), bytes.len() as u64) {
            Ok(RangeRequest::Parts(parts)) if parts.len() == 1 => reply.of_range(parts[0].first(), parts[0].last()),
            Ok(_) => reply,
            Err(_) => Reply::error(416, "RANGE_INVALID", "no such range")
                .header("content-range", &format!("bytes */{}", bytes.len())),
        }
    }

    fn manifest(&self, reference: &str) -> Reply {
        let digest = reference.parse().ok().or_else(|| self.tags.get(reference).cloned());
        let Some((digest, (media_type, bytes))) = digest.and_then(|digest| self.manifests.get_key_value(&digest))
        else {
            return Reply::error(404, "MANIFEST_UNKNOWN", "no such manifest");
        };
        Reply::content(media_type.as_str(), bytes.clone()).announcing(digest)
    }

    fn referrers(&self, reference: &str) -> Reply {
        let referrers = self.manifests.iter().filter_map(|(digest, (media_type, bytes))| {
            let manifest = Manifest::parse(bytes.clone(), Some(media_type)).ok()?;
            let subject = manifest.subject()?.digest.to_string();
            (subject == reference).then(|| Referrer {
                media_type: media_type.clone(),
                size: bytes.len() as u64,
                digest: digest.clone(),
                artifact_type: manifest.artifact_type().map(str::to_owned),
                annotations: manifest.annotations().clone(),
            })
        });
        Reply::content(MediaType::OCI_INDEX, referrers_index(&referrers.collect::<Vec<_>>()))
    }

    /// A page of tags, by `n` and `last`.
    fn tags(&self, name: &str, seen: &Seen) -> Reply {
        let last = seen.parameters("last").pop().unwrap_or_default();
        let size = seen.parameters("n").pop().and_then(|size| size.parse().ok()).unwrap_or(usize::MAX);
        let behind: Vec<&String> = self.tags.keys().filter(|tag| **tag > last).collect();
        let page = &behind[..size.min(behind.len())];
        let reply = Reply::json(&json!({ "name": name, "tags": page }));
        match page.last() {
            Some(last) if page.len() < behind.len() => {
                reply.header("link", &format!(r#"</v2/{name}/tags/list?n={size}&last={last}>; rel="next""#))
            }
            _ => reply,
        }
    }
}

/// The repository, the kind and the reference in a path below `/v2/`.
fn parse(path: &str) -> Option<(&str, &str, &str)> {
    let (rest, reference) = path.strip_prefix("/v2/")?.rsplit_once('/')?;
    let (name, kind) = rest.rsplit_once('/')?;
    matches!(kind, "blobs" | "manifests" | "referrers" | "tags").then_some((name, kind, reference))
}
