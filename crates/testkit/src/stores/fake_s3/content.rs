//! What the fake S3 holds, and how it answers honestly.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use bytes::Bytes;
use entrepot_oci::Algorithm;
use http::header::{HeaderName, HeaderValue};

use super::multipart::Upload;
use super::seen::{S3Operation, S3Seen, decode};
use super::{range, time, xml};
use crate::reply::Reply;

/// The number of keys on a page, as S3 has it.
pub(super) const PAGE_MAX: usize = 1_000;

/// Everything, by bucket. A clone is cheap: the bytes are shared.
#[derive(Clone)]
pub(super) struct Content {
    pub(super) buckets: BTreeMap<String, Objects>,
    /// Names uploads.
    pub(super) uploads_begun: usize,
    pub(super) page_max: usize,
    /// Bytes that every part of an upload but the last must have.
    pub(super) part_bytes_min: usize,
}

/// What is in a bucket.
#[derive(Clone, Default)]
pub(super) struct Objects {
    pub(super) objects: BTreeMap<String, Object>,
    /// Those that are not finished, by key and identifier.
    pub(super) uploads: BTreeMap<(String, String), Upload>,
}

#[derive(Clone)]
pub(super) struct Object {
    pub(super) bytes: Bytes,
    pub(super) etag: String,
    pub(super) modified: SystemTime,
    /// Those headers of the request that come back with the object.
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
}

/// An entity tag for these bytes. It is not their MD5: no client may rely on that.
pub(super) fn etag_of(bytes: &[u8]) -> String {
    let digest = Algorithm::Sha256.digest(bytes);
    format!("\"{}\"", &digest.as_str()["sha256:".len()..][..32])
}

/// A refusal with the error body of S3.
pub(super) fn refuse(status: u16, code: &str, message: &str) -> Reply {
    let content = [xml::element("Code", code), xml::element("Message", message)].concat();
    let body = format!(r#"<?xml version="1.0" encoding="UTF-8"?><Error>{content}<RequestId>fake</RequestId></Error>"#);
    Reply::content("application/xml", body).status(status)
}

pub(super) fn xml_reply(name: &str, content: &str) -> Reply {
    Reply::content("application/xml", xml::document(name, content))
}

/// Those headers of a request that come back with the object.
pub(super) fn kept_headers(seen: &S3Seen) -> Vec<(HeaderName, HeaderValue)> {
    let is_kept = |name: &HeaderName| {
        ["content-type", "content-disposition", "content-encoding", "cache-control"].contains(&name.as_str())
            || name.as_str().starts_with("x-amz-meta-")
    };
    let headers = seen.headers.iter().filter(|(name, _)| is_kept(name));
    headers.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Why a condition of a write is not met, if it is not.
pub(super) fn refuse_write(seen: &S3Seen, there: Option<&Object>) -> Option<Reply> {
    let failed = || refuse(412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold");
    match (seen.header("if-none-match"), seen.header("if-match"), there) {
        (Some("*"), _, Some(_)) => Some(failed()),
        (_, Some(_), None) => Some(refuse(404, "NoSuchKey", "The specified key does not exist.")),
        (_, Some(wanted), Some(object)) if wanted != object.etag => Some(failed()),
        _ => None,
    }
}

impl Default for Content {
    fn default() -> Self {
        Self { buckets: BTreeMap::new(), uploads_begun: 0, page_max: PAGE_MAX, part_bytes_min: 5 * 1024 * 1024 }
    }
}

impl Content {
    /// Answers a request, and does what it wants.
    pub(super) fn answer(&mut self, seen: &S3Seen, body: Bytes, now: SystemTime) -> Reply {
        if !self.buckets.contains_key(&seen.bucket) {
            return refuse(404, "NoSuchBucket", "The specified bucket does not exist");
        }
        match seen.operation {
            S3Operation::HeadBucket => Reply::new(200),
            S3Operation::ListObjectsV2 => self.list(seen),
            S3Operation::DeleteObjects => self.delete_many(seen, &body),
            S3Operation::PutObject => self.put(seen, body, now),
            S3Operation::CopyObject => self.copy(seen, now),
            S3Operation::GetObject | S3Operation::HeadObject => self.get(seen),
            S3Operation::DeleteObject => self.delete(seen),
            S3Operation::ListMultipartUploads => self.list_uploads(seen),
            S3Operation::CreateMultipartUpload => self.create_upload(seen, now),
            S3Operation::UploadPart => self.upload_part(seen, body, now),
            S3Operation::UploadPartCopy => self.copy_part(seen, now),
            S3Operation::CompleteMultipartUpload => self.complete_upload(seen, &body, now),
            S3Operation::AbortMultipartUpload => self.abort_upload(seen),
            S3Operation::ListParts => self.list_parts(seen),
            S3Operation::Unknown => refuse(501, "NotImplemented", "The fake does not know this request"),
        }
    }

    pub(super) fn bucket(&mut self, name: &str) -> &mut Objects {
        self.buckets.entry(name.to_owned()).or_default()
    }

    fn put(&mut self, seen: &S3Seen, bytes: Bytes, now: SystemTime) -> Reply {
        let objects = &mut self.bucket(&seen.bucket).objects;
        if let Some(refusal) = refuse_write(seen, objects.get(&seen.key)) {
            return refusal;
        }
        let etag = etag_of(&bytes);
        let object = Object { bytes, etag: etag.clone(), modified: now, headers: kept_headers(seen) };
        objects.insert(seen.key.clone(), object);
        Reply::new(200).header("etag", &etag)
    }

    fn get(&mut self, seen: &S3Seen) -> Reply {
        let Some(object) = self.bucket(&seen.bucket).objects.get(&seen.key) else {
            return refuse(404, "NoSuchKey", "The specified key does not exist.");
        };
        if seen.header("if-match").is_some_and(|wanted| wanted != object.etag) {
            return refuse(412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold");
        }
        if seen.header("if-none-match") == Some(&object.etag) {
            return Reply::new(304).header("etag", &object.etag);
        }
        let mut reply = Reply::content("binary/octet-stream", object.bytes.clone());
        for (name, value) in &object.headers {
            reply = reply.header(name.as_str(), &String::from_utf8_lossy(value.as_bytes()));
        }
        for (name, value) in &seen.query {
            if let Some(header) = name.strip_prefix("response-") {
                reply = reply.header(header, value);
            }
        }
        let modified = time::in_header(object.modified);
        reply = reply.header("etag", &object.etag).header("last-modified", &modified).header("accept-ranges", "bytes");
        match seen.header("range").map(|wanted| range::parse(wanted, object.bytes.len())) {
            None | Some(range::Wanted::Everything) => reply,
            Some(range::Wanted::Part(first, last)) => reply.of_range(first, last),
            Some(range::Wanted::Nothing) => refuse(416, "InvalidRange", "The requested range is not satisfiable")
                .header("content-range", &format!("bytes */{}", object.bytes.len())),
        }
    }

    fn delete(&mut self, seen: &S3Seen) -> Reply {
        self.bucket(&seen.bucket).objects.remove(&seen.key);
        Reply::new(204)
    }

    fn delete_many(&mut self, seen: &S3Seen, body: &[u8]) -> Reply {
        let keys = xml::texts(&String::from_utf8_lossy(body), "Key");
        if keys.len() > PAGE_MAX {
            return refuse(400, "MalformedXML", "More keys than one request may delete");
        }
        let mut deleted = String::new();
        for key in keys {
            self.bucket(&seen.bucket).objects.remove(&key);
            deleted += &xml::group("Deleted", &[xml::element("Key", &key)]);
        }
        xml_reply("DeleteResult", &deleted)
    }

    /// The object that `x-amz-copy-source` names, or the refusal.
    pub(super) fn copied(&mut self, seen: &S3Seen) -> Result<Object, Box<Reply>> {
        let source = decode(seen.header("x-amz-copy-source").unwrap_or_default());
        let found = source.trim_start_matches('/').split_once('/').and_then(|(bucket, key)| {
            let objects = self.buckets.get(bucket)?;
            objects.objects.get(key).cloned()
        });
        let object = found.ok_or_else(|| Box::new(refuse(404, "NoSuchKey", "The specified key does not exist.")))?;
        match seen.header("x-amz-copy-source-if-match") {
            Some(wanted) if wanted != object.etag => {
                Err(Box::new(refuse(412, "PreconditionFailed", "It is another one by now")))
            }
            _ => Ok(object),
        }
    }

    fn copy(&mut self, seen: &S3Seen, now: SystemTime) -> Reply {
        let object = match self.copied(seen) {
            Ok(object) => object,
            Err(refusal) => return *refusal,
        };
        let objects = &mut self.bucket(&seen.bucket).objects;
        if let Some(refusal) = refuse_write(seen, objects.get(&seen.key)) {
            return refusal;
        }
        let etag = object.etag.clone();
        objects.insert(seen.key.clone(), Object { modified: now, ..object });
        let content = [xml::element("LastModified", &time::in_xml(now)), xml::element("ETag", &etag)].concat();
        xml_reply("CopyObjectResult", &content)
    }

    fn list(&mut self, seen: &S3Seen) -> Reply {
        let page_max = page_of(seen, "max-keys", self.page_max);
        let prefix = seen.parameter("prefix").unwrap_or_default();
        let delimiter = seen.parameter("delimiter").filter(|delimiter| !delimiter.is_empty());
        let token = seen.parameter("continuation-token").map(|token| token.trim_start_matches("after:"));
        let after = token.or_else(|| seen.parameter("start-after")).unwrap_or_default();
        let mut listed = BTreeSet::new();
        let mut content = String::new();
        let mut last = None;
        let objects = &self.bucket(&seen.bucket).objects;
        for (key, object) in objects.range(prefix.to_owned()..).take_while(|(key, _)| key.starts_with(prefix)) {
            let rest = &key[prefix.len()..];
            let shared = delimiter.and_then(|delimiter| Some(&rest[..rest.find(delimiter)? + delimiter.len()]));
            let name = shared.map_or_else(|| key.clone(), |shared| format!("{prefix}{shared}"));
            if name.as_str() <= after || (shared.is_some() && listed.contains(&name)) {
                continue;
            }
            if listed.len() == page_max {
                let token = format!("after:{}", last.unwrap_or_default());
                content += &xml::element("NextContinuationToken", &token);
                return list_reply(seen, true, listed.len(), &content);
            }
            content += &match shared {
                Some(_) => xml::group("CommonPrefixes", &[xml::element("Prefix", &name)]),
                None => contents(key, object),
            };
            last = Some(name.clone());
            listed.insert(name);
        }
        list_reply(seen, false, listed.len(), &content)
    }
}

/// The number of things on a page: what the request wants, but not more than there may be.
pub(super) fn page_of(seen: &S3Seen, parameter: &str, page_max: usize) -> usize {
    let wanted = seen.parameter(parameter).and_then(|wanted| wanted.parse().ok());
    wanted.unwrap_or(page_max).min(page_max)
}

fn contents(key: &str, object: &Object) -> String {
    let fields = [
        xml::element("Key", key),
        xml::element("LastModified", &time::in_xml(object.modified)),
        xml::element("ETag", &object.etag),
        xml::element("Size", &object.bytes.len().to_string()),
        xml::element("StorageClass", "STANDARD"),
    ];
    xml::group("Contents", &fields)
}

fn list_reply(seen: &S3Seen, is_truncated: bool, count: usize, content: &str) -> Reply {
    let head = [
        xml::element("Name", &seen.bucket),
        xml::element("Prefix", seen.parameter("prefix").unwrap_or_default()),
        xml::element("KeyCount", &count.to_string()),
        xml::element("IsTruncated", &is_truncated.to_string()),
    ];
    xml_reply("ListBucketResult", &format!("{}{content}", head.concat()))
}
