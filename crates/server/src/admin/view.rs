//! The administrative API's documents: bytes, seconds, and points in time in seconds since 1970, all as numbers.

use entrepot_metadata::Timestamp;
use entrepot_oci::{Digest, MediaType, RepositoryName, Tag};
use entrepot_registry::{CachePin, CacheStats, CachedEntry, EvictionReport, Refreshed, WarmEvent};
use serde::Serialize;
use serde_json::{Value, json};

pub(super) fn stats(stats: &CacheStats) -> Value {
    json!({
        "bytes": stats.bytes,
        "blobs": stats.blobs,
        "manifests": stats.manifests,
        "unheld_blobs": stats.unheld_blobs,
        "size_max": stats.size_max,
        "fills": stats.fills,
    })
}

pub(super) fn entries(entries: &[CachedEntry]) -> Value {
    let entry = |entry: &CachedEntry| {
        json!({
            "repository": entry.name,
            "digest": entry.digest,
            "media_type": entry.media_type.as_ref().map(MediaType::as_str),
            "tags": entry.tags,
            "bytes": entry.bytes,
            "used_at": seconds(entry.used_at),
            "is_pinned": entry.is_pinned,
        })
    };
    json!({ "entries": entries.iter().map(entry).collect::<Vec<_>>() })
}

pub(super) fn pins(pins: &[CachePin]) -> Value {
    let pin = |pin: &CachePin| json!({ "repository": pin.name, "reference": pin.reference.to_string(), "pinned_at": seconds(pin.pinned_at) });
    json!({ "pins": pins.iter().map(pin).collect::<Vec<_>>() })
}

/// What went, or would.
pub(super) fn report(report: &EvictionReport, is_dry_run: bool) -> Value {
    let entries = report.entries.iter().map(|entry| {
        json!({
            "repository": entry.name,
            "digest": entry.digest,
            "tags": entry.tags.iter().map(Tag::as_str).collect::<Vec<_>>(),
            "freed": entry.freed,
            "used_at": seconds(entry.used_at),
        })
    });
    json!({
        "dry_run": is_dry_run,
        "count": report.count,
        "freed": report.freed,
        "entries": entries.collect::<Vec<_>>(),
    })
}

pub(super) fn pinned(name: &RepositoryName, reference: &str, is_pinned: bool, was_pinned: Option<bool>) -> Value {
    let mut view = json!({ "repository": name, "reference": reference, "is_pinned": is_pinned });
    if let Some(was_pinned) = was_pinned {
        view["was_pinned"] = was_pinned.into();
    }
    view
}

pub(super) fn refreshed(name: &RepositoryName, reference: &str, refreshed: &Refreshed) -> Value {
    json!({ "repository": name, "reference": reference, "before": refreshed.before, "after": refreshed.after })
}

/// A line about the fetching of an image.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum WarmLine<'e> {
    Manifest { digest: &'e Digest, media_type: &'e str },
    Blob { digest: &'e Digest, received: u64, size: u64 },
    Failed { subject: &'e str, reason: &'e str },
    Done { manifests: u64, blobs: u64, bytes: u64, failures: u64 },
}

/// An event as a line of JSON, its end included.
pub(super) fn warm_line(event: &WarmEvent) -> Result<String, serde_json::Error> {
    let line = match event {
        WarmEvent::Manifest { digest, media_type } => WarmLine::Manifest { digest, media_type: media_type.as_str() },
        WarmEvent::Blob { digest, received, size } => WarmLine::Blob { digest, received: *received, size: *size },
        WarmEvent::Failed { subject, reason } => WarmLine::Failed { subject, reason },
        WarmEvent::Done { manifests, blobs, bytes, failures } => {
            WarmLine::Done { manifests: *manifests, blobs: *blobs, bytes: *bytes, failures: *failures }
        }
    };
    let mut text = serde_json::to_string(&line)?;
    text.push('\n');
    Ok(text)
}

pub(super) const fn seconds(time: Timestamp) -> i64 {
    time.milliseconds().div_euclid(1000)
}

#[cfg(test)]
mod tests {
    use entrepot_oci::{Algorithm, TagOrDigest};
    use entrepot_registry::EvictedEntry;

    use super::*;

    fn name() -> RepositoryName {
        "proxy/registry-1.docker.io/library/redis".parse().unwrap()
    }

    #[test]
    fn documents_have_the_fields_that_programs_rely_on() {
        let digest = Algorithm::Sha256.digest(b"x");
        let used_at = Timestamp::from_milliseconds(1_764_155_580_999);
        let entry = CachedEntry {
            name: name(),
            digest: digest.clone(),
            media_type: Some(MediaType::OCI_INDEX.parse().unwrap()),
            tags: vec!["7".parse().unwrap()],
            bytes: 10,
            used_at,
            is_pinned: true,
        };
        let expected = json!({ "entries": [{
            "repository": "proxy/registry-1.docker.io/library/redis",
            "digest": digest,
            "media_type": "application/vnd.oci.image.index.v1+json",
            "tags": ["7"],
            "bytes": 10,
            "used_at": 1_764_155_580,
            "is_pinned": true,
        }] });
        assert_eq!(entries(&[entry]), expected);
        let pin = CachePin { name: name(), reference: TagOrDigest::Digest(digest.clone()), pinned_at: used_at };
        let expected = json!({ "pins": [{
            "repository": "proxy/registry-1.docker.io/library/redis", "reference": digest, "pinned_at": 1_764_155_580,
        }] });
        assert_eq!(pins(&[pin]), expected);
        let evicted = EvictedEntry { name: name(), digest: digest.clone(), tags: Vec::new(), freed: 5, used_at };
        let expected = json!({ "dry_run": true, "count": 3, "freed": 9, "entries": [{
            "repository": "proxy/registry-1.docker.io/library/redis", "digest": digest, "tags": [], "freed": 5,
            "used_at": 1_764_155_580,
        }] });
        assert_eq!(report(&EvictionReport { entries: vec![evicted], count: 3, freed: 9 }, true), expected);
        let view = CacheStats { bytes: 1, blobs: 2, manifests: 3, unheld_blobs: 4, size_max: None, fills: 5 };
        let expected = json!({
            "bytes": 1, "blobs": 2, "manifests": 3, "unheld_blobs": 4, "size_max": null, "fills": 5,
        });
        assert_eq!(stats(&view), expected);
    }

    #[test]
    fn every_event_is_one_line() {
        let digest = Algorithm::Sha256.digest(b"x");
        let media_type: MediaType = MediaType::OCI_MANIFEST.parse().unwrap();
        let rows = [
            (
                WarmEvent::Manifest { digest: digest.clone(), media_type: media_type.clone() },
                json!({ "event": "manifest", "digest": digest, "media_type": media_type.as_str() }),
            ),
            (
                WarmEvent::Blob { digest: digest.clone(), received: 1, size: 2 },
                json!({ "event": "blob", "digest": digest, "received": 1, "size": 2 }),
            ),
            (
                WarmEvent::Failed { subject: "7".into(), reason: "two\nlines".into() },
                json!({ "event": "failed", "subject": "7", "reason": "two\nlines" }),
            ),
            (
                WarmEvent::Done { manifests: 1, blobs: 2, bytes: 3, failures: 0 },
                json!({ "event": "done", "manifests": 1, "blobs": 2, "bytes": 3, "failures": 0 }),
            ),
        ];
        for (event, expected) in rows {
            let line = warm_line(&event).unwrap();
            assert_eq!(line.find('\n'), Some(line.len() - 1), "{line}");
            assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), expected);
        }
    }
}
