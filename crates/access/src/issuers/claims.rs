//! What claims have to say before anybody is made of them: for whom a token is, and when.
//!
//! A claim of another type than it should have is never taken for an absent one: the token is refused.

use std::time::Duration;

use entrepot_metadata::Timestamp;
use serde_json::Value;

use super::jwt::Claims;
use super::metrics::TokenOutcome;
use crate::limits::PROVIDER_CLOCK_LEEWAY;

/// Checks `aud`, `azp`, `exp`, `nbf` and `iat`; when the token ends.
///
/// `exp` and `iat` have to be there; `nbf` need not, since no ID token has to have one.
pub(super) fn check(claims: &Claims, audience: &str, now: Timestamp) -> Result<Timestamp, TokenOutcome> {
    check_audience(claims, audience)?;
    let required = |name: &str| claims.get(name).and_then(date).ok_or(TokenOutcome::Malformed);
    let (ends_at, issued_at) = (required("exp")?, required("iat")?);
    let begins_at = match claims.get("nbf") {
        Some(value) => date(value).ok_or(TokenOutcome::Malformed)?,
        None => issued_at,
    };
    if ends_at <= now.before(PROVIDER_CLOCK_LEEWAY) {
        return Err(TokenOutcome::Expired);
    }
    if begins_at.max(issued_at).before(PROVIDER_CLOCK_LEEWAY) > now {
        return Err(TokenOutcome::NotYetValid);
    }
    Ok(ends_at)
}

/// The token is for us; and if it is for others as well and says who asked for it, then that was us.
fn check_audience(claims: &Claims, audience: &str) -> Result<(), TokenOutcome> {
    let all: Vec<&str> = match claims.get("aud") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(several)) => {
            several.iter().map(|one| one.as_str().ok_or(TokenOutcome::Malformed)).collect::<Result<_, _>>()?
        }
        _ => return Err(TokenOutcome::Malformed),
    };
    if !all.contains(&audience) {
        return Err(TokenOutcome::WrongAudience);
    }
    match claims.get("azp") {
        Some(Value::String(party)) if all.len() == 1 || party == audience => Ok(()),
        Some(Value::String(_)) => Err(TokenOutcome::WrongAudience),
        Some(_) => Err(TokenOutcome::Malformed),
        None => Ok(()),
    }
}

/// A number of seconds since 1970, which may have a fraction.
fn date(value: &Value) -> Option<Timestamp> {
    let Value::Number(seconds) = value else { return None };
    let since = match seconds.as_u64() {
        Some(seconds) => Duration::from_secs(seconds),
        None => Duration::try_from_secs_f64(seconds.as_f64()?).ok()?,
    };
    Some(Timestamp::from_milliseconds(i64::try_from(since.as_millis()).unwrap_or(i64::MAX)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn checked(changes: &Value) -> Result<Timestamp, TokenOutcome> {
        let mut claims = json!({ "aud": "entrepot", "iat": NOW - 10, "nbf": NOW - 10, "exp": NOW + 290 });
        let claims = claims.as_object_mut().unwrap();
        claims.extend(changes.as_object().unwrap().clone());
        claims.retain(|_, value| value != "absent");
        check(claims, "entrepot", Timestamp::from_milliseconds(NOW * 1000))
    }

    #[test]
    fn a2_claims_of_another_type_are_not_absent() {
        let ends_at = Timestamp::from_milliseconds((NOW + 290) * 1000);
        for changes in [json!({}), json!({ "nbf": "absent" }), json!({ "exp": 1_800_000_290.0 })] {
            assert_eq!(checked(&changes), Ok(ends_at), "{changes}");
        }
        for name in ["exp", "iat"] {
            assert_eq!(checked(&json!({ name: "absent" })), Err(TokenOutcome::Malformed), "{name}");
        }
        for name in ["exp", "iat", "nbf"] {
            for value in
                [json!("never"), json!("9999999999"), json!(null), json!([NOW]), json!({}), json!(true), json!(-1)]
            {
                assert_eq!(checked(&json!({ name: value })), Err(TokenOutcome::Malformed), "{name}: {value}");
            }
        }
        for value in
            [json!("absent"), json!(null), json!(7), json!([7]), json!(["entrepot", null]), json!({ "entrepot": 1 })]
        {
            let expected = if value == "absent" {
                TokenOutcome::Malformed
            } else {
                checked(&json!({ "aud": value })).unwrap_err()
            };
            assert_eq!(expected, TokenOutcome::Malformed, "{value}");
        }
    }

    #[test]
    fn a2_times_are_kept_with_a_minute_for_clocks_that_differ() {
        for (changes, outcome) in [
            (json!({ "exp": NOW - 59 }), None),
            (json!({ "exp": NOW - 60 }), Some(TokenOutcome::Expired)),
            (json!({ "exp": 0 }), Some(TokenOutcome::Expired)),
            (json!({ "nbf": NOW + 60 }), None),
            (json!({ "nbf": NOW + 61 }), Some(TokenOutcome::NotYetValid)),
            (json!({ "iat": NOW + 61 }), Some(TokenOutcome::NotYetValid)),
            (json!({ "exp": u64::MAX }), None),
            (json!({ "nbf": u64::MAX }), Some(TokenOutcome::NotYetValid)),
        ] {
            assert_eq!(checked(&changes).err(), outcome, "{changes}");
        }
    }

    #[test]
    fn a6_a_token_is_for_us_or_for_nobody() {
        for (changes, outcome) in [
            (json!({ "aud": "other" }), Some(TokenOutcome::WrongAudience)),
            (json!({ "aud": "" }), Some(TokenOutcome::WrongAudience)),
            (json!({ "aud": [] }), Some(TokenOutcome::WrongAudience)),
            (json!({ "aud": "entrepot.evil.example" }), Some(TokenOutcome::WrongAudience)),
            (json!({ "aud": ["other", "entrepot"] }), None),
            (json!({ "aud": ["other", "entrepot"], "azp": "entrepot" }), None),
            (json!({ "aud": ["other", "entrepot"], "azp": "other" }), Some(TokenOutcome::WrongAudience)),
            (json!({ "aud": ["other", "entrepot"], "azp": 7 }), Some(TokenOutcome::Malformed)),
            (json!({ "aud": "entrepot", "azp": "other" }), None),
        ] {
            assert_eq!(checked(&changes).err(), outcome, "{changes}");
        }
    }
}
