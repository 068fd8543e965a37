//! The protocol, rule by rule: what the distribution specification demands of a registry, and what its conformance
//! program and the clients in use want beyond it.
//!
//! A rule is a row: an id, a sentence, and a function that proves it with requests against a running registry. Each has
//! a repository of its own, so all rules share one registry and run side by side; a rule that has to restart, limit or
//! damage a registry starts its own. What holds for every answer whatever the rule is checked in `exchange`.

/// The rows of a family.
macro_rules! rules {
    ($($id:literal $says:literal => $check:path;)*) => {
        pub(super) const RULES: &[super::Rule] = &[
            $(super::Rule { id: $id, says: $says, check: |trial| Box::pin($check(trial)) },)*
        ];
    };
}

mod blob_push;
mod chunked;
mod delete;
mod exchange;
mod general;
mod grammar;
mod manifest_kinds;
mod manifest_push;
mod mount;
mod proxy_text;
mod pull;
mod ranges;
mod referrers;
mod sessions;
mod tags;
mod trial;
mod wire;

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt, stream};

use crate::support::Running;
use trial::Trial;

/// How many rules are proved at once.
const RULES_AT_ONCE: usize = 8;

/// A rule that takes longer is broken: something waits for what never comes.
const DEADLINE: Duration = Duration::from_mins(2);

/// A rule and its proof, which panics with the evidence when the rule is broken.
struct Rule {
    /// A letter for the family and a number; words for what is no rule of the specification.
    id: &'static str,
    /// The rule.
    says: &'static str,
    check: fn(Trial) -> Pin<Box<dyn Future<Output = ()> + Send>>,
}

const FAMILIES: &[&[Rule]] = &[
    general::RULES,
    grammar::RULES,
    pull::RULES,
    blob_push::RULES,
    chunked::RULES,
    sessions::RULES,
    mount::RULES,
    manifest_push::RULES,
    manifest_kinds::RULES,
    tags::RULES,
    referrers::RULES,
    delete::RULES,
    ranges::RULES,
    proxy_text::RULES,
];

/// The rules that bind a registry, by family: general, pull, blob push, chunked push, mount, manifest push, tags,
/// referrers, delete, ranges and conditions, proxying. What is left out binds clients.
const CHECKLIST: &[(&str, &[u8])] = &[
    ("G", &[1, 2, 3, 4, 5, 6, 8, 10, 11]),
    ("P", &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 13]),
    ("B", &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]),
    ("C", &[3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17]),
    ("M", &[1, 2, 3, 4, 5, 6]),
    ("W", &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]),
    ("T", &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
    ("R", &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14]),
    ("D", &[0, 1, 2, 3, 4, 5, 6, 7, 8]),
    ("V", &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
    ("X", &[4, 5]),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_rule_of_the_protocol_holds() {
    let running = Running::start().await;
    let proofs = (1..).zip(all_rules()).map(|(number, rule)| prove(rule, Trial::new(&running, number, rule.id)));
    let failures: Vec<String> =
        stream::iter(proofs).buffer_unordered(RULES_AT_ONCE).filter_map(std::future::ready).collect().await;
    assert!(
        failures.is_empty(),
        "{} of {} rules are broken:\n{}",
        failures.len(),
        all_rules().count(),
        failures.join("\n")
    );
}

#[test]
fn every_rule_of_the_checklist_has_a_row() {
    let proved: BTreeSet<&str> = all_rules().map(|rule| rule.id).collect();
    let wanted =
        CHECKLIST.iter().flat_map(|(family, numbers)| numbers.iter().map(move |number| format!("{family}{number}")));
    let missing: Vec<String> = wanted.filter(|id| !proved.contains(id.as_str())).collect();
    assert!(missing.is_empty(), "no row proves {missing:?}");
}

#[test]
fn no_two_rows_say_the_same() {
    let mut ids: BTreeMap<&str, &str> = BTreeMap::new();
    for rule in all_rules() {
        let other = ids.insert(rule.says, rule.id);
        assert_eq!(other, None, "{} says again: {}", rule.id, rule.says);
    }
}

fn all_rules() -> impl Iterator<Item = &'static Rule> {
    FAMILIES.iter().copied().flatten()
}

/// The evidence against a rule, when it is broken.
async fn prove(rule: &Rule, trial: Trial) -> Option<String> {
    let proof = AssertUnwindSafe((rule.check)(trial)).catch_unwind();
    let evidence = match tokio::time::timeout(DEADLINE, proof).await {
        Ok(Ok(())) => return None,
        Ok(Err(panic)) => text_of(panic.as_ref()),
        Err(_) => format!("no end after {DEADLINE:?}"),
    };
    Some(format!("{}: {}\n    {}", rule.id, rule.says, evidence.replace('\n', "\n    ")))
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}
