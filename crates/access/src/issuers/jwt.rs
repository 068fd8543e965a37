//! A JSON Web Token in its compact form, <https://www.rfc-editor.org/rfc/rfc7519>, taken apart and believed in nothing.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use crate::limits::PROVIDER_TOKEN_BYTES_MAX;

/// The claims of a token, by their names.
pub(super) type Claims = Map<String, Value>;

/// A token taken apart.
pub(super) struct Jwt<'a> {
    pub(super) header: Header,
    pub(super) claims: Claims,
    /// What the signature is of.
    pub(super) signed: &'a [u8],
    pub(super) signature: Vec<u8>,
}

/// What of the header counts. Keys that a header brings along or points to (`jwk`, `jku`, `x5c`, `x5u`) are not even read: whoever
/// wrote the token wrote them.
#[derive(Deserialize)]
pub(super) struct Header {
    pub(super) alg: String,
    pub(super) kid: Option<String>,
    /// Extensions that have to be understood, and none is.
    crit: Option<IgnoredAny>,
}

impl<'a> Jwt<'a> {
    /// Takes a token apart; `None` when it is not one, or longer than any honest one.
    pub(super) fn parse(token: &'a str) -> Option<Self> {
        if token.len() > PROVIDER_TOKEN_BYTES_MAX {
            return None;
        }
        // At most three parts are made, however many dots there are.
        let mut parts = token.splitn(3, '.');
        let (header, claims, signature) = (parts.next()?, parts.next()?, parts.next()?);
        let signed = &token.as_bytes()[..header.len() + 1 + claims.len()];
        let header: Header = serde_json::from_slice(&decode(header)?).ok()?;
        if header.crit.is_some() {
            return None;
        }
        let claims = serde_json::from_slice(&decode(claims)?).ok()?;
        Some(Self { header, claims, signed, signature: decode(signature)? })
    }

    /// The issuer that the token names, which it need not come from.
    pub(super) fn issuer(&self) -> Option<&str> {
        self.claims.get("iss")?.as_str()
    }
}

fn decode(part: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(part).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(header: &str, claims: &str) -> String {
        format!("{}.{}.c2ln", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn a_token_has_three_parts_and_json_in_two() {
        let text =
            token(r#"{"alg":"RS256","kid":"a","jwk":{"kty":"oct"},"jku":"https://evil.example"}"#, r#"{"iss":"i"}"#);
        let jwt = Jwt::parse(&text).unwrap();
        assert_eq!(
            (jwt.issuer(), jwt.header.kid.as_deref(), jwt.signature.as_slice()),
            (Some("i"), Some("a"), &b"sig"[..])
        );
        assert!(text.as_bytes().starts_with(jwt.signed) && text.as_bytes()[jwt.signed.len()] == b'.');
    }

    #[test]
    fn a8_what_is_too_long_or_has_other_parts_is_no_token() {
        let (header, claims) = (r#"{"alg":"RS256"}"#, r#"{"iss":"i"}"#);
        let long = token(header, &format!(r#"{{"iss":"{}"}}"#, "i".repeat(PROVIDER_TOKEN_BYTES_MAX)));
        let good = token(header, claims);
        let rows = [
            String::new(),
            ".".repeat(PROVIDER_TOKEN_BYTES_MAX),
            "a.b".to_owned(),
            "..".to_owned(),
            format!("{good}.more"),
            format!("{good}="),
            good.rsplit_once('.').unwrap().0.to_owned(),
            long,
            token("{}", claims),
            token(r#"{"alg":["RS256"]}"#, claims),
            token(r#"{"alg":"none","alg":"RS256"}"#, claims),
            token(r#"{"alg":"RS256","kid":7}"#, claims),
            token(r#"{"alg":"RS256","crit":["b64"],"b64":false}"#, claims),
            token(header, "[]"),
            token(header, r#"{"exp":1e400}"#),
            token(header, &"[".repeat(4096)),
        ];
        for text in rows {
            assert!(Jwt::parse(&text).is_none(), "{text:.80}");
        }
        assert!(Jwt::parse(&good).is_some());
    }
}
