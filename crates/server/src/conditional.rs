//! Conditional requests (RFC 9110 §13): entity tags are digests.

use entrepot_metadata::TagCondition;
use entrepot_oci::Digest;
use http::{HeaderMap, HeaderName, header};

/// The entity tag of content: its digest in quotes.
pub(crate) fn entity_tag(digest: &Digest) -> String {
    ["\"", digest.as_str(), "\""].concat()
}

/// Whether the client has the content already (`If-None-Match`). Strong, weak and bare spellings count alike.
pub(crate) fn is_not_modified(headers: &HeaderMap, digest: &Digest) -> bool {
    entity_tags(headers, &header::IF_NONE_MATCH).any(|tag| tag == "*" || tag == digest.as_str())
}

/// Whether a range may be answered as asked: without `If-Range`, or when that names this very content.
pub(crate) fn range_applies(headers: &HeaderMap, digest: &Digest) -> bool {
    let Some(value) = headers.get(header::IF_RANGE) else { return true };
    // A weak tag or a date does not name the bytes strongly enough for a part of them.
    value.to_str().is_ok_and(|text| text.trim() == entity_tag(digest))
}

/// The condition that a push of a tag is made under.
pub(crate) fn tag_condition(headers: &HeaderMap) -> TagCondition {
    let digests = |name: &HeaderName| -> (bool, Vec<Digest>) {
        let tags: Vec<&str> = entity_tags(headers, name).collect();
        (tags.contains(&"*"), tags.iter().filter_map(|tag| tag.parse().ok()).collect())
    };
    if headers.contains_key(header::IF_MATCH) {
        return match digests(&header::IF_MATCH) {
            (true, _) => TagCondition::Exists,
            (false, digests) => TagCondition::PointsAt(digests),
        };
    }
    if headers.contains_key(header::IF_NONE_MATCH) {
        return match digests(&header::IF_NONE_MATCH) {
            (true, _) => TagCondition::Absent,
            (false, digests) => TagCondition::PointsAtNoneOf(digests),
        };
    }
    TagCondition::None
}

/// The entity tags of a header, without quotes and weakness marks.
fn entity_tags<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(|tag| {
        let tag = tag.trim();
        tag.strip_prefix("W/").unwrap_or(tag).trim_matches('"')
    })
}

#[cfg(test)]
mod tests {
    use entrepot_oci::Algorithm;

    use super::*;

    fn headers(name: HeaderName, value: &str) -> HeaderMap {
        [(name, value.parse().unwrap())].into_iter().collect()
    }

    #[test]
    fn all_spellings_of_a_digest_are_the_same_entity_tag() {
        let digest = Algorithm::Sha256.digest(b"x");
        for spelling in [
            format!("\"{digest}\""),
            format!("W/\"{digest}\""),
            digest.to_string(),
            "*".into(),
            format!("\"a\", \"{digest}\""),
        ] {
            assert!(is_not_modified(&headers(header::IF_NONE_MATCH, &spelling), &digest), "{spelling}");
        }
        assert!(!is_not_modified(&headers(header::IF_NONE_MATCH, "\"sha256:other\""), &digest));
        assert!(!is_not_modified(&HeaderMap::new(), &digest));
    }

    #[test]
    fn a_part_needs_a_strong_match() {
        let digest = Algorithm::Sha256.digest(b"x");
        assert!(range_applies(&HeaderMap::new(), &digest));
        assert!(range_applies(&headers(header::IF_RANGE, &format!("\"{digest}\"")), &digest));
        assert!(!range_applies(&headers(header::IF_RANGE, &format!("W/\"{digest}\"")), &digest));
        assert!(!range_applies(&headers(header::IF_RANGE, "Mon, 23 Nov 2026 10:00:00 GMT"), &digest));
    }
}
