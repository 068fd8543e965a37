//! What another process has to know to take up a stage, as a row of a database holds it.
//!
//! Small, since an upload has up to 10,000 parts and each of its requests writes it anew: the ids of parts resemble each other, so each
//! says only in what it differs from the one before. 10,000 entity tags are about 360 KB, with checksums about 1 MB.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::schedule::Schedule;

/// A stage as it was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    /// Of which incarnation of its stage it is.
    pub(crate) incarnation: String,
    /// Names this state among all of the same incarnation.
    pub(crate) token: String,
    /// Where parts end.
    pub(crate) schedule: Schedule,
    /// The upload in parts, when one was begun.
    pub(crate) upload: Option<KeptUpload>,
    /// Where the bytes behind the last full part end, when there are some: they are an object of their own, named after the token.
    pub(crate) tail_end: Option<u64>,
    /// The end and the token of a tail that this state replaces. It is removed when this state is taken up.
    pub(crate) replaced: Option<(u64, String)>,
}

/// An upload in parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeptUpload {
    /// Relative to the prefix.
    pub(crate) key: String,
    /// What the store calls it.
    pub(crate) id: String,
    /// What the store calls its parts, from the first on. They are full.
    pub(crate) parts: Vec<String>,
}

/// The first byte. Another one is of a version that this one cannot read.
const VERSION: u8 = 1;

impl Kept {
    pub(crate) fn encode(&self) -> Bytes {
        let mut encoded = BytesMut::new();
        encoded.put_u8(VERSION);
        put_text(&mut encoded, &self.incarnation);
        put_text(&mut encoded, &self.token);
        encoded.put_u64(self.schedule.first);
        encoded.put_u8(u8::from(self.schedule.grows));
        // No tail ends at 0.
        encoded.put_u64(self.tail_end.unwrap_or(0));
        let (end, token) = self.replaced.as_ref().map_or((0, ""), |(end, token)| (*end, token.as_str()));
        encoded.put_u64(end);
        put_text(&mut encoded, token);
        if let Some(upload) = &self.upload {
            put_text(&mut encoded, &upload.key);
            put_text(&mut encoded, &upload.id);
            let mut before = "";
            for part in &upload.parts {
                put_after(&mut encoded, before, part);
                before = part;
            }
        }
        encoded.freeze()
    }

    pub(crate) fn decode(mut encoded: &[u8]) -> Option<Self> {
        let encoded = &mut encoded;
        if encoded.try_get_u8().ok()? != VERSION {
            return None;
        }
        let (incarnation, token) = (take_text(encoded)?, take_text(encoded)?);
        let schedule = Schedule { first: encoded.try_get_u64().ok()?, grows: encoded.try_get_u8().ok()? == 1 };
        let tail_end = Some(encoded.try_get_u64().ok()?).filter(|end| *end > 0);
        let replaced = Some((encoded.try_get_u64().ok()?, take_text(encoded)?)).filter(|(end, _)| *end > 0);
        let mut upload = None;
        if encoded.has_remaining() {
            let (key, id) = (take_text(encoded)?, take_text(encoded)?);
            let mut parts: Vec<String> = Vec::new();
            while encoded.has_remaining() {
                let before = parts.last().map_or("", String::as_str);
                let part = take_after(encoded, before)?;
                parts.push(part);
            }
            upload = Some(KeptUpload { key, id, parts });
        }
        (schedule.first > 0).then_some(Self { incarnation, token, schedule, upload, tail_end, replaced })
    }
}

fn put_text(encoded: &mut BytesMut, text: &str) {
    // Whatever a store calls things fits: a key has at most 1024 bytes, an id some hundred.
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    encoded.put_u16(length);
    encoded.put_slice(&text.as_bytes()[..usize::from(length)]);
}

fn take_text(encoded: &mut &[u8]) -> Option<String> {
    let length = usize::from(encoded.try_get_u16().ok()?);
    let (text, rest) = encoded.split_at_checked(length)?;
    *encoded = rest;
    String::from_utf8(text.to_vec()).ok()
}

/// Puts `text` as what it shares at both ends with the one before it, and the rest.
fn put_after(encoded: &mut BytesMut, before: &str, text: &str) {
    let (before, text) = (before.as_bytes(), text.as_bytes());
    let shared = |count: usize| u8::try_from(count).unwrap_or(u8::MAX);
    let front = shared(before.iter().zip(text).take_while(|(one, other)| one == other).count());
    let (before, text) = (&before[usize::from(front)..], &text[usize::from(front)..]);
    let back = shared(before.iter().rev().zip(text.iter().rev()).take_while(|(one, other)| one == other).count());
    let own = &text[..text.len() - usize::from(back)];
    encoded.put_u8(front);
    encoded.put_u8(back);
    encoded.put_u16(u16::try_from(own.len()).unwrap_or(u16::MAX));
    encoded.put_slice(own);
}

fn take_after(encoded: &mut &[u8], before: &str) -> Option<String> {
    let before = before.as_bytes();
    let (front, back) = (usize::from(encoded.try_get_u8().ok()?), usize::from(encoded.try_get_u8().ok()?));
    let length = usize::from(encoded.try_get_u16().ok()?);
    let (own, rest) = encoded.split_at_checked(length)?;
    *encoded = rest;
    let back = before.len().checked_sub(back)?;
    let text = [before.get(..front)?, own, before.get(back..)?].concat();
    String::from_utf8(text).ok()
}

#[cfg(test)]
mod tests {
    use entrepot_oci::Algorithm;

    use super::*;

    fn kept(parts: Vec<String>) -> Kept {
        Kept {
            incarnation: "0123456789abcdef0123456789abcdef".to_owned(),
            token: "token".to_owned(),
            schedule: Schedule::growing(16 << 20),
            upload: Some(KeptUpload { key: "entrepot/uploads/1".to_owned(), id: "2~upload/id+=".to_owned(), parts }),
            tail_end: Some(12_345),
            replaced: Some((77, "earlier".to_owned())),
        }
    }

    fn tag(number: usize) -> String {
        format!("\"{}\"", &Algorithm::Sha256.digest(&number.to_le_bytes()).hex()[..32])
    }

    #[test]
    fn what_was_kept_comes_back() {
        let with_repeats =
            vec![tag(1), tag(1), String::new(), String::new(), "a".to_owned(), "ab".to_owned(), "b".to_owned()];
        for parts in [vec![], vec![tag(1)], with_repeats, (0..300).map(tag).collect()] {
            let kept = kept(parts);
            assert_eq!(Kept::decode(&kept.encode()), Some(kept));
        }
        let small = Kept { upload: None, tail_end: None, replaced: None, ..kept(vec![]) };
        assert_eq!(Kept::decode(&small.encode()), Some(small.clone()));
        let encoded = small.encode();
        for length in 0..encoded.len() {
            assert_eq!(Kept::decode(&encoded[..length]), None, "cut after {length} bytes");
        }
        let mut other = encoded.to_vec();
        other[0] = 2;
        assert_eq!(Kept::decode(&other), None);
    }

    #[test]
    fn ten_thousand_parts_fit_into_a_megabyte() {
        let plain: Vec<String> = (0..10_000).map(tag).collect();
        assert!(kept(plain).encode().len() < 400_000);
        let checked = |number: usize| {
            let digest = Algorithm::Sha256.digest(&number.to_be_bytes());
            let sum = &digest.hex()[..44];
            format!("<PartMetadata><ETag>{}</ETag><ChecksumSHA256>{sum}</ChecksumSHA256></PartMetadata>", tag(number))
        };
        let length = kept((0..10_000).map(checked).collect()).encode().len();
        assert!(length < 1_100_000, "{length}");
    }
}
