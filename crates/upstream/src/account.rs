//! The account of a remote: none, the one that is configured, or the one that a program gives.

use secrecy::ExposeSecret as _;

use crate::authorization::Credentials;
use crate::config::{ConfigError, UpstreamConfig};
use crate::credential_helper::HelperAccount;
use crate::error::Error;
use crate::history::History;
use crate::remote::Remote;

/// Where the account of a remote comes from.
#[derive(Debug)]
pub(crate) enum Account {
    /// There is none.
    Anonymous,
    /// It is configured.
    Fixed(Credentials),
    /// It is asked for, and may change.
    Helper(HelperAccount),
}

/// An account to be used now.
#[derive(Clone, Debug)]
pub(crate) struct Login {
    pub(crate) credentials: Credentials,
    /// Another account of the same remote has another number, so that a refusal of one says nothing of the next.
    pub(crate) number: u64,
}

impl Account {
    /// The account of a listed upstream that is known to helpers as `host`.
    pub(crate) fn of(upstream: &UpstreamConfig, host: &str) -> Result<Self, ConfigError> {
        let has_account = upstream.username.is_some() || upstream.password.is_some();
        match (&upstream.credential_helper, &upstream.username, &upstream.password) {
            (Some(_), ..) if has_account => {
                Err(ConfigError::field(upstream, "credential_helper", "stands beside a username or password"))
            }
            (Some(helper), ..) if helper.command.iter().all(String::is_empty) => {
                Err(ConfigError::field(upstream, "credential_helper", "names no program"))
            }
            (Some(helper), ..) => Ok(Self::Helper(HelperAccount::new(helper.clone(), host))),
            (None, username, Some(password)) => {
                let username = username.clone().unwrap_or_default();
                Ok(Self::Fixed(Credentials { username, password: password.clone() }))
            }
            (None, Some(_), None) => Err(ConfigError::PasswordMissing { upstream: upstream.name.clone() }),
            (None, None, None) => Ok(Self::Anonymous),
        }
    }

    /// The user name, of what a helper gives the last one.
    pub(crate) async fn username(&self) -> Option<String> {
        match self {
            Self::Anonymous => None,
            Self::Fixed(credentials) => Some(credentials.username.clone()),
            Self::Helper(helper) => helper.username().await,
        }
    }

    pub(crate) const fn is_anonymous(&self) -> bool {
        matches!(self, Self::Anonymous)
    }
}

impl Remote {
    /// The account to be used now; `None` when there is none.
    pub(crate) async fn login(&self, history: &History) -> Result<Option<Login>, Error> {
        match self.account() {
            Account::Anonymous => Ok(None),
            Account::Fixed(credentials) => Ok(Some(Login { credentials: credentials.clone(), number: 0 })),
            Account::Helper(helper) => {
                let login = helper.login(self.name()).await;
                login.map(Some).map_err(|source| {
                    let history = Box::new(history.clone());
                    Error::CredentialsUnavailable { history, source }
                })
            }
        }
    }

    /// The number of the account that a question which begins now is going to use.
    pub(crate) fn login_number(&self) -> u64 {
        match self.account() {
            Account::Anonymous | Account::Fixed(_) => 0,
            Account::Helper(helper) => helper.number(),
        }
    }

    /// Whether it is worth to ask again with another account, now that the upstream has refused the one with the number
    /// `refused`.
    pub(crate) async fn is_login_renewed(&self, refused: u64) -> bool {
        match self.account() {
            Account::Anonymous | Account::Fixed(_) => false,
            Account::Helper(helper) => helper.renew(refused).await,
        }
    }
}

/// Whether both are pulled from with the same rights, so that they may share a cache.
pub(crate) fn is_same_account(one: &UpstreamConfig, other: &UpstreamConfig) -> bool {
    let password = |upstream: &UpstreamConfig| upstream.password.as_ref().map(|text| text.expose_secret().to_owned());
    let certificate =
        |upstream: &UpstreamConfig| upstream.client_certificate.as_ref().map(|shown| shown.certificate.clone());
    one.username == other.username
        && password(one) == password(other)
        && one.credential_helper == other.credential_helper
        && one.is_asked_as_caller == other.is_asked_as_caller
        && certificate(one) == certificate(other)
}
