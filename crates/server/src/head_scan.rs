//! Finds request heads that announce their length twice.
//!
//! A head with both `Content-Length` and `Transfer-Encoding` is how requests are smuggled past a proxy that believes
//! the other one. The HTTP library obeys `Transfer-Encoding`, drops `Content-Length` and closes the connection after the
//! answer, which is safe, but by the time a request exists nobody can tell any more. We refuse such a request
//! (<https://www.rfc-editor.org/rfc/rfc9112#section-6.3>), so the bytes are looked at as they arrive.

use std::io::BufRead;

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
    ///
    /// Only names are looked at byte by byte. The rest of a line, which is most of a head, is skipped by a search for its end.
    pub(crate) fn feed(&mut self, mut bytes: &[u8]) {
        while let Some((byte, rest)) = bytes.split_first() {
            bytes = match self.place {
                Place::BehindHead => return,
                Place::StartLine | Place::RestOfLine => {
                    let Some(rest) = behind_line_end(bytes) else { return };
                    self.place = Place::LineStart;
                    rest
                }
                _ if *byte == b'\r' => rest,
                _ => {
                    self.place = self.take(*byte);
                    rest
                }
            };
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
            // Neither of the names begins otherwise.
            (Place::LineStart, byte) if !matches!(byte, b'c' | b'C' | b't' | b'T') => Place::RestOfLine,
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

/// What follows the next line end, if there is one.
fn behind_line_end(bytes: &[u8]) -> Option<&[u8]> {
    // The standard library looks at many bytes at a time here, as it does not in an iterator. To read from memory does not fail.
    let mut rest = bytes;
    let length = rest.skip_until(b'\n').ok()?;
    bytes[..length].ends_with(b"\n").then_some(rest)
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
