//! Who asks, as far as the domain has to know: whose an upload is, and with which account an upstream is asked.

use std::sync::Arc;

use entrepot_oci::RepositoryName;
use entrepot_upstream::CallerCredentials;

/// Who asks.
#[derive(Clone, Debug, Default)]
pub struct Actor {
    /// The name under which an upload is his. Empty where nobody has names.
    pub name: String,
    /// The account that he has at the upstream that is asked, where it is asked with that of the caller.
    pub upstream_credentials: Option<CallerCredentials>,
}

/// Whether the caller may pull from a repository.
pub type Readable<'r> = &'r (dyn Fn(&RepositoryName) -> bool + Send + Sync);

/// What a rule about access has to know of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The one spelling by which rights are told.
    pub name: RepositoryName,
    /// The other names of the same.
    pub spellings: Vec<RepositoryName>,
    /// What it names may have been fetched with an account of the server, at the upstream or at a mirror of it.
    pub is_private: bool,
    /// The upstream that decides about its own users, where it is asked with the account of the caller.
    pub judge: Option<Arc<str>>,
}
