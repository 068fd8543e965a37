//! The keys of a fake identity provider, one of each kind, and what they sign.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384,
    RSA_PSS_SHA512, RsaEncoding, RsaKeyPair,
};
use serde_json::{Value, json};

/// Two keys that protect nothing: made for this, because nothing here can make RSA keys.
const RSA_KEYS: [&[u8]; 2] = [include_bytes!("rsa-1.der"), include_bytes!("rsa-2.der")];

/// How a token is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "their names are those of RFC 7518 and RFC 8037")]
pub enum SigningAlgorithm {
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

impl SigningAlgorithm {
    /// All of them.
    pub const ALL: [Self; 9] = [
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

    /// The name in the header of a token.
    pub const fn as_str(self) -> &'static str {
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
}

pub(crate) struct Keys {
    generation: usize,
    random: SystemRandom,
    rsa: RsaKeyPair,
    p256: EcdsaKeyPair,
    p384: EcdsaKeyPair,
    ed25519: Ed25519KeyPair,
}

impl Keys {
    pub(crate) fn new(generation: usize) -> Self {
        let random = SystemRandom::new();
        let ed25519 = Ed25519KeyPair::generate_pkcs8(&random).expect("a key");
        Self {
            generation,
            rsa: RsaKeyPair::from_der(RSA_KEYS[generation % RSA_KEYS.len()]).expect("a key of RSA"),
            p256: elliptic(&ECDSA_P256_SHA256_FIXED_SIGNING, &random),
            p384: elliptic(&ECDSA_P384_SHA384_FIXED_SIGNING, &random),
            ed25519: Ed25519KeyPair::from_pkcs8(ed25519.as_ref()).expect("it was just made"),
            random,
        }
    }

    pub(crate) fn rotate(&mut self) {
        *self = Self::new(self.generation + 1);
    }

    pub(crate) fn header(&self, algorithm: SigningAlgorithm) -> Value {
        let kind = match algorithm {
            SigningAlgorithm::Es256 => "p256",
            SigningAlgorithm::Es384 => "p384",
            SigningAlgorithm::EdDsa => "ed25519",
            _ => "rsa",
        };
        json!({ "typ": "JWT", "alg": algorithm.as_str(), "kid": self.id(kind) })
    }

    pub(crate) fn published(&self) -> Value {
        let rsa = PublicKeyComponents::<Vec<u8>>::from(self.rsa.public_key());
        let point = |key: &EcdsaKeyPair| {
            // One byte that says how the point is written, then both coordinates.
            let coordinates = key.public_key().as_ref()[1..].to_vec();
            let (x, y) = coordinates.split_at(coordinates.len() / 2);
            (encode(x), encode(y))
        };
        let ((x256, y256), (x384, y384)) = (point(&self.p256), point(&self.p384));
        json!({ "keys": [
            { "kid": self.id("rsa"), "kty": "RSA", "use": "sig", "n": encode(&rsa.n), "e": encode(&rsa.e) },
            { "kid": self.id("p256"), "kty": "EC", "use": "sig", "crv": "P-256", "x": x256, "y": y256 },
            { "kid": self.id("p384"), "kty": "EC", "use": "sig", "crv": "P-384", "x": x384, "y": y384 },
            { "kid": self.id("ed25519"), "kty": "OKP", "crv": "Ed25519", "x": encode(self.ed25519.public_key().as_ref()) },
        ] })
    }

    pub(crate) fn token(&self, algorithm: SigningAlgorithm, header: &Value, claims: &Value) -> String {
        let signed = format!("{}.{}", encode(header.to_string().as_bytes()), encode(claims.to_string().as_bytes()));
        let signature = self.signature(algorithm, signed.as_bytes());
        format!("{signed}.{}", encode(&signature))
    }

    fn signature(&self, algorithm: SigningAlgorithm, message: &[u8]) -> Vec<u8> {
        let rsa = |encoding: &'static dyn RsaEncoding| {
            let mut signature = vec![0; self.rsa.public().modulus_len()];
            self.rsa.sign(encoding, &self.random, message, &mut signature).expect("a signature");
            signature
        };
        let elliptic = |key: &EcdsaKeyPair| key.sign(&self.random, message).expect("a signature").as_ref().to_vec();
        match algorithm {
            SigningAlgorithm::Rs256 => rsa(&RSA_PKCS1_SHA256),
            SigningAlgorithm::Rs384 => rsa(&RSA_PKCS1_SHA384),
            SigningAlgorithm::Rs512 => rsa(&RSA_PKCS1_SHA512),
            SigningAlgorithm::Ps256 => rsa(&RSA_PSS_SHA256),
            SigningAlgorithm::Ps384 => rsa(&RSA_PSS_SHA384),
            SigningAlgorithm::Ps512 => rsa(&RSA_PSS_SHA512),
            SigningAlgorithm::Es256 => elliptic(&self.p256),
            SigningAlgorithm::Es384 => elliptic(&self.p384),
            SigningAlgorithm::EdDsa => self.ed25519.sign(message).as_ref().to_vec(),
        }
    }

    fn id(&self, kind: &str) -> String {
        format!("{kind}-{}", self.generation)
    }
}

fn elliptic(algorithm: &'static EcdsaSigningAlgorithm, random: &SystemRandom) -> EcdsaKeyPair {
    let key = EcdsaKeyPair::generate_pkcs8(algorithm, random).expect("a key");
    EcdsaKeyPair::from_pkcs8(algorithm, key.as_ref(), random).expect("it was just made")
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
