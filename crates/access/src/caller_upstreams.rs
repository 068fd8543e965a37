//! Upstreams that know their own users: whoever comes with an account there is asked about there.

use std::sync::Arc;

use entrepot_upstream::{CallerCredentials, Remote};
use secrecy::SecretString;

use crate::refusal::Refusal;

/// The upstreams with `credentials = "caller"`.
#[derive(Debug, Default)]
pub struct CallerUpstreams {}

impl CallerUpstreams {
    /// Those among these upstreams.
    pub fn new(_remotes: Vec<Arc<Remote>>) -> Self {
        Self {}
    }

    /// Whether there is none, so that nobody can be asked about.
    #[expect(clippy::unused_self, reason = "not built yet")]
    pub(crate) const fn is_empty(&self) -> bool {
        true
    }

    /// The account at the first of them that lets the user in with this password; `None` when none does.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`] when one that might do so cannot be asked.
    #[expect(clippy::unused_async, reason = "not built yet")]
    pub(crate) async fn try_login(
        &self,
        _user: &str,
        _password: &SecretString,
    ) -> Result<Option<CallerCredentials>, Refusal> {
        Ok(None)
    }
}
