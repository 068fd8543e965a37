//! An explanation as a document: what is said in it is for people, its fields are for programs.

use std::time::Duration;

use entrepot_oci::{Digest, MediaType, Tag};
use entrepot_registry::{
    Error, ExplainedContent, ExplainedRule, ExplainedUpstream, Explanation, Freshness, OnUpstream404, with_causes,
};
use entrepot_upstream::{Handshake, HandshakeStep};
use serde::Serialize;
use serde_json::{Value, json};

use super::view::seconds;

/// The document of an explanation. Its fields have an order, for those who read it: what comes of it is first.
#[derive(Debug, Serialize)]
pub(super) struct Document<'e> {
    outlook: &'e str,
    repository: &'e str,
    reference: String,
    rule: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream: Option<Value>,
    here: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    there: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    handshake: Option<Value>,
}

impl<'e> Document<'e> {
    pub(super) fn of(explanation: &'e Explanation) -> Self {
        Self {
            outlook: &explanation.outlook,
            repository: explanation.name.as_str(),
            reference: explanation.reference.to_string(),
            rule: rule(&explanation.rule),
            upstream: explanation.upstream.as_ref().map(upstream),
            here: explanation.here.as_ref().map(content),
            there: explanation.there.as_ref().map(there),
            handshake: explanation.handshake.as_ref().map(handshake),
        }
    }
}

fn there(found: &Result<Option<Digest>, Error>) -> String {
    match found {
        Ok(Some(digest)) => digest.to_string(),
        Ok(None) => "it is there, without a digest".to_owned(),
        Err(error) => with_causes(error),
    }
}

fn rule(rule: &ExplainedRule) -> Value {
    match rule {
        ExplainedRule::Allowed(None) => json!({ "verdict": "allowed", "why": "no rule says otherwise" }),
        ExplainedRule::Allowed(Some(rule)) => json!({ "verdict": "allowed", "rule": rule }),
        ExplainedRule::Undecided => {
            json!({ "verdict": "undecided", "why": "that hangs on the manifest, which is not here" })
        }
        ExplainedRule::Refused { rule, reason } => json!({ "verdict": "refused", "rule": rule, "why": reason }),
    }
}

fn upstream(upstream: &ExplainedUpstream) -> Value {
    let state = &upstream.state;
    let mut view = json!({
        "name": &*state.name,
        "address": upstream.address,
        "repository": upstream.repository,
        "running": state.running,
        "waiting": state.waiting,
    });
    if !upstream.mirrors.is_empty() {
        view["mirrors"] = upstream.mirrors.clone().into();
    }
    if let Some((wait, reason)) = &state.suspended {
        view["not_asked_for_seconds"] = wait.as_secs().into();
        view["because"] = reason.to_string().into();
    }
    if let Some(budget) = &state.rate_limit {
        view["budget_left"] = budget.remaining.into();
        view["budget"] = budget.limit.into();
    }
    view
}

fn content(content: &ExplainedContent) -> Value {
    let mut view = json!({
        "digest": content.digest,
        "media_type": MediaType::as_str(&content.media_type),
        "tags": content.tags.iter().map(Tag::as_str).collect::<Vec<_>>(),
        "blobs": content.blobs.0,
        "blobs_named": content.blobs.1,
        "bytes": content.bytes.0,
        "bytes_named": content.bytes.1,
        "is_pinned": content.is_pinned,
    });
    if content.children.1 > 0 {
        view["manifests"] = content.children.0.into();
        view["manifests_named"] = content.children.1.into();
    }
    if let Some(confirmed_at) = content.confirmed_at {
        view["confirmed_at"] = seconds(confirmed_at).into();
    }
    if let Some(freshness) = &content.freshness {
        view["freshness"] = believed(freshness);
    }
    view
}

fn believed(freshness: &Freshness) -> Value {
    let limit = |duration: Option<Duration>| {
        duration.map_or_else(|| "forever".into(), |duration| Value::from(duration.as_secs()))
    };
    json!({
        "fresh_for": limit(freshness.fresh_for),
        "stale_for": limit(freshness.stale_for),
        "on_upstream_404": match freshness.on_upstream_404 {
            OnUpstream404::Keep => "keep",
            OnUpstream404::Forget => "forget",
        },
    })
}

fn handshake(handshake: &Handshake) -> Value {
    let outcome = handshake.outcome.as_ref().err().map_or_else(|| "it answers".to_owned(), |error| with_causes(error));
    json!({
        "account": handshake.account.as_deref().map_or_else(|| "none".to_owned(), |user| format!("{user}, password ***")),
        "steps": handshake.steps.iter().map(step).collect::<Vec<_>>(),
        "outcome": outcome,
    })
}

fn step(step: &HandshakeStep) -> String {
    match step {
        HandshakeStep::Asked { method, url, status: Some(status) } => format!("{method} {url}: {status}"),
        HandshakeStep::Asked { method, url, status: None } => format!("{method} {url}: no answer"),
        HandshakeStep::ChallengedBasic => "it wants a user and a password".to_owned(),
        HandshakeStep::ChallengedBearer { realm, service, scope } => {
            let told =
                |name: &str, text: Option<String>| text.map(|text| format!(", {name} {text}")).unwrap_or_default();
            let realm = realm.as_ref().map_or_else(|| "nowhere".to_owned(), ToString::to_string);
            let (service, scope) = (told("service", service.clone()), told("scope", scope.clone()));
            format!("it wants a token from {realm}{service}{scope}")
        }
        HandshakeStep::TokenIssued { lifetime } => format!("a token was issued, for {} s", lifetime.as_secs()),
        HandshakeStep::TokenKept => "a token from memory was used".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use entrepot_registry::ExplainedRule;

    use super::*;

    #[test]
    fn a_verdict_names_its_rule_and_its_reason() {
        let rows = [
            (ExplainedRule::Allowed(None), "allowed", Value::Null),
            (ExplainedRule::Allowed(Some("ours".into())), "allowed", "ours".into()),
            (ExplainedRule::Undecided, "undecided", Value::Null),
            (ExplainedRule::Refused { rule: "no".into(), reason: "it is large".into() }, "refused", "no".into()),
        ];
        for (given, verdict, name) in rows {
            let view = rule(&given);
            assert_eq!((&view["verdict"], &view["rule"]), (&verdict.into(), &name), "{given:?}");
        }
    }
}
