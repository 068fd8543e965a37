//! A public key, and what it may verify.
//!
//! An algorithm is used only if it is on the list below *and* belongs to the kind of the key: nothing that is public is ever the secret
//! of an HMAC, and `none` is no algorithm.

use ring::signature::{self, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey};

/// An algorithm that signatures may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
}

impl Algorithm {
    /// All there are.
    const ALL: [Self; 9] = [
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Es256,
        Self::Es384,
        Self::EdDsa,
    ];

    /// The one of this name in a header. There is no `none` among them and no HMAC.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == name)
    }

    /// Its name in headers.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
        }
    }

    fn rsa(self) -> Option<&'static RsaParameters> {
        Some(match self {
            Self::Rs256 => &signature::RSA_PKCS1_2048_8192_SHA256,
            Self::Rs384 => &signature::RSA_PKCS1_2048_8192_SHA384,
            Self::Rs512 => &signature::RSA_PKCS1_2048_8192_SHA512,
            Self::Ps256 => &signature::RSA_PSS_2048_8192_SHA256,
            Self::Ps384 => &signature::RSA_PSS_2048_8192_SHA384,
            Self::Ps512 => &signature::RSA_PSS_2048_8192_SHA512,
            Self::Es256 | Self::Es384 | Self::EdDsa => return None,
        })
    }
}

/// A public key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum PublicKey {
    /// Numbers, the highest byte first and without zeros before it.
    Rsa {
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
    /// A point that is written uncompressed.
    P256(Vec<u8>),
    /// A point that is written uncompressed.
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
}

impl PublicKey {
    /// Whether signatures of this algorithm can be by a key of this kind.
    pub(crate) fn fits(&self, algorithm: Algorithm) -> bool {
        match self {
            Self::Rsa { .. } => algorithm.rsa().is_some(),
            Self::P256(_) => algorithm == Algorithm::Es256,
            Self::P384(_) => algorithm == Algorithm::Es384,
            Self::Ed25519(_) => algorithm == Algorithm::EdDsa,
        }
    }

    /// Whether the signature is by this key, in this algorithm.
    pub(super) fn verify(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        if !self.fits(algorithm) {
            return false;
        }
        let verified = match (self, algorithm.rsa()) {
            (Self::Rsa { modulus, exponent }, Some(parameters)) => {
                RsaPublicKeyComponents { n: modulus, e: exponent }.verify(parameters, message, signature)
            }
            (Self::P256(point), None) => {
                UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point).verify(message, signature)
            }
            (Self::P384(point), None) => {
                UnparsedPublicKey::new(&signature::ECDSA_P384_SHA384_FIXED, point).verify(message, signature)
            }
            (Self::Ed25519(key), None) => UnparsedPublicKey::new(&signature::ED25519, key).verify(message, signature),
            _ => return false,
        };
        verified.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a1_a_name_that_is_not_on_the_list_is_no_algorithm() {
        for algorithm in Algorithm::ALL {
            assert_eq!(Algorithm::parse(algorithm.as_str()), Some(algorithm));
        }
        for name in ["none", "None", "NONE", "", "HS256", "HS384", "HS512", "ES256K", "ES512", "rs256", "RS1"] {
            assert_eq!(Algorithm::parse(name), None, "{name}");
        }
    }

    #[test]
    fn a1_a_key_fits_the_algorithms_of_its_kind_alone() {
        let rsa = PublicKey::Rsa { modulus: vec![0xff; 256], exponent: vec![1, 0, 1] };
        let rows = [
            (rsa, &Algorithm::ALL[..6]),
            (PublicKey::P256(vec![4; 65]), &[Algorithm::Es256]),
            (PublicKey::P384(vec![4; 97]), &[Algorithm::Es384]),
            (PublicKey::Ed25519(vec![7; 32]), &[Algorithm::EdDsa]),
        ];
        for (key, its) in rows {
            let fitting: Vec<_> = Algorithm::ALL.into_iter().filter(|algorithm| key.fits(*algorithm)).collect();
            assert_eq!(fitting, its, "{key:?}");
        }
    }
}
