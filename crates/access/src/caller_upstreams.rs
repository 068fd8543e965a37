//! Upstreams that know their own users: whoever comes with an account there is asked about there.

use std::sync::Arc;

use entrepot_upstream::Remote;

/// The upstreams with `credentials = "caller"`.
#[derive(Debug, Default)]
pub struct CallerUpstreams {}

impl CallerUpstreams {
    /// Those among these upstreams.
    pub fn new(_remotes: Vec<Arc<Remote>>) -> Self {
        Self {}
    }
}
