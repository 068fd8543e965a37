//! A request as the fake S3 saw it.

use std::collections::BTreeMap;

use http::{HeaderMap, Method};

/// What a request wants of S3, by the name that its documentation has for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is an operation of S3's documentation")]
pub enum S3Operation {
    ListObjectsV2,
    ListMultipartUploads,
    DeleteObjects,
    HeadBucket,
    PutObject,
    CopyObject,
    GetObject,
    HeadObject,
    DeleteObject,
    CreateMultipartUpload,
    UploadPart,
    UploadPartCopy,
    CompleteMultipartUpload,
    AbortMultipartUpload,
    ListParts,
    /// None of the above: it is answered with a 501.
    Unknown,
}

/// A request as the fake S3 saw it.
#[derive(Clone, Debug)]
pub struct S3Seen {
    /// What it wants.
    pub operation: S3Operation,
    /// The bucket.
    pub bucket: String,
    /// The key, decoded; empty for what concerns the whole bucket.
    pub key: String,
    /// The decoded parameters of the query; those of a presigned URL are among them.
    pub query: BTreeMap<String, String>,
    /// All headers.
    pub headers: HeaderMap,
}

impl S3Seen {
    pub(super) fn new(method: &Method, path: &str, query: &str, headers: HeaderMap) -> Self {
        let path = path.strip_prefix('/').unwrap_or(path);
        let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let query = pairs.map(|(name, value)| (decode(name), decode(value))).collect();
        let (bucket, key) = (decode(bucket), decode(key));
        let mut seen = Self { operation: S3Operation::Unknown, bucket, key, query, headers };
        seen.operation = seen.find_operation(method);
        seen
    }

    fn find_operation(&self, method: &Method) -> S3Operation {
        let has = |name: &str| self.query.contains_key(name);
        let is_copy = self.header("x-amz-copy-source").is_some();
        match (method.as_str(), self.key.is_empty()) {
            ("GET", true) if has("uploads") => S3Operation::ListMultipartUploads,
            ("GET", true) if self.parameter("list-type") == Some("2") => S3Operation::ListObjectsV2,
            ("POST", true) if has("delete") => S3Operation::DeleteObjects,
            ("HEAD", true) => S3Operation::HeadBucket,
            ("PUT", false) if has("uploadId") && is_copy => S3Operation::UploadPartCopy,
            ("PUT", false) if has("uploadId") => S3Operation::UploadPart,
            ("PUT", false) if is_copy => S3Operation::CopyObject,
            ("PUT", false) => S3Operation::PutObject,
            ("GET", false) if has("uploadId") => S3Operation::ListParts,
            ("GET", false) => S3Operation::GetObject,
            ("HEAD", false) => S3Operation::HeadObject,
            ("DELETE", false) if has("uploadId") => S3Operation::AbortMultipartUpload,
            ("DELETE", false) => S3Operation::DeleteObject,
            ("POST", false) if has("uploads") => S3Operation::CreateMultipartUpload,
            ("POST", false) if has("uploadId") => S3Operation::CompleteMultipartUpload,
            _ => S3Operation::Unknown,
        }
    }

    /// Whether it wants this.
    pub fn is(&self, operation: S3Operation) -> bool {
        self.operation == operation
    }

    /// Whether it is any request at all: the rule for everything.
    pub const fn is_any(&self) -> bool {
        true
    }

    /// Whether it is authorised by its URL alone, as presigned ones are.
    pub fn is_presigned(&self) -> bool {
        self.query.contains_key("X-Amz-Signature")
    }

    /// Whether it wants to write only what is not there yet (`If-None-Match: *`).
    pub fn is_create(&self) -> bool {
        self.header("if-none-match") == Some("*")
    }

    /// The value of a header, if it came and is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// A decoded parameter of the query.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str)
    }

    /// The number of the part that it uploads.
    pub fn part(&self) -> Option<u32> {
        self.parameter("partNumber")?.parse().ok()
    }
}

/// Undoes the encoding of a URL. A plus stays one: keys contain it, and clients of S3 write a space as `%20`.
pub(super) fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, behind)) = rest.split_first() {
        let digits = behind.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(decoded) if *byte == b'%' => {
                bytes.push(decoded);
                rest = &behind[2..];
            }
            _ => {
                bytes.push(*byte);
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
