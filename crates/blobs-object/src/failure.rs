//! What an answer of the store means, in words without secrets.

use std::error::Error as StdError;

use entrepot_blobs::Error;
use object_store::client::HttpError;
use object_store::path::Path;

/// What the store answered, or why it did not. Of an answer's body only the code and the message are kept: others repeat what was
/// signed, and by whom.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Answer(String);

impl Answer {
    pub(crate) fn new(words: impl Into<String>) -> Self {
        Self(words.into())
    }
}

/// The failure of `operation` on `key`. That something is not there is a refusal: whoever asks for what may be absent looks at that first.
pub(crate) fn failed(operation: &'static str, key: &Path, error: &object_store::Error) -> Error {
    let (key, source) = (key.to_string(), Box::new(Answer(describe(error))));
    if is_refusal(error) {
        Error::Refused { operation, key, source }
    } else {
        Error::Unavailable { operation, key, source }
    }
}

/// An answer that came, and makes no sense.
pub(crate) fn senseless(operation: &'static str, key: &Path, words: impl Into<String>) -> Error {
    Error::Refused { operation, key: key.to_string(), source: Box::new(Answer::new(words)) }
}

/// Whether it is the bucket that is not there, and not the object: then nothing is known of the object.
pub(crate) fn is_without_bucket(error: &object_store::Error) -> bool {
    let text = error.to_string();
    text.contains("NoSuchBucket") || text.contains("ContainerNotFound") || text.contains("bucket does not exist")
}

fn is_refusal(error: &object_store::Error) -> bool {
    use object_store::Error as Failed;
    match error {
        Failed::Generic { .. } => {
            let text = error.to_string();
            // What did not come to an answer, or came to one that could not be read to its end, may come to another.
            !is_transport(error)
                && status_of(&text)
                    .is_some_and(|status| (300..500).contains(&status) && !matches!(status, 408 | 409 | 429))
        }
        // Two writers at the same time: the store asks for another attempt.
        Failed::AlreadyExists { .. } | Failed::Precondition { .. } | Failed::NotModified { .. } => false,
        _ => true,
    }
}

fn is_transport(error: &object_store::Error) -> bool {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<HttpError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// The status that the text of an error tells: the crate has no other way to ask for it.
fn status_of(text: &str) -> Option<u16> {
    let (_, rest) = text.split_once("status code: ")?;
    rest.get(..3)?.parse().ok()
}

fn describe(error: &object_store::Error) -> String {
    let mut text = error.to_string();
    // Where a store signs in the query, its secrets are there.
    while let Some(start) = text.find('?') {
        let end = text[start..].find([' ', ')', '"']).map_or(text.len(), |length| start + length);
        text.replace_range(start..end, "");
    }
    let Some(body) = text.find('<') else {
        text.truncate(text.floor_char_boundary(1000));
        return text;
    };
    let said = ["Code", "Message"].map(|tag| element(&text[body..], tag).map(str::to_owned));
    text.truncate(body);
    for word in said.into_iter().flatten() {
        text.push_str(&word);
        text.push(' ');
    }
    text.truncate(text.floor_char_boundary(1000));
    text.trim_end().to_owned()
}

fn element<'a>(body: &'a str, tag: &str) -> Option<&'a str> {
    let (_, rest) = body.split_once(&format!("<{tag}>"))?;
    rest.split_once("</").map(|(text, _)| text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generic(text: &str) -> object_store::Error {
        object_store::Error::Generic { store: "S3", source: text.to_owned().into() }
    }

    #[test]
    fn what_may_pass_is_unavailable_and_what_will_not_is_refused() {
        let rows = [
            ("non-2xx status code: 500 Internal Server Error: <Code>InternalError</Code>", true),
            ("non-2xx status code: 503 Service Unavailable: <Code>SlowDown</Code>", true),
            ("non-2xx status code: 429 Too Many Requests: ", true),
            ("error response: <Error><Code>InternalError</Code></Error>", true),
            ("non-2xx status code: 400 Bad Request: <Code>InvalidPart</Code>", false),
            ("non-2xx status code: 301 Moved Permanently: ", false),
        ];
        for (text, is_unavailable) in rows {
            let failed = failed("put", &Path::from("key"), &generic(text));
            assert_eq!(failed.is_unavailable(), is_unavailable, "{text}");
        }
    }

    #[test]
    fn answers_are_told_without_what_was_signed() {
        let error = generic(
            "Error performing PUT https://host/bucket/key?sig=SECRET&x=1 in 3ms - Server returned non-2xx status code: 403 Forbidden: \
             <Error><Code>SignatureDoesNotMatch</Code><Message>It differs</Message><StringToSign>SECRET</StringToSign></Error>",
        );
        let told = describe(&error);
        assert!(!told.contains("SECRET"), "{told}");
        assert!(told.contains("403 Forbidden") && told.ends_with("SignatureDoesNotMatch It differs"), "{told}");
    }
}
