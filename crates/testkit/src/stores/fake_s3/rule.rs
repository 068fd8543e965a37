//! Rules: when a request matches, what happens instead of what it wants.

use std::fmt;
use std::sync::Arc;

use super::content::Content;
use super::seen::S3Seen;
use super::{FakeS3, S3Snapshot};
use crate::gate::Gate;
use crate::reply::Reply;

type Matches = Arc<dyn Fn(&S3Seen) -> bool + Send + Sync>;
type Replies = Arc<dyn Fn(Reply) -> Reply + Send + Sync>;

/// What happens to a request.
#[derive(Clone)]
pub(super) enum Action {
    /// It is done, and the honest reply is changed.
    Reply(Replies),
    /// It is not done, and this is the reply.
    Refuse(Box<Reply>),
    /// It is not done, and the reply says that it was.
    Forget,
    /// It is answered from what there was at another time.
    Stale(Box<Content>),
    /// It is done, and the connection breaks without a reply.
    LoseReply,
    /// The connection breaks when so many bytes of its body have come; nothing is done.
    CutRequest(usize),
}

/// A rule in force.
pub(super) struct Rule {
    matches: Matches,
    action: Action,
    hold: Option<Gate>,
    left: Option<usize>,
}

/// A rule on its way, from [`FakeS3::when`]; it comes into force with the method that says what happens.
///
/// Of several rules that match, the one that came first and still applies is taken.
#[must_use = "a rule comes into force with the method that says what happens"]
pub struct S3RuleBuilder<'a> {
    s3: &'a FakeS3,
    matches: Matches,
    hold: Option<Gate>,
    left: Option<usize>,
}

impl<'a> S3RuleBuilder<'a> {
    pub(super) fn new(s3: &'a FakeS3, matches: impl Fn(&S3Seen) -> bool + Send + Sync + 'static) -> Self {
        Self { s3, matches: Arc::new(matches), hold: None, left: None }
    }

    /// For the first matching request alone.
    pub fn once(self) -> Self {
        self.times(1)
    }

    /// For the first `count` matching requests.
    pub fn times(mut self, count: usize) -> Self {
        self.left = Some(count);
        self
    }

    /// The request waits at the gate before anything happens. (To hold a reply instead, [`Reply::silent`] it.)
    pub fn held_at(mut self, gate: &Gate) -> Self {
        self.hold = Some(gate.clone());
        self
    }

    /// What the request wants is done, and the honest reply becomes what `make` makes of it.
    pub fn reply(self, make: impl Fn(Reply) -> Reply + Send + Sync + 'static) {
        self.act(Action::Reply(Arc::new(make)));
    }

    /// What the request wants is *not* done, and this is the reply; see [`FakeS3::error`].
    pub fn refuse(self, reply: Reply) {
        self.act(Action::Refuse(Box::new(reply)));
    }

    /// What the request wants is *not* done, and the reply says that it was: a part, an object or a deletion is lost.
    pub fn forget(self) {
        self.act(Action::Forget);
    }

    /// The reply is that of an earlier moment, as of a server whose reads or lists lag behind its writes. Nothing is done.
    pub fn stale(self, snapshot: &S3Snapshot) {
        self.act(Action::Stale(Box::new(snapshot.0.clone())));
    }

    /// What the request wants is done, and the connection breaks without a reply: the outcome is unknown to the client.
    pub fn lose_reply(self) {
        self.act(Action::LoseReply);
    }

    /// The connection breaks when so many bytes of the request's body have come, and nothing is done.
    pub fn cut_request_after(self, bytes: usize) {
        self.act(Action::CutRequest(bytes));
    }

    fn act(self, action: Action) {
        self.s3.add_rule(Rule { matches: self.matches, action, hold: self.hold, left: self.left });
    }
}

impl fmt::Debug for S3RuleBuilder<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("S3RuleBuilder").field("left", &self.left).finish_non_exhaustive()
    }
}

/// What the first rule that applies says of a request, and where it waits before; uses that rule up by one.
pub(super) fn take(rules: &mut [Rule], seen: &S3Seen) -> (Option<Action>, Option<Gate>) {
    let rule = rules.iter_mut().find(|rule| rule.left != Some(0) && (rule.matches)(seen));
    let Some(rule) = rule else { return (None, None) };
    if let Some(left) = &mut rule.left {
        *left -= 1;
    }
    (Some(rule.action.clone()), rule.hold.clone())
}
