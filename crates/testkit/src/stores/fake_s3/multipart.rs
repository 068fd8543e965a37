//! Uploads in parts.

use std::collections::BTreeMap;
use std::time::SystemTime;

use bytes::{Bytes, BytesMut};
use http::header::{HeaderName, HeaderValue};

use super::content::{Content, Object, etag_of, kept_headers, page_of, refuse, refuse_write, xml_reply};
use super::seen::S3Seen;
use super::{range, time, xml};
use crate::reply::Reply;

/// The number of parts that an upload may have, as S3 has it.
const PARTS_MAX: u32 = 10_000;

/// An upload that is not finished.
#[derive(Clone)]
pub(super) struct Upload {
    pub(super) begun: SystemTime,
    pub(super) parts: BTreeMap<u32, Part>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

#[derive(Clone)]
pub(super) struct Part {
    pub(super) bytes: Bytes,
    etag: String,
    modified: SystemTime,
}

fn no_such_upload() -> Reply {
    refuse(404, "NoSuchUpload", "The specified upload does not exist. It may have been aborted or completed.")
}

fn identity(seen: &S3Seen) -> (String, String) {
    (seen.key.clone(), seen.parameter("uploadId").unwrap_or_default().to_owned())
}

impl Content {
    fn upload(&mut self, seen: &S3Seen) -> Option<&mut Upload> {
        self.bucket(&seen.bucket).uploads.get_mut(&identity(seen))
    }

    pub(super) fn create_upload(&mut self, seen: &S3Seen, now: SystemTime) -> Reply {
        self.uploads_begun += 1;
        let id = format!("upload-{:06}", self.uploads_begun);
        let upload = Upload { begun: now, parts: BTreeMap::new(), headers: kept_headers(seen) };
        self.bucket(&seen.bucket).uploads.insert((seen.key.clone(), id.clone()), upload);
        let content = [("Bucket", &seen.bucket), ("Key", &seen.key), ("UploadId", &id)];
        xml_reply("InitiateMultipartUploadResult", &content.map(|(name, text)| xml::element(name, text)).concat())
    }

    pub(super) fn upload_part(&mut self, seen: &S3Seen, bytes: Bytes, now: SystemTime) -> Reply {
        match self.add_part(seen, bytes, now) {
            Ok(etag) => Reply::new(200).header("etag", &etag),
            Err(refusal) => *refusal,
        }
    }

    pub(super) fn copy_part(&mut self, seen: &S3Seen, now: SystemTime) -> Reply {
        let bytes = match self.copied(seen) {
            Ok(object) => object.bytes,
            Err(refusal) => return *refusal,
        };
        let bytes = match seen.header("x-amz-copy-source-range").map(|wanted| range::parse(wanted, bytes.len())) {
            None => bytes,
            Some(range::Wanted::Part(first, last)) => {
                let position = |byte: u64| usize::try_from(byte).unwrap_or(usize::MAX);
                bytes.slice(position(first)..=position(last))
            }
            Some(_) => return refuse(400, "InvalidArgument", "The range is not within the source"),
        };
        match self.add_part(seen, bytes, now) {
            Ok(etag) => {
                let content = [xml::element("LastModified", &time::in_xml(now)), xml::element("ETag", &etag)].concat();
                xml_reply("CopyPartResult", &content)
            }
            Err(refusal) => *refusal,
        }
    }

    fn add_part(&mut self, seen: &S3Seen, bytes: Bytes, now: SystemTime) -> Result<String, Box<Reply>> {
        let upload = self.upload(seen).ok_or_else(|| Box::new(no_such_upload()))?;
        let number = seen.part().filter(|number| (1..=PARTS_MAX).contains(number));
        let number =
            number.ok_or_else(|| Box::new(refuse(400, "InvalidArgument", "Part number must be from 1 to 10000")))?;
        let etag = etag_of(&bytes);
        upload.parts.insert(number, Part { bytes, etag: etag.clone(), modified: now });
        Ok(etag)
    }

    pub(super) fn complete_upload(&mut self, seen: &S3Seen, body: &[u8], now: SystemTime) -> Reply {
        let part_bytes_min = self.part_bytes_min;
        let body = String::from_utf8_lossy(body);
        let numbers = xml::texts(&body, "PartNumber");
        let listed: Vec<_> = numbers.into_iter().zip(xml::texts(&body, "ETag")).collect();
        let objects = self.bucket(&seen.bucket);
        let Some(upload) = objects.uploads.get(&identity(seen)) else { return no_such_upload() };
        if let Some(refusal) = refuse_write(seen, objects.objects.get(&seen.key)) {
            return refusal;
        }
        let bytes = match joined(upload, &listed, part_bytes_min) {
            Ok(bytes) => bytes,
            Err(refusal) => return *refusal,
        };
        let etag = format!("{}-{}\"", etag_of(&bytes).trim_end_matches('"'), listed.len());
        let object = Object { bytes, etag: etag.clone(), modified: now, headers: upload.headers.clone() };
        objects.objects.insert(seen.key.clone(), object);
        objects.uploads.remove(&identity(seen));
        let content = [("Bucket", &seen.bucket), ("Key", &seen.key), ("ETag", &etag)];
        xml_reply("CompleteMultipartUploadResult", &content.map(|(name, text)| xml::element(name, text)).concat())
    }

    pub(super) fn abort_upload(&mut self, seen: &S3Seen) -> Reply {
        match self.bucket(&seen.bucket).uploads.remove(&identity(seen)) {
            Some(_) => Reply::new(204),
            None => no_such_upload(),
        }
    }

    pub(super) fn list_parts(&mut self, seen: &S3Seen) -> Reply {
        let page_max = page_of(seen, "max-parts", self.page_max);
        let after = seen.parameter("part-number-marker").and_then(|marker| marker.parse().ok()).unwrap_or(0);
        let Some(upload) = self.upload(seen) else { return no_such_upload() };
        let mut parts = upload.parts.range(after + 1..);
        let mut content = String::new();
        let mut last = after;
        for (number, part) in parts.by_ref().take(page_max) {
            let fields = [
                xml::element("PartNumber", &number.to_string()),
                xml::element("LastModified", &time::in_xml(part.modified)),
                xml::element("ETag", &part.etag),
                xml::element("Size", &part.bytes.len().to_string()),
            ];
            content += &xml::group("Part", &fields);
            last = *number;
        }
        let is_truncated = parts.next().is_some();
        content += &xml::element("IsTruncated", &is_truncated.to_string());
        if is_truncated {
            content += &xml::element("NextPartNumberMarker", &last.to_string());
        }
        xml_reply("ListPartsResult", &content)
    }

    pub(super) fn list_uploads(&mut self, seen: &S3Seen) -> Reply {
        let page_max = page_of(seen, "max-uploads", self.page_max);
        let prefix = seen.parameter("prefix").unwrap_or_default();
        // Behind all uploads of the key when none of them is named.
        let id_marker = if seen.parameter("key-marker").is_some() { "\u{10ffff}" } else { "" };
        let after = (
            seen.parameter("key-marker").unwrap_or_default().to_owned(),
            seen.parameter("upload-id-marker").unwrap_or(id_marker).to_owned(),
        );
        let uploads = &self.bucket(&seen.bucket).uploads;
        let mut uploads = uploads.iter().filter(|(identity, _)| identity.0.starts_with(prefix) && **identity > after);
        let mut content = String::new();
        let mut last = None;
        for (identity, upload) in uploads.by_ref().take(page_max) {
            let fields = [
                xml::element("Key", &identity.0),
                xml::element("UploadId", &identity.1),
                xml::element("Initiated", &time::in_xml(upload.begun)),
            ];
            content += &xml::group("Upload", &fields);
            last = Some(identity);
        }
        let is_truncated = uploads.next().is_some();
        content += &xml::element("IsTruncated", &is_truncated.to_string());
        if let Some((key, id)) = last.filter(|_| is_truncated) {
            content += &[xml::element("NextKeyMarker", key), xml::element("NextUploadIdMarker", id)].concat();
        }
        xml_reply("ListMultipartUploadsResult", &content)
    }
}

/// The bytes of an upload whose parts the client lists, by number and entity tag.
fn joined(upload: &Upload, listed: &[(String, String)], part_bytes_min: usize) -> Result<Bytes, Box<Reply>> {
    if listed.is_empty() {
        return Err(Box::new(refuse(400, "MalformedXML", "An upload is completed with at least one part")));
    }
    let mut whole = BytesMut::new();
    let mut previous = 0;
    for (position, (number, etag)) in listed.iter().enumerate() {
        let number = number.parse().unwrap_or(0);
        if number <= previous {
            return Err(Box::new(refuse(400, "InvalidPartOrder", "The list of parts was not in ascending order.")));
        }
        previous = number;
        let part = upload.parts.get(&number).filter(|part| part.etag.trim_matches('"') == etag.trim_matches('"'));
        let Some(part) = part else {
            return Err(Box::new(refuse(400, "InvalidPart", "One or more of the specified parts could not be found.")));
        };
        if part.bytes.len() < part_bytes_min && position + 1 < listed.len() {
            return Err(Box::new(refuse(
                400,
                "EntityTooSmall",
                "Your proposed upload is smaller than the minimum allowed size",
            )));
        }
        whole.extend_from_slice(&part.bytes);
    }
    Ok(whole.freeze())
}
