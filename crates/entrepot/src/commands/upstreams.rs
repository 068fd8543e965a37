//! Whether the listed upstreams can be reached, and take the account that is configured for them.

use std::sync::Arc;
use std::time::Duration;

use entrepot_oci::{RepositoryName, TagOrDigest};
use entrepot_registry::with_causes;
use entrepot_upstream::{Error, History, Remote, Remotes};
use futures_util::future::join_all;

use super::check::{Finding, Verdict};
use crate::config::Configuration;
use crate::serve::remotes;

/// What is asked for: something that nobody has, so that the answer is short and no pull is counted.
const REPOSITORY: &str = "entrepot/check";
const TAG: &str = "entrepot-check";

/// Every listed upstream, all at once.
pub(super) async fn check(configuration: &Configuration) -> Vec<Finding> {
    let remotes = match Remotes::new(remotes(configuration)) {
        Ok(remotes) => remotes,
        Err(error) => {
            let text = format!("cannot be used: {}", with_causes(&error));
            return vec![Finding { verdict: Verdict::Failed, subject: "proxy.upstream".to_owned(), text }];
        }
    };
    let has_account = |remote: &Remote| {
        let mut upstreams = configuration.proxy.upstreams.iter();
        let upstream = upstreams.find(|upstream| upstream.name == remote.name());
        upstream.is_some_and(|upstream| upstream.password.is_some() || upstream.credential_helper.is_some())
    };
    let asked = remotes.listed().into_iter().map(|remote| {
        let has_account = has_account(&remote);
        ask(remote, has_account)
    });
    join_all(asked).await
}

async fn ask(remote: Arc<Remote>, has_account: bool) -> Finding {
    let subject = format!("upstream {}", remote.name());
    let (Ok(name), Ok(reference)) = (REPOSITORY.parse::<RepositoryName>(), TAG.parse().map(TagOrDigest::Tag)) else {
        let text = format!("{REPOSITORY}:{TAG} cannot be asked for");
        return Finding { verdict: Verdict::Failed, subject, text };
    };
    let repository = remote.repository(&name).into();
    let (verdict, text) = match remote.get_manifest(&repository, &reference).await {
        Ok(_) => (Verdict::Well, reached(None, has_account)),
        Err(error) => judge(&error, has_account),
    };
    Finding { verdict, subject, text }
}

/// That nobody has it is what is expected; everything else is not.
fn judge(error: &Error, has_account: bool) -> (Verdict, String) {
    let to_do = match error {
        Error::NotFound { history } | Error::Denied { history } | Error::Rejected { history, .. } => {
            return answered(history, has_account);
        }
        Error::CredentialsRefused { .. } => {
            "put right the account: username with password, password_file or password_env".to_owned()
        }
        Error::CredentialsUnavailable { .. } => {
            "run the credential_helper by hand, as the user of the server, with `get` behind it".to_owned()
        }
        Error::RateLimited { retry_after, .. } => {
            format!("it can be reached; ask again in {} s, with an account if it has none", retry_after.as_secs())
        }
        Error::Suspended { .. } | Error::Busy { .. } | Error::Unavailable { .. } => {
            "it can be reached and does not work: ask again later".to_owned()
        }
        Error::Unreachable { .. } | Error::Timeout { .. } | Error::Interrupted { .. } => {
            "look at url, the network, DNS, and http_proxy; at ca, where TLS fails".to_owned()
        }
        Error::AddressRefused { .. } | Error::UntrustedRealm { .. } => {
            "add the host to trusted_hosts, where it may be asked".to_owned()
        }
        Error::TooManyRedirects { .. }
        | Error::BadRedirect { .. }
        | Error::DigestMismatch { .. }
        | Error::InvalidContent { .. }
        | Error::TooLarge { .. } => "look at url: what answers there is not a registry".to_owned(),
    };
    (Verdict::Failed, format!("{}; {to_do}", with_causes(error)))
}

/// A refusal: whose words tell whether it is a registry that refuses.
fn answered(history: &History, has_account: bool) -> (Verdict, String) {
    let is_registry = !history.reported.is_empty() || matches!(history.status, Some(401 | 403));
    if is_registry {
        return (Verdict::Well, reached(Some(history.elapsed()), has_account));
    }
    let status = history.status.unwrap_or_default();
    (Verdict::Note, format!("reached; it answers {status} without the words of a registry: look at url if pulls fail"))
}

fn reached(elapsed: Option<Duration>, has_account: bool) -> String {
    let time = elapsed.map(|elapsed| format!(" in {} ms", elapsed.as_millis())).unwrap_or_default();
    let account = if has_account { "the account was accepted" } else { "without an account" };
    format!("reached{time}, {account}")
}
