//! Resolution of names with the address guard: what is checked here is what is connected to.

use std::net::{IpAddr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::address::is_public;
use crate::config::Lookup;

/// Which addresses a name may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Guard {
    /// Any.
    None,
    /// Public ones alone: for what an answer leads to.
    Public,
    /// Private ones alone: for what is asked without TLS, which nothing on a public way may be believed about.
    Private,
}

impl Guard {
    fn refuses(self, address: IpAddr) -> bool {
        match self {
            Self::None => false,
            Self::Public => !is_public(address),
            Self::Private => is_public(address),
        }
    }
}

/// Resolves for one HTTP client.
pub(crate) struct Resolver {
    /// Which addresses may be connected to.
    pub(crate) guard: Guard,
    /// Asked before DNS.
    pub(crate) lookup: Lookup,
}

/// A host has an address that is not public.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{host} has the address {address}, which is not public")]
pub(crate) struct NotPublic {
    pub(crate) host: String,
    pub(crate) address: IpAddr,
}

/// A host that is asked without TLS has an address that is public.
#[derive(Clone, Debug, thiserror::Error)]
#[error(
    "{host} has the address {address}, which is public: without TLS only private addresses are asked, so its URL has to be https"
)]
pub(crate) struct NotPrivate {
    host: String,
    address: IpAddr,
}

/// There is no such host.
#[derive(Clone, Debug, thiserror::Error)]
#[error("there is no host {host}")]
pub(crate) struct NoSuchHost {
    host: String,
}

/// Whether a failed look-up is the answer that there is no such name, and not the absence of an answer.
///
/// The system's number for it does not survive on its way here, its words do: those of glibc and musl, which are never
/// translated because nothing here sets a locale. Whatever they do not say counts as an outage.
fn is_absence(error: &std::io::Error) -> bool {
    let text = error.to_string();
    let words = [
        "Name or service not known",
        "No address associated with hostname",
        "Name does not resolve",
        "Name has no usable address",
    ];
    words.iter().any(|words| text.contains(words))
}

impl Resolve for Resolver {
    /// Resolves, and refuses the whole answer when one address of it is refused: such a mixture is what an attack
    /// by rebinding looks like, and hardly ever anything else. The client connects to the addresses returned
    /// here without asking again, so there is nothing between the check and the use.
    fn resolve(&self, name: Name) -> Resolving {
        let (guard, lookup) = (self.guard, self.lookup.clone());
        Box::pin(async move {
            let host = name.as_str();
            let addresses: Vec<SocketAddr> = match lookup.answer(host) {
                Some(addresses) => addresses,
                None => match tokio::net::lookup_host((host, 0)).await {
                    Ok(addresses) => addresses.collect(),
                    Err(error) if is_absence(&error) => Vec::new(),
                    Err(error) => return Err(error.into()),
                },
            };
            if addresses.is_empty() {
                return Err(NoSuchHost { host: host.to_owned() }.into());
            }
            let refused = addresses.iter().map(SocketAddr::ip).find(|address| guard.refuses(*address));
            if let Some(address) = refused {
                let host = host.to_owned();
                return Err(match guard {
                    Guard::Private => NotPrivate { host, address }.into(),
                    Guard::None | Guard::Public => NotPublic { host, address }.into(),
                });
            }
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    async fn resolve(resolver: &Resolver) -> Result<Vec<String>, String> {
        let answer = resolver.resolve("registry.example".parse().unwrap()).await;
        answer.map(|found| found.map(|found| found.to_string()).collect()).map_err(|error| error.to_string())
    }

    fn answering(guard: Guard, answers: &'static [&'static [&'static str]]) -> Resolver {
        let asked = AtomicUsize::new(0);
        let lookup = Lookup::by(move |_| {
            let answer = answers[asked.fetch_add(1, Ordering::SeqCst).min(answers.len() - 1)];
            Some(answer.iter().map(|address| address.parse().unwrap()).collect())
        });
        Resolver { guard, lookup }
    }

    #[tokio::test]
    async fn c2_a_name_that_is_rebound_is_refused_when_it_turns_private() {
        let resolver = answering(Guard::Public, &[&["8.8.8.8:0"], &["127.0.0.1:0"]]);
        assert_eq!(resolve(&resolver).await, Ok(vec!["8.8.8.8:0".to_owned()]), "what is checked is what is returned");
        assert!(resolve(&resolver).await.unwrap_err().contains("127.0.0.1"));
    }

    #[tokio::test]
    async fn a_name_without_an_address_is_no_host() {
        assert!(resolve(&answering(Guard::Public, &[&[]])).await.unwrap_err().contains("no host registry.example"));
        let error = |text: &str| std::io::Error::other(format!("failed to lookup address information: {text}"));
        assert!(is_absence(&error("Name or service not known")));
        for outage in ["Temporary failure in name resolution", "Try again", "System error", "Non-recoverable failure"] {
            assert!(!is_absence(&error(outage)), "{outage}");
        }
    }

    #[tokio::test]
    async fn c2_one_private_address_among_public_ones_refuses_them_all() {
        let answers =
            ["127.0.0.1:0", "10.0.0.1:0", "169.254.169.254:0", "[::1]:0", "[::ffff:127.0.0.1]:0", "0.0.0.0:0"];
        for private in answers {
            let lookup = Lookup::by(move |_| Some(vec!["8.8.8.8:0".parse().unwrap(), private.parse().unwrap()]));
            let refused = resolve(&Resolver { guard: Guard::Public, lookup: lookup.clone() }).await;
            assert!(refused.is_err(), "{private}");
            let listed = resolve(&Resolver { guard: Guard::None, lookup }).await;
            assert_eq!(listed.map(|addresses| addresses.len()), Ok(2));
        }
    }
}
