//! What is counted about identity providers.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::refusal::TokenFault;

/// Counters of the documents and tokens of identity providers. Their label is the name of a provider in the configuration, so that
/// there are no more series than providers are configured, whatever comes in.
#[derive(Clone, Debug, Default)]
pub struct IssuerMetrics {
    documents: Family<DocumentLabels, Counter>,
    tokens: Family<TokenLabels, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DocumentLabels {
    issuer: String,
    document: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TokenLabels {
    issuer: String,
    outcome: &'static str,
}

impl IssuerMetrics {
    /// Makes them known under their names.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("access");
        registry.register(
            "oidc_documents",
            "Documents of identity providers that were fetched, by document (discovery, keys) and outcome (ok, failed)",
            self.documents.clone(),
        );
        registry.register("oidc_tokens", "Tokens of identity providers, by what came of them", self.tokens.clone());
    }

    pub(super) fn document(&self, issuer: &Arc<str>, document: &'static str, is_ok: bool) {
        let outcome = if is_ok { "ok" } else { "failed" };
        self.documents.get_or_create(&DocumentLabels { issuer: issuer.to_string(), document, outcome }).inc();
    }

    pub(super) fn token(&self, issuer: &Arc<str>, outcome: TokenOutcome) {
        self.tokens.get_or_create(&TokenLabels { issuer: issuer.to_string(), outcome: outcome.as_str() }).inc();
    }
}

/// What came of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenOutcome {
    Accepted,
    /// Accepted, because it was a moment ago.
    Remembered,
    /// An algorithm that is not on the list.
    UnknownAlgorithm,
    UnknownKey,
    BadSignature,
    /// A claim that is missing or has another type.
    Malformed,
    WrongAudience,
    Expired,
    NotYetValid,
    NobodyKnown,
    /// The provider could not be asked for its keys.
    Unavailable,
}

impl TokenOutcome {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Remembered => "remembered",
            Self::UnknownAlgorithm => "unknown_algorithm",
            Self::UnknownKey => "unknown_key",
            Self::BadSignature => "bad_signature",
            Self::Malformed => "malformed",
            Self::WrongAudience => "wrong_audience",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::NobodyKnown => "nobody_known",
            Self::Unavailable => "unavailable",
        }
    }

    /// What whoever sent it is told.
    pub(super) const fn fault(self) -> TokenFault {
        match self {
            Self::WrongAudience => TokenFault::WrongAudience,
            Self::Expired => TokenFault::Expired,
            Self::NotYetValid => TokenFault::NotYetValid,
            Self::NobodyKnown => TokenFault::NobodyKnown,
            Self::Accepted
            | Self::Remembered
            | Self::UnknownAlgorithm
            | Self::UnknownKey
            | Self::BadSignature
            | Self::Malformed
            | Self::Unavailable => TokenFault::Unknown,
        }
    }
}
