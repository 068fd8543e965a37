//! What is counted. Every label is one of a few words of our own: nothing that a client sends becomes one.

use std::sync::atomic::Ordering;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::caller::{Caller, Scheme};
use crate::refusal::{Refusal, TokenFault};

/// Counters of logins and tokens.
#[derive(Debug, Default)]
pub struct Metrics {
    logins: Family<LoginLabels, Counter>,
    tokens_issued: Family<KindLabel, Counter>,
    tokens_refused: Family<FaultLabel, Counter>,
    passwords_hashed: Counter,
    throttled: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LoginLabels {
    scheme: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FaultLabel {
    fault: &'static str,
}

/// A kind of token that the token service hands out.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Issued {
    /// For some minutes and scopes.
    Access,
    /// In the place of a password.
    Refresh,
}

impl Metrics {
    /// Makes them known under their names.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("access");
        registry.register(
            "logins",
            "Requests that said who they are, by how and by what came of it",
            self.logins.clone(),
        );
        registry.register("tokens_issued", "Tokens that the token service has handed out", self.tokens_issued.clone());
        registry.register(
            "tokens_refused",
            "Tokens that were refused, by what was wrong with them",
            self.tokens_refused.clone(),
        );
        registry.register(
            "passwords_hashed",
            "Passwords that were checked against the users file, and not remembered from the last minutes",
            self.passwords_hashed.clone(),
        );
        registry.register(
            "logins_throttled",
            "Logins that were refused without a look at the password, for too many wrong ones from one address",
            self.throttled.clone(),
        );
    }

    /// Counts what came of a request that wanted to be somebody's.
    pub(crate) fn count_login(&self, scheme: Scheme, result: &Result<Caller, Refusal>) {
        let outcome = match result {
            Ok(caller) if caller.is_expired => "expired",
            Ok(_) => "success",
            Err(Refusal::WrongCredentials) => "wrong_credentials",
            Err(Refusal::InvalidToken(_)) => "invalid_token",
            Err(Refusal::TooManyAttempts { .. }) => "throttled",
            Err(Refusal::Busy) => "busy",
            Err(Refusal::Unavailable { .. }) => "unavailable",
        };
        self.logins.get_or_create(&LoginLabels { scheme: scheme.as_str(), outcome }).inc();
        match result {
            Err(Refusal::InvalidToken(fault)) => {
                self.tokens_refused.get_or_create(&FaultLabel { fault: fault_word(*fault) }).inc();
            }
            Err(Refusal::TooManyAttempts { .. }) => {
                self.throttled.inc();
            }
            _ => {}
        }
    }

    /// So many passwords were hashed by now, of which the ones that are counted already are a part.
    pub(crate) fn saw_hashes(&self, hashes: u64) {
        self.passwords_hashed.inner().fetch_max(hashes, Ordering::Relaxed);
    }

    /// Counts a token that was issued.
    pub(crate) fn count_issued(&self, kind: Issued) {
        let kind = match kind {
            Issued::Access => "access",
            Issued::Refresh => "refresh",
        };
        self.tokens_issued.get_or_create(&KindLabel { kind }).inc();
    }
}

const fn fault_word(fault: TokenFault) -> &'static str {
    match fault {
        TokenFault::Unknown => "unknown",
        TokenFault::Expired => "expired",
        TokenFault::NotYetValid => "not_yet_valid",
        TokenFault::WrongAudience => "wrong_audience",
        TokenFault::Revoked => "revoked",
        TokenFault::NobodyKnown => "nobody_known",
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;
    use crate::principal::Principal;

    #[test]
    fn d15_a_hundred_thousand_names_add_no_series() {
        let (metrics, mut registry) = (Metrics::default(), Registry::default());
        metrics.register(&mut registry);
        let lines = || {
            let mut page = String::new();
            encode(&mut page, &registry).unwrap();
            page.lines().count()
        };
        let count = |number: usize| {
            let caller = Caller::new(Principal::Robot(number.to_string().into()), Scheme::Bearer, None);
            metrics.count_login(Scheme::Bearer, &Ok(caller));
            metrics.count_login(Scheme::Basic, &Err(Refusal::InvalidToken(TokenFault::Unknown)));
        };
        count(0);
        let before = lines();
        (1..100_000).for_each(count);
        assert_eq!(lines(), before);
    }
}
