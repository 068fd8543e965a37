//! The error codes of the registry API and the body that carries them.
//! <https://github.com/opencontainers/distribution-spec/blob/main/spec.md#error-codes>

use std::fmt;

use serde::{Deserialize, Serialize};

/// A code of an error body: one row of one table, from which the documentation is generated too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ErrorCode(&'static Row);

#[derive(Debug, PartialEq, Eq, Hash)]
struct Row {
    text: &'static str,
    status: u16,
    meaning: &'static str,
}

macro_rules! codes {
    ($($name:ident $status:literal $meaning:literal;)*) => {
        impl ErrorCode {
            $(
                #[doc = $meaning]
                pub const $name: Self = Self(&Row { text: stringify!($name), status: $status, meaning: $meaning });
            )*
            /// Every code, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];
        }
    };
}

codes! {
    BLOB_UNKNOWN 404 "the repository holds no blob of this digest";
    BLOB_UPLOAD_INVALID 400 "the upload session is not in a state that allows the request";
    BLOB_UPLOAD_UNKNOWN 404 "the repository has no such upload session; it ended, expired, or never was";
    DIGEST_INVALID 400 "the digest is malformed, of an unsupported algorithm, or not that of the content";
    MANIFEST_BLOB_UNKNOWN 400 "the manifest names content that the repository does not hold";
    MANIFEST_INVALID 400 "the manifest cannot be read as the type that it is said to be";
    MANIFEST_UNKNOWN 404 "the repository has no manifest of this tag or digest";
    NAME_INVALID 400 "the repository name does not follow the specification";
    NAME_UNKNOWN 404 "there is no such repository";
    SIZE_INVALID 400 "the length of the content is not the one that was announced";
    UNAUTHORIZED 401 "credentials are needed";
    DENIED 403 "the caller may not do this";
    UNSUPPORTED 405 "the operation is not available here";
    TOOMANYREQUESTS 429 "too many requests; Retry-After tells when to come back";
    RANGE_INVALID 416 "the range is malformed or does not continue the content";
    TAG_INVALID 400 "the tag does not follow the specification";
    PAGINATION_NUMBER_INVALID 400 "the page size is not a number from 0 on";
    UNAVAILABLE 503 "something that the answer depends on cannot be reached now";
    UNKNOWN 500 "an unexpected failure; the log has the cause under the request id";
}

impl ErrorCode {
    /// The code as it stands in a body.
    pub const fn as_str(self) -> &'static str {
        self.0.text
    }

    /// The status that goes with the code unless the situation calls for a more exact one.
    pub const fn status(self) -> u16 {
        self.0.status
    }

    /// One sentence for the documentation.
    pub const fn meaning(self) -> &'static str {
        self.0.meaning
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// `{"errors":[…]}`, the body of every failed request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// At least one entry.
    pub errors: Vec<ErrorEntry>,
}

/// One error of an [`ErrorBody`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ErrorEntry {
    /// One of [`ErrorCode::ALL`] in our own answers; anything in those of others.
    pub code: String,
    /// A sentence for people.
    #[serde(default)]
    pub message: String,
    /// Whatever helps a program.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub detail: serde_json::Value,
}
