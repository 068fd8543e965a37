//! The little XML that S3 speaks.

use std::fmt::Write as _;

/// An element with a text.
pub(super) fn element(name: &str, text: &str) -> String {
    format!("<{name}>{}</{name}>", escape(text))
}

/// An element that holds others.
pub(super) fn group(name: &str, elements: &[String]) -> String {
    format!("<{name}>{}</{name}>", elements.concat())
}

/// A document whose root is `name`.
pub(super) fn document(name: &str, content: &str) -> String {
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?><{name} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{content}</{name}>"#
    )
}

/// The texts between `<name>` and `</name>`, in their order; an element has to have no attribute, and none of its own name in it.
pub(super) fn texts(xml: &str, name: &str) -> Vec<String> {
    let (begin, end) = (format!("<{name}>"), format!("</{name}>"));
    let behind = xml.split(begin.as_str()).skip(1);
    behind.filter_map(|rest| rest.split_once(end.as_str())).map(|(text, _)| unescape(text)).collect()
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\r' | '\n' => write!(escaped, "&#{};", u32::from(character)).expect("a string takes everything"),
            other => escaped.push(other),
        }
    }
    escaped
}

fn unescape(text: &str) -> String {
    let entities = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&#34;", "\""), ("&amp;", "&")];
    entities.iter().fold(text.to_owned(), |text, (entity, character)| text.replace(entity, character))
}
