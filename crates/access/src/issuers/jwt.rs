//! A JSON Web Token of somebody else, <https://www.rfc-editor.org/rfc/rfc7519>, taken apart and believed in nothing.

use serde_json::{Map, Value};

use crate::jws::Jws;

/// The claims of a token, by their names.
pub(super) type Claims = Map<String, Value>;

/// A token taken apart.
pub(super) struct Jwt<'a> {
    pub(super) jws: Jws<'a>,
    /// What it says. Nothing of that is true before the signature has been verified.
    pub(super) claims: Claims,
}

impl<'a> Jwt<'a> {
    /// Takes a token apart; `None` when it is not one, or longer than any honest one.
    pub(super) fn parse(token: &'a str) -> Option<Self> {
        let jws = Jws::parse(token)?;
        let claims = jws.payload()?;
        Some(Self { jws, claims })
    }

    /// The issuer that the token names, which it need not come from.
    pub(super) fn issuer(&self) -> Option<&str> {
        self.claims.get("iss")?.as_str()
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    fn token(header: &str, claims: &str) -> String {
        format!("{}.{}.c2ln", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn a8_what_has_no_claims_is_no_token() {
        let header = r#"{"alg":"RS256"}"#;
        let good = token(header, r#"{"iss":"i"}"#);
        let rows = [
            "..".to_owned(),
            format!("{good}.more"),
            token("{}", r#"{"iss":"i"}"#),
            token(header, ""),
            token(header, "[]"),
            token(header, r#"{"exp":1e400}"#),
            token(header, &"[".repeat(4096)),
        ];
        for text in rows {
            assert!(Jwt::parse(&text).is_none(), "{text:.80}");
        }
        assert_eq!(Jwt::parse(&good).unwrap().issuer(), Some("i"));
        assert_eq!(Jwt::parse(&token(header, r#"{"iss":["i"]}"#)).unwrap().issuer(), None);
    }
}
