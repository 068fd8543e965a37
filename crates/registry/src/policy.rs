//! What may be pulled through: a pure decision over what is known of the content.
//!
//! Rules are asked in their order; the first whose every condition holds decides, and without any the content may pass. A decision is
//! taken in stages, as facts become known: while a fact that it hangs on is [`Fact::Pending`] the answer is
//! [`Verdict::Pending`], and never a guess. What can be decided without a fact is decided without it, so that a refused repository
//! or tag never costs a question to its upstream.
//!
//! A fact that nobody can find out ([`Fact::Missing`]) counts against the content: it cannot be shown to be old, small or of a harmless
//! type, so a rule that denies matches, and one that allows does not.

use std::time::Duration;

use crate::settings::{Patterns, PolicyAction, PolicyRule};

/// What is known of one property of the content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fact<T> {
    /// It will be known before anything is answered.
    Pending,
    /// It cannot be found out.
    Missing,
    /// It is judged where the parts of the content are pulled: an index has no age, its images have.
    InParts,
    /// It is this.
    Known(T),
}

/// What is known of content that somebody wants to pull.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts<'a> {
    /// The name of the upstream.
    pub(crate) upstream: &'a str,
    /// The repository as the upstream calls it.
    pub(crate) repository: &'a str,
    /// The tag that it is pulled as; nothing when no tag that is known here leads to it.
    pub(crate) tag: Fact<Option<&'a str>>,
    /// Its type.
    pub(crate) media_type: Fact<&'a str>,
    /// Its size in bytes: of a blob, or of a manifest with everything that it names.
    pub(crate) size: Fact<u64>,
    /// How long ago the image was made.
    pub(crate) age: Fact<Duration>,
}

impl<'a> Facts<'a> {
    /// Of content in a repository, of which nothing more is known yet.
    pub(crate) const fn of(upstream: &'a str, repository: &'a str, tag: Fact<Option<&'a str>>) -> Self {
        Self { upstream, repository, tag, media_type: Fact::Pending, size: Fact::Pending, age: Fact::Pending }
    }
}

/// A rule that matched, and on what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Matched<'r> {
    /// The name of the rule.
    pub(crate) rule: &'r str,
    /// What it does.
    pub(crate) action: PolicyAction,
    /// What it matched on, for people.
    pub(crate) reason: String,
}

/// What the rules say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict<'r> {
    /// It may pass.
    Allowed,
    /// A rule refuses it.
    Denied(Matched<'r>),
    /// That hangs on facts that are not known yet.
    Pending,
}

/// A verdict, and what the rules that decide nothing would have done before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Judgement<'r> {
    pub(crate) verdict: Verdict<'r>,
    pub(crate) logged: Vec<Matched<'r>>,
}

/// Asks the rules.
pub(crate) fn judge<'r>(rules: &'r [PolicyRule], facts: &Facts<'_>) -> Judgement<'r> {
    let mut logged = Vec::new();
    let mut undecided: Vec<PolicyAction> = Vec::new();
    let mut is_log_undecided = false;
    for rule in rules {
        match (matches(rule, facts), rule.is_log_only) {
            (Match::No, _) => {}
            (Match::Pending, true) => is_log_undecided = true,
            (Match::Pending, false) => undecided.push(rule.action),
            (Match::Yes(reason), is_log_only) => {
                let matched = Matched { rule: &rule.name, action: rule.action, reason };
                if is_log_only {
                    logged.push(matched);
                    continue;
                }
                // Rules before this one that may still match change nothing when they would do the same.
                let is_certain = undecided.iter().all(|action| *action == rule.action);
                let verdict = match rule.action {
                    PolicyAction::Deny if is_certain => Verdict::Denied(matched),
                    PolicyAction::Allow if is_certain && !is_log_undecided => Verdict::Allowed,
                    PolicyAction::Deny | PolicyAction::Allow => Verdict::Pending,
                };
                return Judgement { verdict, logged };
            }
        }
    }
    let is_certain = !is_log_undecided && undecided.iter().all(|action| *action == PolicyAction::Allow);
    Judgement { verdict: if is_certain { Verdict::Allowed } else { Verdict::Pending }, logged }
}

/// The name of the first rule that matches and decides, as far as the facts are known.
pub(crate) fn deciding<'r>(rules: &'r [PolicyRule], facts: &Facts<'_>) -> Option<&'r str> {
    let is_deciding = |rule: &&PolicyRule| !rule.is_log_only && matches!(matches(rule, facts), Match::Yes(_));
    rules.iter().find(is_deciding).map(|rule| rule.name.as_str())
}

enum Match {
    Yes(String),
    No,
    Pending,
}

/// Whether every condition of the rule holds. One that does not is enough for a no, whatever is pending.
fn matches(rule: &PolicyRule, facts: &Facts<'_>) -> Match {
    if !rule.upstreams.matches(facts.upstream) || !rule.repositories.matches(facts.repository) {
        return Match::No;
    }
    let mut reasons = Vec::new();
    if !rule.repositories.is_empty() {
        reasons.push(format!("the repository is {}", facts.repository));
    } else if !rule.upstreams.is_empty() {
        reasons.push(format!("the upstream is {}", facts.upstream));
    }
    let conditions = [
        tag_condition(&rule.tags, facts.tag),
        type_condition(&rule.media_types, facts.media_type, rule.action),
        size_condition(rule.larger_than, facts.size, rule.action),
        age_condition(rule.younger_than, facts.age, rule.action),
    ];
    let mut is_pending = false;
    for condition in conditions.into_iter().flatten() {
        match condition {
            Match::No => return Match::No,
            Match::Pending => is_pending = true,
            Match::Yes(reason) => reasons.push(reason),
        }
    }
    if is_pending {
        return Match::Pending;
    }
    Match::Yes(if reasons.is_empty() { "it is for everything".to_owned() } else { reasons.join(", ") })
}

/// No tag matches no pattern, be it of a rule that allows or of one that denies.
fn tag_condition(patterns: &Patterns, tag: Fact<Option<&str>>) -> Option<Match> {
    if patterns.is_empty() {
        return None;
    }
    Some(match tag {
        Fact::Known(Some(tag)) if patterns.matches(tag) => Match::Yes(format!("the tag is {tag}")),
        Fact::Known(_) | Fact::Missing | Fact::InParts => Match::No,
        Fact::Pending => Match::Pending,
    })
}

fn type_condition(patterns: &Patterns, media_type: Fact<&str>, action: PolicyAction) -> Option<Match> {
    if patterns.is_empty() {
        return None;
    }
    Some(holds(
        media_type,
        action,
        |media_type| patterns.matches(media_type).then(|| format!("the media type is {media_type}")),
        "the media type is not known here",
    ))
}

fn size_condition(larger_than: Option<u64>, size: Fact<u64>, action: PolicyAction) -> Option<Match> {
    let limit = larger_than?;
    Some(holds(
        size,
        action,
        |size| (size > limit).then(|| format!("{size} bytes are more than {limit}")),
        "the size is not known",
    ))
}

fn age_condition(younger_than: Option<Duration>, age: Fact<Duration>, action: PolicyAction) -> Option<Match> {
    let limit = younger_than?;
    let hours = |duration: Duration| duration.as_secs() / 3600;
    Some(holds(
        age,
        action,
        |age| (age < limit).then(|| format!("it was made {} hours ago, less than {}", hours(age), hours(limit))),
        "it does not say when it was made",
    ))
}

/// What a fact means for a condition.
fn holds<T>(
    fact: Fact<T>,
    action: PolicyAction,
    is_met: impl FnOnce(T) -> Option<String>,
    unknown: &'static str,
) -> Match {
    match (fact, action) {
        (Fact::Known(value), _) => is_met(value).map_or(Match::No, Match::Yes),
        (Fact::Pending, _) => Match::Pending,
        (Fact::Missing, PolicyAction::Deny) => Match::Yes(unknown.to_owned()),
        (Fact::InParts, PolicyAction::Allow) => Match::Yes("its parts are judged when they are pulled".to_owned()),
        (Fact::Missing, PolicyAction::Allow) | (Fact::InParts, PolicyAction::Deny) => Match::No,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deny(name: &str, change: impl FnOnce(&mut PolicyRule)) -> PolicyRule {
        let mut rule = PolicyRule::new(name, PolicyAction::Deny);
        change(&mut rule);
        rule
    }

    fn allow(name: &str, change: impl FnOnce(&mut PolicyRule)) -> PolicyRule {
        let mut rule = PolicyRule::new(name, PolicyAction::Allow);
        change(&mut rule);
        rule
    }

    fn patterns(text: &str) -> Patterns {
        Patterns::new([text]).unwrap()
    }

    /// `allowed`, `pending`, or the name of the rule that denies.
    fn verdict(rules: &[PolicyRule], facts: &Facts<'_>) -> String {
        match judge(rules, facts).verdict {
            Verdict::Allowed => "allowed".to_owned(),
            Verdict::Pending => "pending".to_owned(),
            Verdict::Denied(matched) => matched.rule.to_owned(),
        }
    }

    const HOUR: Duration = Duration::from_hours(1);

    fn facts(tag: Fact<Option<&'static str>>) -> Facts<'static> {
        Facts::of("docker.io", "library/redis", tag)
    }

    #[test]
    fn the_first_rule_that_matches_decides_and_without_one_everything_passes() {
        let known = facts(Fact::Known(Some("latest")));
        let rules = [
            deny("others", |rule| rule.upstreams = patterns("quay.io")),
            allow("library", |rule| rule.repositories = patterns("library/*")),
            deny("rest", |_| {}),
        ];
        assert_eq!(verdict(&[], &known), "allowed");
        assert_eq!(verdict(&rules, &known), "allowed");
        assert_eq!(verdict(&rules, &Facts::of("docker.io", "team/app", Fact::Pending)), "rest");
        assert_eq!(verdict(&rules, &Facts::of("quay.io", "library/redis", Fact::Pending)), "others");
    }

    #[test]
    fn every_condition_of_a_rule_has_to_hold() {
        let rules = [deny("both", |rule| {
            rule.repositories = patterns("library/*");
            rule.tags = patterns("latest");
        })];
        assert_eq!(verdict(&rules, &facts(Fact::Known(Some("latest")))), "both");
        assert_eq!(verdict(&rules, &facts(Fact::Known(Some("7")))), "allowed");
        assert_eq!(verdict(&rules, &Facts::of("docker.io", "team/app", Fact::Known(Some("latest")))), "allowed");
    }

    #[test]
    fn what_hangs_on_a_later_fact_waits_for_it_and_the_rest_does_not() {
        let rules = [
            deny("large", |rule| rule.larger_than = Some(100)),
            allow("library", |rule| rule.repositories = patterns("library/*")),
            deny("rest", |_| {}),
        ];
        let mut redis = facts(Fact::Known(None));
        assert_eq!(verdict(&rules, &redis), "pending");
        // Whatever its size, the last rule would refuse it.
        assert_eq!(verdict(&rules, &Facts::of("docker.io", "team/app", Fact::Pending)), "rest");
        redis.size = Fact::Known(100);
        assert_eq!(verdict(&rules, &redis), "allowed");
        redis.size = Fact::Known(101);
        assert_eq!(verdict(&rules, &redis), "large");
    }

    #[test]
    fn what_cannot_be_known_counts_against_the_content() {
        type Row = (&'static str, fn(&mut PolicyRule));
        let rows: [Row; 3] = [
            ("size", |rule| rule.larger_than = Some(100)),
            ("age", |rule| rule.younger_than = Some(HOUR)),
            ("type", |rule| rule.media_types = patterns("application/*")),
        ];
        let mut unknown = facts(Fact::Known(None));
        (unknown.size, unknown.age, unknown.media_type) = (Fact::Missing, Fact::Missing, Fact::Missing);
        for (name, change) in rows {
            assert_eq!(verdict(&[deny(name, change)], &unknown), name);
            assert_eq!(verdict(&[allow(name, change), deny("rest", |_| {})], &unknown), "rest", "{name}");
        }
    }

    #[test]
    fn an_index_without_a_date_leaves_its_age_to_its_images() {
        let mut index = facts(Fact::Known(Some("7")));
        index.age = Fact::InParts;
        let young = |rule: &mut PolicyRule| rule.younger_than = Some(HOUR);
        assert_eq!(verdict(&[deny("young", young)], &index), "allowed");
        assert_eq!(verdict(&[allow("young", young), deny("rest", |_| {})], &index), "allowed");
        index.age = Fact::Known(HOUR / 2);
        assert_eq!(verdict(&[deny("young", young)], &index), "young");
        index.age = Fact::Known(HOUR);
        assert_eq!(verdict(&[deny("young", young)], &index), "allowed");
    }

    #[test]
    fn content_without_a_tag_matches_no_pattern_of_tags() {
        let untagged = facts(Fact::Known(None));
        let latest = |rule: &mut PolicyRule| rule.tags = patterns("latest");
        assert_eq!(verdict(&[deny("latest", latest)], &untagged), "allowed");
        // The allow-list holds by digest as well.
        assert_eq!(verdict(&[allow("latest", latest), deny("rest", |_| {})], &untagged), "rest");
    }

    #[test]
    fn a_rule_that_only_logs_decides_nothing_and_is_told_once_it_can_be() {
        let mut large = deny("large", |rule| rule.larger_than = Some(100));
        large.is_log_only = true;
        let rules = [large, allow("library", |rule| rule.repositories = patterns("library/*"))];
        let mut redis = facts(Fact::Known(None));
        assert_eq!(verdict(&rules, &redis), "pending");
        redis.size = Fact::Known(101);
        let judgement = judge(&rules, &redis);
        assert_eq!(judgement.verdict, Verdict::Allowed);
        let [logged] = judgement.logged.as_slice() else { panic!("{:?}", judgement.logged) };
        assert_eq!((logged.rule, logged.reason.as_str()), ("large", "101 bytes are more than 100"));
    }

    #[test]
    fn the_reason_says_what_the_rule_matched_on() {
        let rules = [deny("all", |rule| {
            rule.repositories = patterns("library/*");
            rule.tags = patterns("latest");
            rule.younger_than = Some(2 * HOUR);
        })];
        let mut known = facts(Fact::Known(Some("latest")));
        known.age = Fact::Known(HOUR);
        let Verdict::Denied(matched) = judge(&rules, &known).verdict else { panic!("not denied") };
        let expected = "the repository is library/redis, the tag is latest, it was made 1 hours ago, less than 2";
        assert_eq!(matched.reason, expected);
    }
}
