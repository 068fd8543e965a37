//! What a request proves: its `Authorization` header, read.
//!
//! What stands in it is a secret from the first byte on: nothing of it is logged, nor told back.

use std::fmt;

use base64::Engine;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use entrepot_access::Proof;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use secrecy::SecretString;

/// Some clients leave the padding out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Why a header proves nothing. Never taken for one that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProofError {
    /// Two of them: what is in front of us may have looked at the other one.
    #[error("the request has more than one Authorization header")]
    Repeated,
    /// Not what its scheme says that it is.
    #[error("the Authorization header is not {0} as it is written")]
    Malformed(Expected),
    /// A scheme that is not spoken here.
    #[error("the scheme of the Authorization header is not known here: there are Basic and Bearer")]
    UnknownScheme,
}

/// What a scheme is followed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// <https://www.rfc-editor.org/rfc/rfc7617#section-2>
    Basic,
    /// <https://www.rfc-editor.org/rfc/rfc6750#section-2.1>
    Bearer,
}

impl fmt::Display for Expected {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Basic => "Basic with user and password, joined by a colon and encoded in base64,",
            Self::Bearer => "Bearer with one token",
        })
    }
}

/// What the headers of a request prove.
pub(crate) fn proof(headers: &HeaderMap) -> Result<Proof, ProofError> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(Proof::None) };
    if values.next().is_some() {
        return Err(ProofError::Repeated);
    }
    // What is no text has no scheme that could be known.
    let text = value.to_str().map_err(|_| ProofError::UnknownScheme)?;
    let (scheme, rest) = text.split_once(' ').unwrap_or((text, ""));
    if scheme.eq_ignore_ascii_case("basic") {
        basic(rest.trim_matches(' ')).ok_or(ProofError::Malformed(Expected::Basic))
    } else if scheme.eq_ignore_ascii_case("bearer") {
        bearer(rest.trim_matches(' ')).ok_or(ProofError::Malformed(Expected::Bearer))
    } else {
        Err(ProofError::UnknownScheme)
    }
}

/// The first colon ends the user; a password may have more of them. No control characters, says the RFC.
fn basic(encoded: &str) -> Option<Proof> {
    let text = String::from_utf8(BASE64.decode(encoded).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    if text.contains(char::is_control) {
        return None;
    }
    Some(Proof::Basic { user: user.to_owned(), password: password.into() })
}

fn bearer(token: &str) -> Option<Proof> {
    let is_token68 = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/');
    let is_token = !token.is_empty() && token.trim_end_matches('=').bytes().all(is_token68) && !token.starts_with('=');
    is_token.then(|| Proof::Bearer(SecretString::from(token)))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use secrecy::ExposeSecret;

    use super::*;

    /// What is proven, as text that tests can compare.
    fn read(values: &[&[u8]]) -> Result<String, ProofError> {
        let values = values.iter().map(|value| (AUTHORIZATION, HeaderValue::from_bytes(value).unwrap()));
        proof(&values.collect()).map(|proof| match proof {
            Proof::None => "none".to_owned(),
            Proof::Basic { user, password } => format!("basic {user}|{}", password.expose_secret()),
            Proof::Bearer(token) => format!("bearer {}", token.expose_secret()),
        })
    }

    fn encoded(text: &str) -> String {
        base64::engine::general_purpose::STANDARD.encode(text)
    }

    #[test]
    fn both_schemes_are_read_as_clients_write_them() {
        let basic = |text: &str| format!("Basic {}", encoded(text));
        let rows = [
            (basic("alice:secret"), "basic alice|secret"),
            (basic("alice:a:b::"), "basic alice|a:b::"),
            (basic(":"), "basic |"),
            (basic("zoë:pässwörd"), "basic zoë|pässwörd"),
            (basic("<token>:x"), "basic <token>|x"),
            (format!("bAsIc   {} ", encoded("a:b")), "basic a|b"),
            (format!("Basic {}", encoded("a:bc").trim_end_matches('=')), "basic a|bc"),
            ("Bearer abc.DEF-_~+/==".to_owned(), "bearer abc.DEF-_~+/=="),
            ("bearer  a".to_owned(), "bearer a"),
        ];
        for (header, expected) in rows {
            assert_eq!(read(&[header.as_bytes()]).as_deref(), Ok(expected), "{header}");
        }
        assert_eq!(read(&[]).as_deref(), Ok("none"));
    }

    #[test]
    fn what_proves_nothing_is_never_taken_for_nothing() {
        let malformed = |expected| Err(ProofError::Malformed(expected));
        let rows: [(Vec<u8>, _); 14] = [
            (b"Basic".to_vec(), malformed(Expected::Basic)),
            (b"Basic ".to_vec(), malformed(Expected::Basic)),
            (b"Basic !!!".to_vec(), malformed(Expected::Basic)),
            (format!("Basic {}", encoded("alice")).into_bytes(), malformed(Expected::Basic)),
            (format!("Basic {}", encoded("a:b\nc")).into_bytes(), malformed(Expected::Basic)),
            (b"Basic YTr/".to_vec(), malformed(Expected::Basic)),
            (format!("Basic {} x", encoded("a:b")).into_bytes(), malformed(Expected::Basic)),
            (b"Bearer".to_vec(), malformed(Expected::Bearer)),
            (b"Bearer a b".to_vec(), malformed(Expected::Bearer)),
            (b"Bearer =".to_vec(), malformed(Expected::Bearer)),
            (b"Bearer a,b".to_vec(), malformed(Expected::Bearer)),
            (b"".to_vec(), Err(ProofError::UnknownScheme)),
            (b"Negotiate abc".to_vec(), Err(ProofError::UnknownScheme)),
            (b"Bearer \xff".to_vec(), Err(ProofError::UnknownScheme)),
        ];
        for (header, expected) in rows {
            assert_eq!(read(&[&header]), expected, "{:?}", String::from_utf8_lossy(&header));
        }
        assert_eq!(read(&[b"Bearer a", b"Bearer a"]), Err(ProofError::Repeated));
    }

    #[test]
    fn a20_a_secret_is_not_told_back() {
        let printed = format!("{:?}", read(&[b"Basic hunter2!"]));
        assert!(!printed.contains("hunter2"), "{printed}");
        let headers = [(AUTHORIZATION, HeaderValue::from_str(&format!("Basic {}", encoded("a:hunter2"))).unwrap())];
        let printed = format!("{:?}", proof(&headers.into_iter().collect()));
        assert!(printed.contains("Basic") && !printed.contains("hunter2"), "{printed}");
    }
}
