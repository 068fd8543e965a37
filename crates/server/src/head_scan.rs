//! Finds request heads that announce their length twice.
//!
//! A head with both `Content-Length` and `Transfer-Encoding` is how requests are smuggled past a proxy that believes
//! the other one. The HTTP library obeys `Transfer-Encoding`, drops `Content-Length` and closes the connection after the
//! answer, which is safe, but by the time a request exists nobody can tell any more. We refuse such a request
//! (<https://www.rfc-editor.org/rfc/rfc9112#section-6.3>), so the bytes are looked at as they arrive.

const CONTENT_LENGTH: &[u8] = b"content-length";
const TRANSFER_ENCODING: &[u8] = b"transfer-encoding";

/// The longest name that matters; longer ones cannot match and are not kept.
const NAME_BYTES_MAX: usize = TRANSFER_ENCODING.len();

/// Where in a head the next byte stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// Empty lines before the start line are legal and end nothing.
    #[default]
    BeforeStartLine,
    StartLine,
    LineStart,
    FieldName,
    /// A value, or a name that is too long to matter.
    RestOfLine,
    BehindHead,
}

/// A scan over the bytes of one request head, fed in pieces of any size.
#[derive(Debug, Default)]
pub(crate) struct HeadScan {
    place: Place,
    name: [u8; NAME_BYTES_MAX],
    name_length: usize,
    content_length: bool,
    transfer_encoding: bool,
}

impl HeadScan {
    /// Takes the next bytes; everything after the empty line that ends the head is ignored.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        for byte in bytes.iter().filter(|byte| **byte != b'\r') {
            if self.place == Place::BehindHead {
                return;
            }
            self.place = self.take(*byte);
        }
    }

    /// Whether the head named both lengths so far.
    pub(crate) fn is_ambiguous(&self) -> bool {
        self.content_length && self.transfer_encoding
    }

    fn take(&mut self, byte: u8) -> Place {
        match (self.place, byte) {
            (Place::BeforeStartLine, b'\n') => Place::BeforeStartLine,
            (Place::LineStart, b'\n') => Place::BehindHead,
            (_, b'\n') => Place::LineStart,
            (Place::BeforeStartLine | Place::StartLine, _) => Place::StartLine,
            (Place::LineStart, _) => {
                self.name_length = 0;
                self.extend_name(byte)
            }
            (Place::FieldName, b':') => self.end_name(),
            (Place::FieldName, _) => self.extend_name(byte),
            (place @ (Place::RestOfLine | Place::BehindHead), _) => place,
        }
    }

    fn extend_name(&mut self, byte: u8) -> Place {
        let Some(end) = self.name.get_mut(self.name_length) else {
            return Place::RestOfLine;
        };
        *end = byte.to_ascii_lowercase();
        self.name_length += 1;
        Place::FieldName
    }

    fn end_name(&mut self) -> Place {
        match &self.name[..self.name_length] {
            CONTENT_LENGTH => self.content_length = true,
            TRANSFER_ENCODING => self.transfer_encoding = true,
            _ => {}
        }
        Place::RestOfLine
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_ambiguous(head: &str, piece: usize) -> bool {
        let mut scan = HeadScan::default();
        for bytes in head.as_bytes().chunks(piece) {
            scan.feed(bytes);
        }
        scan.is_ambiguous()
    }

    #[test]
    fn only_a_head_with_both_lengths_is_ambiguous() {
        let rows = [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", false),
            ("PUT / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", false),
            ("PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", false),
            ("PUT / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", true),
            ("PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", true),
            ("PUT / HTTP/1.1\ntransfer-ENCODING:chunked\nCONTENT-length:3\n\n", true),
            ("\r\n\r\nPUT / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", true),
            ("PUT / HTTP/1.1\r\nContent-Length: 3\r\n\r\nTransfer-Encoding: chunked\r\n", false),
            ("PUT / HTTP/1.1\r\nX: Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", false),
            ("PUT / HTTP/1.1\r\nX-Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", false),
            ("PUT /content-length:transfer-encoding: HTTP/1.1\r\nContent-Length: 3\r\n\r\n", false),
        ];
        for (head, expected) in rows {
            for piece in [1, 2, 7, head.len()] {
                assert_eq!(is_ambiguous(head, piece), expected, "{head:?} in pieces of {piece}");
            }
        }
    }
}
