//! Signed texts in the compact form of <https://www.rfc-editor.org/rfc/rfc7515>, which tokens are: ours and those of identity
//! providers. The one place where they are taken apart, signed and verified.
//!
//! Nothing in such a text decides how it is verified. Whoever asks brings the key and the algorithm, and the header is only good for
//! choosing among the keys that he has.

mod public_key;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::Ed25519KeyPair;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer, Serialize};

use crate::limits::TOKEN_BYTES_MAX;
pub(crate) use public_key::{Algorithm, PublicKey};

/// A signed text taken apart, and believed in nothing.
pub(crate) struct Jws<'a> {
    pub(crate) header: Header,
    payload: Vec<u8>,
    /// What the signature is of.
    signed: &'a [u8],
    signature: Vec<u8>,
}

/// What of the header counts. Keys that a header brings along or points to (`jwk`, `jku`, `x5c`, `x5u`) are not even read: whoever
/// wrote the text wrote them.
#[derive(Deserialize)]
pub(crate) struct Header {
    pub(crate) alg: String,
    #[serde(default, deserialize_with = "present")]
    pub(crate) kid: Option<String>,
    /// Extensions that have to be understood, and none is.
    #[serde(default, deserialize_with = "present")]
    crit: Option<IgnoredAny>,
}

/// The header of what is signed here.
#[derive(Serialize)]
struct OurHeader<'a> {
    typ: &'a str,
    alg: &'a str,
    kid: &'a str,
}

impl<'a> Jws<'a> {
    /// Takes a text apart; `None` when it is not such a one, or longer than any honest one.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let [header, payload, signature] = split(text)?;
        let signed = &text.as_bytes()[..header.len() + 1 + payload.len()];
        let header: Header = serde_json::from_slice(&decode(header)?).ok()?;
        if header.crit.is_some() {
            return None;
        }
        Some(Self { header, payload: decode(payload)?, signed, signature: decode(signature)? })
    }

    /// What it carries, if that is of this type. It counts for nothing before [`Self::is_signed_by`].
    pub(crate) fn payload<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_slice(&self.payload).ok()
    }

    /// Whether the signature is by this key, in this algorithm, which is the one that the header names.
    pub(crate) fn is_signed_by(&self, key: &PublicKey, algorithm: Algorithm) -> bool {
        Algorithm::parse(&self.header.alg) == Some(algorithm) && key.verify(algorithm, self.signed, &self.signature)
    }
}

/// What a text says before anybody has looked at its signature or its header: good for choosing whom to ask about it, and no more.
pub(crate) fn unverified_payload<T: DeserializeOwned>(text: &str) -> Option<T> {
    let [_, payload, _] = split(text)?;
    serde_json::from_slice(&decode(payload)?).ok()
}

/// Signs claims, with a key of this id.
pub(crate) fn sign(pair: &Ed25519KeyPair, key_id: &str, claims: &impl Serialize) -> Result<String, serde_json::Error> {
    let header = OurHeader { typ: "JWT", alg: Algorithm::EdDsa.as_str(), kid: key_id };
    let mut text = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&header)?);
    text.push('.');
    URL_SAFE_NO_PAD.encode_string(serde_json::to_vec(claims)?, &mut text);
    let signature = pair.sign(text.as_bytes());
    text.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut text);
    Ok(text)
}

/// Reads what need not be there, but is of this type where it is: `null` is not absent.
pub(crate) fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(written: D) -> Result<Option<T>, D::Error> {
    T::deserialize(written).map(Some)
}

/// The three parts of a text.
fn split(text: &str) -> Option<[&str; 3]> {
    if text.len() > TOKEN_BYTES_MAX {
        return None;
    }
    // No more parts are made, however many dots there are: what follows a third dot is no base64 with it.
    let mut parts = text.splitn(3, '.');
    Some([parts.next()?, parts.next()?, parts.next()?])
}

fn decode(part: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(part).ok()
}

#[cfg(test)]
mod tests {
    use ring::rand::SystemRandom;
    use ring::signature::KeyPair;
    use serde_json::{Value, json};

    use super::*;

    fn text(header: &str, payload: &str) -> String {
        format!("{}.{}.c2ln", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload))
    }

    #[test]
    fn a_text_has_three_parts_and_json_in_two() {
        let header = r#"{"alg":"RS256","kid":"a","jwk":{"kty":"oct"},"jku":"https://evil.example"}"#;
        let text = text(header, r#"{"iss":"i"}"#);
        let jws = Jws::parse(&text).unwrap();
        assert_eq!((jws.header.kid.as_deref(), jws.signature.as_slice()), (Some("a"), &b"sig"[..]));
        assert_eq!(jws.payload::<Value>(), Some(json!({ "iss": "i" })));
        assert_eq!(unverified_payload::<Value>(&text), Some(json!({ "iss": "i" })));
        assert!(text.as_bytes().starts_with(jws.signed) && text.as_bytes()[jws.signed.len()] == b'.');
    }

    #[test]
    fn a8_what_is_too_long_or_has_other_parts_is_none() {
        let (header, payload) = (r#"{"alg":"RS256"}"#, r#"{"iss":"i"}"#);
        let good = text(header, payload);
        let rows = [
            String::new(),
            ".".repeat(TOKEN_BYTES_MAX),
            "a.b".to_owned(),
            "..".to_owned(),
            format!("{good}.more"),
            format!("{good}="),
            good.rsplit_once('.').unwrap().0.to_owned(),
            text(header, &format!(r#"{{"iss":"{}"}}"#, "i".repeat(TOKEN_BYTES_MAX))),
            text("{}", payload),
            text(r#"{"alg":["RS256"]}"#, payload),
            text(r#"{"alg":null}"#, payload),
            text(r#"{"alg":"none","alg":"RS256"}"#, payload),
            text(r#"{"alg":"RS256","kid":7}"#, payload),
            text(r#"{"alg":"RS256","kid":null}"#, payload),
            text(r#"{"alg":"RS256","crit":["b64"],"b64":false}"#, payload),
            text(r#"{"alg":"RS256","crit":null}"#, payload),
            text(&"[".repeat(4096), payload),
        ];
        for text in rows {
            assert!(Jws::parse(&text).is_none(), "{text:.80}");
        }
        assert!(Jws::parse(&good).is_some());
    }

    /// The key of appendix A of <https://www.rfc-editor.org/rfc/rfc8037> and what it has signed there.
    const KEY_OF_RFC_8037: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    const TEXT_OF_RFC_8037: &str = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.\
        hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";

    #[test]
    fn the_example_of_the_rfc_is_signed_by_its_key() {
        let jws = Jws::parse(TEXT_OF_RFC_8037).unwrap();
        let key = PublicKey::Ed25519(URL_SAFE_NO_PAD.decode(KEY_OF_RFC_8037).unwrap());
        assert!(jws.is_signed_by(&key, Algorithm::EdDsa));
        assert!(!jws.is_signed_by(&PublicKey::Ed25519(vec![7; 32]), Algorithm::EdDsa));
        let changed = TEXT_OF_RFC_8037.replace("RXhh", "RXhi");
        assert!(!Jws::parse(&changed).unwrap().is_signed_by(&key, Algorithm::EdDsa));
    }

    #[test]
    fn a1_what_is_signed_here_is_good_with_its_key_and_the_algorithm_that_it_names() {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap();
        let key = PublicKey::Ed25519(pair.public_key().as_ref().to_vec());
        let signed = sign(&pair, "a", &json!({ "iss": "i" })).unwrap();
        let jws = Jws::parse(&signed).unwrap();
        assert_eq!((jws.header.alg.as_str(), jws.header.kid.as_deref()), ("EdDSA", Some("a")));
        assert!(jws.is_signed_by(&key, Algorithm::EdDsa) && !jws.is_signed_by(&key, Algorithm::Es256));
        for name in ["none", "", "HS256", "ES256", "eddsa"] {
            let message = text(&json!({ "alg": name }).to_string(), "{}");
            let (message, _) = message.rsplit_once('.').unwrap();
            let forged = format!("{message}.{}", URL_SAFE_NO_PAD.encode(pair.sign(message.as_bytes())));
            let jws = Jws::parse(&forged).unwrap();
            for algorithm in [Algorithm::EdDsa, Algorithm::Es256] {
                assert!(!jws.is_signed_by(&key, algorithm), "{name} {algorithm:?}");
            }
        }
    }
}
