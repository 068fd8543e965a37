//! What is asked of the token service, whichever way.

use entrepot_access::{Scope, Scopes};
use entrepot_oci::ErrorCode;
use http::StatusCode;
use secrecy::SecretString;

use crate::error::ErrorResponse;
use crate::limits::TOKEN_SCOPES_MAX;
use crate::query::Query;

/// A question to the token service.
#[derive(Debug)]
pub(super) struct Asked {
    /// What the token is to be good for. Scopes of kinds that are not known here are left out: the protocol wants no error for them.
    pub(super) scopes: Scopes,
    pub(super) grant: Grant,
    pub(super) account: Option<String>,
    /// The registry behind the door that the client was sent here from.
    pub(super) namespace: Option<String>,
    pub(super) client_id: Option<String>,
    /// Whether the client wants to keep something instead of a password.
    pub(super) is_offline: bool,
    /// It was asked by POST, whose answers and errors are those of `OAuth2`.
    pub(super) is_oauth: bool,
    service: Option<String>,
}

/// How the client proves who it is.
#[derive(Debug)]
pub(super) enum Grant {
    /// By the `Authorization` header, or not at all.
    Header,
    /// By a user and a password in the form.
    Password { user: String, password: SecretString },
    /// By a refresh token in the form.
    Refresh(SecretString),
}

impl Asked {
    pub(super) fn by_get(query: &Query) -> Result<Self, ErrorResponse> {
        let is_offline = query.first("offline_token").is_some_and(|text| matches!(text, "true" | "1"));
        Self::of(query, query, Grant::Header, is_offline, false)
    }

    pub(super) fn by_post(query: &Query, form: &Query) -> Result<Self, ErrorResponse> {
        let field = |name: &str| {
            let missing = || refused("invalid_request", &format!("the field {name} is missing"));
            form.first(name).filter(|value| !value.is_empty()).ok_or_else(missing)
        };
        let grant = match form.first("grant_type") {
            Some("password") => {
                Grant::Password { user: field("username")?.to_owned(), password: field("password")?.into() }
            }
            Some("refresh_token") => Grant::Refresh(field("refresh_token")?.into()),
            _ => {
                let message = "the grant_type has to be password or refresh_token";
                return Err(refused("unsupported_grant_type", message));
            }
        };
        let is_offline = form.first("access_type") == Some("offline");
        Self::of(query, form, grant, is_offline, true)
    }

    fn of(
        query: &Query,
        parameters: &Query,
        grant: Grant,
        is_offline: bool,
        is_oauth: bool,
    ) -> Result<Self, ErrorResponse> {
        let texts: Vec<&str> = parameters.all("scope").flat_map(str::split_whitespace).collect();
        if texts.len() > TOKEN_SCOPES_MAX {
            let message = format!("more than {TOKEN_SCOPES_MAX} scopes in one question");
            return Err(ErrorResponse::new(ErrorCode::UNSUPPORTED, message).with_status(StatusCode::BAD_REQUEST));
        }
        let text = |key: &str| parameters.first(key).filter(|text| !text.is_empty()).map(ToOwned::to_owned);
        Ok(Self {
            scopes: texts.into_iter().filter_map(|text| text.parse::<Scope>().ok()).collect(),
            grant,
            account: text("account"),
            namespace: query.first("ns").filter(|text| !text.is_empty()).map(ToOwned::to_owned),
            client_id: text("client_id").map(|text| text.chars().filter(|char| !char.is_control()).take(100).collect()),
            is_offline,
            is_oauth,
            service: text("service"),
        })
    }

    /// Whether a token of this service is wanted.
    pub(super) fn check_service(&self, own: &str) -> Result<(), ErrorResponse> {
        match &self.service {
            Some(service) if service != own => {
                let message = format!("tokens for the service {service:?} are not to be had here: this is {own:?}");
                Err(ErrorResponse::new(ErrorCode::UNSUPPORTED, message).with_status(StatusCode::BAD_REQUEST))
            }
            _ => Ok(()),
        }
    }
}

/// A refusal that programs understand by its `error`.
fn refused(error: &'static str, message: &str) -> ErrorResponse {
    ErrorResponse::new(ErrorCode::UNSUPPORTED, message).with_status(StatusCode::BAD_REQUEST).with_oauth_error(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Query {
        Query::parse(Some(text))
    }

    #[test]
    fn scopes_come_repeated_or_joined_and_are_one_for_each_name() {
        for text in [
            "scope=repository:a:pull&scope=repository:a:push&scope=repository:b:pull",
            "scope=repository:a:pull+repository:a:push+repository:b:pull",
            "scope=repository:a:push,pull%20repository:b:pull&scope=plugin:x:pull&scope=garbage&scope=",
        ] {
            let asked = Asked::by_get(&query(text)).unwrap();
            assert_eq!(asked.scopes.to_string(), "repository:a:pull,push repository:b:pull", "{text}");
        }
    }

    #[test]
    fn two_hundred_scopes_are_too_many() {
        let text = (0..200).map(|number| format!("scope=repository:a{number}:pull")).collect::<Vec<_>>().join("&");
        assert!(Asked::by_get(&query(&text)).is_err());
    }

    #[test]
    fn a_form_has_to_say_how_it_proves_who_asks() {
        let none = query("");
        for text in ["", "grant_type=authorization_code", "grant_type=password&username=a", "grant_type=refresh_token"]
        {
            assert!(Asked::by_post(&none, &query(text)).is_err(), "{text}");
        }
        let asked =
            Asked::by_post(&none, &query("grant_type=password&username=a&password=b&access_type=offline")).unwrap();
        assert!(asked.is_offline && matches!(asked.grant, Grant::Password { .. }));
    }

    #[test]
    fn a_token_of_another_service_is_not_to_be_had() {
        assert!(Asked::by_get(&query("service=own")).unwrap().check_service("own").is_ok());
        assert!(Asked::by_get(&query("")).unwrap().check_service("own").is_ok());
        assert!(Asked::by_get(&query("service=other")).unwrap().check_service("own").is_err());
    }
}
