//! Who somebody is by his claims: the first rule whose patterns all match says what he is called.

use entrepot_oci::Patterns;
use serde_json::Value;

use super::ClaimRule;
use super::jwt::Claims;
use crate::principal::NAME_BYTES_MAX;

/// What the claims of one provider are mapped to.
#[derive(Debug)]
pub(super) struct Identities(Vec<Identity>);

#[derive(Debug)]
struct Identity {
    claims: Vec<(ClaimName, Patterns)>,
    name: Template,
}

/// Where a claim is: by its name, or deeper by a JSON pointer, <https://www.rfc-editor.org/rfc/rfc6901>.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ClaimName(String);

/// A name with claims to be put in.
#[derive(Debug)]
struct Template(Vec<Piece>);

#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Claim(ClaimName),
}

impl Identities {
    /// Reads rules; otherwise what is wrong with one of them.
    pub(super) fn new(rules: &[ClaimRule]) -> Result<Self, String> {
        let read = |(index, rule): (usize, &ClaimRule)| {
            Identity::new(rule).map_err(|problem| format!("has an identity (number {}) {problem}", index + 1))
        };
        rules.iter().enumerate().map(read).collect::<Result<_, _>>().map(Self)
    }

    /// What whoever has these claims is called; `None` when no rule says so, or none that is a name comes of it.
    pub(super) fn name(&self, claims: &Claims) -> Option<String> {
        let name = if self.0.is_empty() {
            claims.get("sub")?.as_str()?.to_owned()
        } else {
            self.0.iter().find(|identity| identity.matches(claims))?.name.fill(claims)?
        };
        let is_name = !name.is_empty() && name.len() <= NAME_BYTES_MAX && !name.contains(char::is_control);
        is_name.then_some(name)
    }
}

impl Identity {
    fn new(rule: &ClaimRule) -> Result<Self, String> {
        let mut claims = Vec::new();
        for (name, pattern) in &rule.claims {
            let patterns =
                Patterns::new([pattern]).map_err(|error| format!("whose claim {name:?} is compared badly: {error}"))?;
            claims.push((ClaimName::new(name)?, patterns));
        }
        Ok(Self { claims, name: Template::parse(&rule.principal)? })
    }

    fn matches(&self, claims: &Claims) -> bool {
        self.claims.iter().all(|(name, patterns)| match name.of(claims) {
            Some(Value::Array(several)) => several.iter().filter_map(text).any(|one| patterns.matches(&one)),
            Some(one) => text(one).is_some_and(|one| patterns.matches(&one)),
            None => false,
        })
    }
}

impl ClaimName {
    fn new(name: &str) -> Result<Self, String> {
        if name.is_empty() {
            return Err("with a claim that has no name".to_owned());
        }
        let mut escapes = name.split('~').skip(1);
        if name.starts_with('/') && !escapes.all(|escape| escape.starts_with(['0', '1'])) {
            return Err(format!(
                "with {name:?}, which is no JSON pointer: `~` is written `~0` there, and `/` within a name `~1`"
            ));
        }
        Ok(Self(name.to_owned()))
    }

    fn of<'a>(&self, claims: &'a Claims) -> Option<&'a Value> {
        let Some(rest) = self.0.strip_prefix('/') else { return claims.get(&self.0) };
        let (first, deeper) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        claims.get(&first.replace("~1", "/").replace("~0", "~"))?.pointer(deeper)
    }
}

impl Template {
    fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (before, from_brace) = rest.split_at(rest.find(['{', '}']).unwrap_or(rest.len()));
            if !before.is_empty() {
                pieces.push(Piece::Text(before.to_owned()));
            }
            rest = from_brace;
            if let Some(inside) = rest.strip_prefix('{') {
                let closed = inside.split_once('}').filter(|(name, _)| !name.contains('{'));
                let (name, after) =
                    closed.ok_or_else(|| format!("whose principal {text:?} has a brace that is not closed"))?;
                pieces.push(Piece::Claim(ClaimName::new(name)?));
                rest = after;
            } else if rest.starts_with('}') {
                return Err(format!("whose principal {text:?} has a brace that is not opened"));
            }
        }
        if pieces.is_empty() { Err("without a principal".to_owned()) } else { Ok(Self(pieces)) }
    }

    /// The name; `None` when a claim is missing or is not one text.
    fn fill(&self, claims: &Claims) -> Option<String> {
        let fill = |piece: &Piece| match piece {
            Piece::Text(text) => Some(text.clone()),
            Piece::Claim(name) => name.of(claims).and_then(text),
        };
        self.0.iter().map(fill).collect()
    }
}

/// A claim as a text, if it is a single value.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rule(claims: &[(&str, &str)], principal: &str) -> ClaimRule {
        let claims = claims.iter().map(|(name, pattern)| ((*name).to_owned(), (*pattern).to_owned())).collect();
        ClaimRule { claims, principal: principal.to_owned() }
    }

    fn name(rules: &[ClaimRule], claims: &Value) -> Option<String> {
        Identities::new(rules).unwrap().name(claims.as_object().unwrap())
    }

    fn github(reference: &str, environment: Option<&str>) -> Value {
        let mut claims = json!({
            "sub": format!("repo:org/app:ref:{reference}"), "repository": "org/app", "repository_owner": "org", "ref": reference,
            "ref_protected": "true", "run_attempt": "1", "event_name": "push",
        });
        if let Some(environment) = environment {
            claims["environment"] = environment.into();
        }
        claims
    }

    #[test]
    fn jobs_of_github_are_known_by_repository_reference_and_environment() {
        let rules = [
            rule(&[("repository", "org/*"), ("environment", "production")], "{repository}@{environment}"),
            rule(&[("repository", "org/*"), ("ref", "refs/heads/main")], "{repository}"),
            rule(&[("repository_owner", "org")], "pull-requests"),
        ];
        for (reference, environment, expected) in [
            ("refs/heads/main", Some("production"), "org/app@production"),
            ("refs/heads/main", None, "org/app"),
            ("refs/heads/main", Some("staging"), "org/app"),
            ("refs/heads/mainly", None, "pull-requests"),
            ("refs/pull/7/merge", None, "pull-requests"),
        ] {
            assert_eq!(name(&rules, &github(reference, environment)).as_deref(), Some(expected), "{reference}");
        }
        let mut other = github("refs/heads/main", None);
        other["repository"] = "org.evil/app".into();
        other["repository_owner"] = "org.evil".into();
        assert_eq!(name(&rules, &other), None);
        assert_eq!(name(&[], &github("refs/heads/main", None)).as_deref(), Some("repo:org/app:ref:refs/heads/main"));
    }

    #[test]
    fn jobs_of_gitlab_are_known_by_project_and_by_whether_their_branch_is_protected() {
        let rules = [
            rule(&[("project_path", "group/**"), ("ref_protected", "true")], "{project_path}"),
            rule(&[("project_path", "group/**"), ("project_id", "4?")], "{namespace_path}#{project_id}"),
        ];
        let claims = |is_protected: Value| {
            json!({
                "sub": "project_path:group/sub/app:ref_type:branch:ref:main", "project_path": "group/sub/app",
                "namespace_path": "group/sub", "project_id": 42, "ref_protected": is_protected,
            })
        };
        assert_eq!(name(&rules, &claims(json!("true"))).as_deref(), Some("group/sub/app"));
        assert_eq!(name(&rules, &claims(json!(true))).as_deref(), Some("group/sub/app"));
        assert_eq!(name(&rules, &claims(json!("false"))).as_deref(), Some("group/sub#42"));
    }

    #[test]
    fn service_accounts_of_kubernetes_are_known_by_nested_claims() {
        let claims = json!({
            "sub": "system:serviceaccount:build:kaniko",
            "kubernetes.io": { "namespace": "build", "serviceaccount": { "name": "kaniko", "uid": "1" } },
            "example.org/team": { "a~b": ["one", "two"] }, "https://example.org/flat": "yes",
        });
        let template = "{/kubernetes.io/namespace}/{/kubernetes.io/serviceaccount/name}";
        let rules = [rule(&[("/kubernetes.io/namespace", "build")], template)];
        assert_eq!(name(&rules, &claims).as_deref(), Some("build/kaniko"));
        for (pointer, pattern, is_match) in [
            ("/example.org~1team/a~0b", "two", true),
            ("/example.org~1team/a~0b/0", "one", true),
            ("/example.org~1team/a~0b/0", "two", false),
            ("/example.org/team/a~0b", "*", false),
            ("https://example.org/flat", "yes", true),
            ("/https:~1~1example.org~1flat", "yes", true),
            ("kubernetes.io", "*", false),
            ("/kubernetes.io/serviceaccount", "*", false),
            ("/", "*", false),
        ] {
            let found = name(&[rule(&[(pointer, pattern)], "somebody")], &claims);
            assert_eq!(found.is_some(), is_match, "{pointer} {pattern}");
        }
    }

    #[test]
    fn any_of_several_values_may_match_and_none_is_put_into_a_name() {
        let claims =
            json!({ "groups": ["staff", 7, null, ["nested"], "release"], "empty": [], "nothing": null, "n": 7.5 });
        for (pattern, is_match) in [("release", true), ("7", true), ("nested", false), ("absent", false), ("re*", true)]
        {
            assert_eq!(name(&[rule(&[("groups", pattern)], "x")], &claims).is_some(), is_match, "{pattern}");
        }
        for claim in ["empty", "nothing", "absent"] {
            assert_eq!(name(&[rule(&[(claim, "**")], "x")], &claims), None, "{claim}");
        }
        assert_eq!(name(&[rule(&[], "{groups}")], &claims), None);
        assert_eq!(name(&[rule(&[], "{absent}")], &claims), None);
        assert_eq!(name(&[rule(&[], "n{n}")], &claims).as_deref(), Some("n7.5"));
    }

    #[test]
    fn what_is_no_name_is_nobody() {
        let rules = [rule(&[], "{sub}")];
        for (subject, is_name) in [
            (json!("a b:c/d"), true),
            (json!("é"), true),
            (json!("x".repeat(255)), true),
            (json!("x".repeat(256)), false),
            (json!(""), false),
            (json!("a\nb"), false),
            (json!("a\u{1b}[2J"), false),
            (json!("a\u{85}"), false),
        ] {
            let claims = json!({ "sub": subject });
            assert_eq!(name(&rules, &claims).is_some(), is_name, "{subject}");
            assert_eq!(name(&[], &claims).is_some(), is_name, "{subject}");
        }
        assert_eq!(name(&[], &json!({ "sub": 7 })), None);
        assert_eq!(name(&[], &json!({})), None);
    }

    #[test]
    fn the_first_rule_that_matches_counts_even_if_it_comes_to_nothing() {
        let rules = [rule(&[("a", "1")], "{absent}"), rule(&[], "anybody")];
        assert_eq!(name(&rules, &json!({ "a": "1" })), None);
        assert_eq!(name(&rules, &json!({ "a": "2" })).as_deref(), Some("anybody"));
    }

    #[test]
    fn rules_that_are_written_badly_are_refused() {
        for (claims, principal, problem) in [
            (&[][..], "", "without a principal"),
            (&[], "{repository", "not closed"),
            (&[], "{a{b}}", "not closed"),
            (&[], "a}", "not opened"),
            (&[], "{}", "no name"),
            (&[], "{/a~2}", "JSON pointer"),
            (&[("", "x")], "x", "no name"),
            (&[("a", "[x")], "x", "[x"),
            (&[("/a/b~", "x")], "x", "JSON pointer"),
        ] {
            let refused = Identities::new(&[rule(claims, principal)]).unwrap_err();
            assert!(refused.contains(problem) && refused.contains("number 1"), "{refused}");
        }
    }
}
