//! What the token service answers.

use axum::response::Response;
use bytes::Bytes;
use entrepot_access::{IssuedToken, Refusal, Scopes};
use entrepot_oci::ErrorCode;
use http::StatusCode;
use http::header::WWW_AUTHENTICATE;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value};

use super::asked::Asked;
use crate::client_view::ClientView;
use crate::error::ErrorResponse;
use crate::respond::Answer;

/// What a token was granted.
#[derive(Debug, Default)]
pub(super) struct Granted {
    /// By the names that rights are told by.
    pub(super) scopes: Scopes,
    /// By the names that were asked for.
    pub(super) as_asked: Scopes,
}

impl Granted {
    pub(super) fn answer(&self, issued: &IssuedToken, refresh: Option<&SecretString>, asked: &Asked) -> Response {
        let token = issued.token.expose_secret();
        let mut document = Map::new();
        // Old clients read the one, new ones the other.
        document.insert("token".into(), token.into());
        document.insert("access_token".into(), token.into());
        document.insert("expires_in".into(), issued.lifetime.as_secs().max(60).into());
        document.insert("issued_at".into(), rfc3339(issued.issued_at.milliseconds()).into());
        if asked.is_oauth {
            document.insert("scope".into(), self.as_asked.to_string().into());
        }
        if let Some(refresh) = refresh {
            document.insert("refresh_token".into(), refresh.expose_secret().into());
        }
        let bytes = Bytes::from(Value::Object(document).to_string());
        Answer::new(StatusCode::OK).bytes("application/json", bytes, false)
    }
}

/// Nobody said who he is and nothing was asked for: somebody wants to log in.
pub(super) fn login_wanted(view: &ClientView) -> ErrorResponse {
    let message = "log in with a user and a password or token, or ask for a scope";
    challenged(ErrorResponse::new(ErrorCode::UNAUTHORIZED, message), view)
}

/// A refusal as clients show it to their users.
pub(super) fn refused(refusal: &Refusal, asked: &Asked, view: &ClientView) -> ErrorResponse {
    let response = ErrorResponse::from(refusal);
    let is_unauthorized = matches!(refusal, Refusal::WrongCredentials | Refusal::InvalidToken(_));
    let response =
        if asked.is_oauth && is_unauthorized { response.with_oauth_error("invalid_grant") } else { response };
    if is_unauthorized { challenged(response, view).with_details_text(&refusal.to_string()) } else { response }
}

fn challenged(response: ErrorResponse, view: &ClientView) -> ErrorResponse {
    response.with_header(WWW_AUTHENTICATE, format!("Basic realm=\"{}\", charset=\"UTF-8\"", view.base_url))
}

/// A point in time as RFC 3339 has it, to the second.
fn rfc3339(milliseconds: i64) -> String {
    let seconds = milliseconds.div_euclid(1000);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = date(days);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

/// The date so many days after 1970-01-01, in the Gregorian calendar, whose years begin in March here: so the leap day is the last one.
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_clients_read_them() {
        let rows = [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399_999, "2000-02-28T23:59:59Z"),
            (951_782_400_000, "2000-02-29T00:00:00Z"),
            (1_709_208_000_000, "2024-02-29T12:00:00Z"),
            (1_795_651_199_000, "2026-11-25T23:59:59Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00Z"),
            (-1000, "1969-12-31T23:59:59Z"),
        ];
        for (milliseconds, text) in rows {
            assert_eq!(rfc3339(milliseconds), text);
        }
    }
}
