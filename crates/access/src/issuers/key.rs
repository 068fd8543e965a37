//! One public key of an identity provider, <https://www.rfc-editor.org/rfc/rfc7517>, and what it may verify.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::jws::{Algorithm, Jws, PublicKey};

/// A public key.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) id: Option<String>,
    /// The one algorithm that it says it is for, if it says so.
    algorithm: Option<Algorithm>,
    material: PublicKey,
}

/// Bytes of the moduli of RSA that are believed in: 2048 to 8192 bits.
const RSA_MODULUS_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;

impl Key {
    /// Reads a JSON Web Key; `None` when it is not one that signatures here can be verified with.
    pub(super) fn read(jwk: &Value) -> Option<Self> {
        let text = |name: &str| jwk.get(name).and_then(Value::as_str);
        let is_for_signatures = jwk.get("use").is_none_or(|usage| usage == "sig");
        let verifies =
            |operations: &Value| operations.as_array().is_some_and(|all| all.iter().any(|one| one == "verify"));
        if !is_for_signatures || !jwk.get("key_ops").is_none_or(verifies) {
            return None;
        }
        let bytes = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?).ok();
        let material = match (text("kty")?, text("crv")) {
            ("RSA", _) => rsa(&bytes("n")?, &bytes("e")?)?,
            ("EC", Some("P-256")) => PublicKey::P256(point(&bytes("x")?, &bytes("y")?, 32)?),
            ("EC", Some("P-384")) => PublicKey::P384(point(&bytes("x")?, &bytes("y")?, 48)?),
            ("OKP", Some("Ed25519")) => PublicKey::Ed25519(bytes("x").filter(|x| x.len() == 32)?),
            _ => return None,
        };
        let algorithm = match jwk.get("alg") {
            Some(name) => Some(Algorithm::parse(name.as_str()?)?),
            None => None,
        };
        Some(Self { id: text("kid").map(str::to_owned), algorithm, material })
    }

    /// Whether signatures of this algorithm can be by this key.
    pub(super) fn fits(&self, algorithm: Algorithm) -> bool {
        self.material.fits(algorithm) && self.algorithm.is_none_or(|only| only == algorithm)
    }

    /// Whether a text is signed by this key, in this algorithm.
    pub(super) fn has_signed(&self, jws: &Jws<'_>, algorithm: Algorithm) -> bool {
        self.fits(algorithm) && jws.is_signed_by(&self.material, algorithm)
    }
}

fn rsa(modulus: &[u8], exponent: &[u8]) -> Option<PublicKey> {
    let (modulus, exponent) = (without_zeros(modulus), without_zeros(exponent));
    RSA_MODULUS_BYTES.contains(&modulus.len()).then_some(PublicKey::Rsa { modulus, exponent })
}

/// A number as some providers write it has zeros before it, which nothing that verifies takes.
fn without_zeros(number: &[u8]) -> Vec<u8> {
    number.iter().copied().skip_while(|byte| *byte == 0).collect()
}

/// A point that is written uncompressed.
fn point(x: &[u8], y: &[u8], size: usize) -> Option<Vec<u8>> {
    (x.len() == size && y.len() == size).then(|| [&[4], x, y].concat())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_key_that_is_not_for_signatures_here_is_left_out() {
        let modulus = URL_SAFE_NO_PAD.encode([0xff; 256]);
        let rsa = json!({ "kty": "RSA", "kid": "a", "use": "sig", "alg": "RS256", "n": modulus, "e": "AQAB" });
        assert!(Key::read(&rsa).is_some());
        let lies = [
            ("use", json!("enc")),
            ("use", json!(1)),
            ("key_ops", json!(["encrypt"])),
            ("alg", json!("HS256")),
            ("alg", json!("RSA-OAEP")),
            ("alg", json!(256)),
            ("kty", json!("oct")),
            ("kty", json!("EC")),
            ("n", json!(URL_SAFE_NO_PAD.encode([0xff; 128]))),
            ("n", json!("?")),
            ("e", json!(65537)),
        ];
        for (name, value) in lies {
            let mut key = rsa.clone();
            key[name] = value.clone();
            assert_eq!(Key::read(&key), None, "{name}: {value}");
        }
        assert_eq!(Key::read(&json!({ "kty": "oct", "kid": "a", "k": "c2VjcmV0", "alg": "HS256" })), None);
        assert_eq!(Key::read(&json!("text")), None);
    }

    #[test]
    fn a1_a_key_verifies_nothing_but_what_its_kind_and_itself_say() {
        let modulus = URL_SAFE_NO_PAD.encode([0xff; 256]);
        let any = Key::read(&json!({ "kty": "RSA", "n": modulus, "e": "AQAB" })).unwrap();
        let one = Key::read(&json!({ "kty": "RSA", "alg": "RS256", "n": modulus, "e": "AQAB" })).unwrap();
        assert!(any.fits(Algorithm::Ps512) && any.fits(Algorithm::Rs256) && !any.fits(Algorithm::Es256));
        assert!(one.fits(Algorithm::Rs256) && !one.fits(Algorithm::Ps256) && !one.fits(Algorithm::Rs512));
    }
}
