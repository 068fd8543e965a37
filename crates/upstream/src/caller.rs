//! The account of whoever asks us, for upstreams that are asked with it.

use std::fmt;

use secrecy::SecretString;

/// The user and password that a caller came with, meant for one upstream and told to no other.
#[derive(Clone)]
pub struct CallerCredentials {
    /// The name of the upstream that they are for.
    pub upstream: std::sync::Arc<str>,
    /// The user there.
    pub user: String,
    /// The password or token there.
    pub password: SecretString,
}

impl fmt::Debug for CallerCredentials {
    /// Without the password.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("CallerCredentials")
            .field("upstream", &self.upstream)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}
