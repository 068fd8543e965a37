//! Rules: when a request matches, what becomes of the honest reply.

use std::fmt;
use std::sync::Arc;

use crate::fake::FakeUpstream;
use crate::reply::Reply;
use crate::seen::Seen;

type Matches = Arc<dyn Fn(&Seen) -> bool + Send + Sync>;
type Replies = Arc<dyn Fn(Reply) -> Reply + Send + Sync>;

/// A rule in force.
#[derive(Clone)]
pub(crate) struct Rule {
    matches: Matches,
    replies: Replies,
    /// How often it still applies; `None` is for ever.
    left: Option<usize>,
}

/// A rule on its way, from [`FakeUpstream::when`]; it comes into force with [`RuleBuilder::reply`].
#[must_use = "a rule comes into force with reply()"]
pub struct RuleBuilder<'a> {
    upstream: &'a FakeUpstream,
    matches: Matches,
    left: Option<usize>,
}

impl<'a> RuleBuilder<'a> {
    pub(crate) fn new(upstream: &'a FakeUpstream, matches: impl Fn(&Seen) -> bool + Send + Sync + 'static) -> Self {
        Self { upstream, matches: Arc::new(matches), left: None }
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

    /// Puts the rule into force: the honest reply becomes what `make` makes of it.
    ///
    /// Of several rules that match, the one that came first and still applies is taken.
    pub fn reply(self, make: impl Fn(Reply) -> Reply + Send + Sync + 'static) {
        self.upstream.add_rule(Rule { matches: self.matches, replies: Arc::new(make), left: self.left });
    }
}

impl fmt::Debug for RuleBuilder<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("RuleBuilder").field("left", &self.left).finish_non_exhaustive()
    }
}

/// What the first rule that applies makes of a reply to `seen`; uses that rule up by one.
pub(crate) fn apply(rules: &mut [Rule], seen: &Seen, honest: Reply) -> Reply {
    let rule = rules.iter_mut().find(|rule| rule.left != Some(0) && (rule.matches)(seen));
    let Some(rule) = rule else { return honest };
    if let Some(left) = &mut rule.left {
        *left -= 1;
    }
    (rule.replies)(honest)
}
