//! Where the database is, and how much of it this process may use.

use std::time::Duration;

use rustls::pki_types::CertificateDer;
use secrecy::{ExposeSecret as _, SecretString};
use tokio_postgres::Config;
use tokio_postgres::config::{SslMode, TargetSessionAttrs};

use crate::limits::{CONNECT_WAIT_MAX, IDLE_TRANSACTION_MAX, LOCK_WAIT_MAX, SCHEMA_NAME_MAX};
use crate::open::OpenError;

/// How to open a store. Two stores of one registry are two schemas of one database, each with connections of its own.
#[derive(Clone, Debug)]
pub struct PostgresConfig {
    /// `postgres://user:password@host:port,other:port/database?sslmode=require`. Of several hosts, the one that takes writes is used.
    ///
    /// `sslmode` may be `disable`, `prefer` (the default: TLS where the server offers it) or `require`; `verify-ca` and `verify-full` mean
    /// `require`, since a certificate is always verified in full.
    pub url: SecretString,
    /// The password, where it does not stand in the URL, or another one.
    pub password: Option<SecretString>,
    /// The authorities that the server's certificate may come from; none: those that everyone trusts.
    pub authorities: Vec<CertificateDer<'static>>,
    /// The schema: a lower-case letter or `_`, then letters, digits and `_`; at most 48. It is created when it does not exist.
    pub schema: String,
    /// The most connections for requests. One more listens to announcements.
    pub connections_max: usize,
    /// How long a request waits for a connection, and for one to be made.
    pub acquire_timeout: Duration,
    /// How long one statement may take. A call takes at most this and [`Self::acquire_timeout`] together.
    pub statement_timeout: Duration,
}

impl PostgresConfig {
    /// The defaults: 16 connections, 5 seconds for one of them, 10 seconds for a statement.
    pub fn new(url: SecretString, schema: impl Into<String>) -> Self {
        Self {
            url,
            password: None,
            authorities: Vec::new(),
            schema: schema.into(),
            connections_max: 16,
            acquire_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(10),
        }
    }

    /// What the driver needs, with everything that each connection is to be set to.
    pub(crate) fn connect_config(&self) -> Result<Config, OpenError> {
        let text = full_verification_as_require(self.url.expose_secret());
        // Not as the source of the error: it may repeat a part of the URL.
        let mut config: Config = text.parse().map_err(|_| OpenError::Url)?;
        if config.get_hosts().is_empty() {
            return Err(OpenError::Url);
        }
        if let Some(password) = &self.password {
            config.password(password.expose_secret());
        }
        if config.get_application_name().is_none() {
            config.application_name("entrepot");
        }
        check_schema(&self.schema)?;
        let own = config.get_options().map(|options| format!("{options} ")).unwrap_or_default();
        // Compiling pays for reports, and costs more than everything else in statements like ours.
        let options = format!(
            "{own}-c search_path={} -c statement_timeout={} -c lock_timeout={} \
             -c idle_in_transaction_session_timeout={} -c jit=off -c default_transaction_isolation=read\\ committed",
            self.schema,
            self.statement_timeout.as_millis(),
            LOCK_WAIT_MAX.min(self.statement_timeout).as_millis(),
            IDLE_TRANSACTION_MAX.as_millis(),
        );
        config.options(options);
        config.connect_timeout(CONNECT_WAIT_MAX.min(self.acquire_timeout));
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        // A peer that vanished is noticed by the kernel as well.
        config.keepalives_idle(Duration::from_secs(15));
        config.keepalives_interval(Duration::from_secs(5));
        config.keepalives_retries(3);
        config.tcp_user_timeout(self.statement_timeout.saturating_add(self.acquire_timeout));
        Ok(config)
    }

    /// Whether the connection may be readable by others on its way.
    pub(crate) fn is_plain(config: &Config) -> bool {
        config.get_ssl_mode() == SslMode::Disable
    }
}

/// The driver knows no modes beyond `require`, and leaves what is verified to us.
fn full_verification_as_require(url: &str) -> String {
    url.replace("sslmode=verify-full", "sslmode=require").replace("sslmode=verify-ca", "sslmode=require")
}

/// The name becomes a part of what connections are set to, so it is one that needs no quoting.
fn check_schema(name: &str) -> Result<(), OpenError> {
    let starts = name.starts_with(|first: char| first.is_ascii_lowercase() || first == '_');
    let goes_on = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    if starts && goes_on && name.len() <= SCHEMA_NAME_MAX && !name.starts_with("pg_") {
        Ok(())
    } else {
        Err(OpenError::SchemaName { name: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(url: &str, schema: &str) -> Result<Config, OpenError> {
        PostgresConfig::new(SecretString::from(url), schema).connect_config()
    }

    #[test]
    fn urls_are_read_with_several_hosts_and_every_mode_of_tls() {
        let many = config("postgres://u:p@one:1,two:2/db?sslmode=verify-full", "entrepot_registry").unwrap();
        assert_eq!((many.get_hosts().len(), many.get_ports()), (2, &[1, 2][..]));
        assert_eq!(many.get_ssl_mode(), SslMode::Require);
        assert_eq!(many.get_target_session_attrs(), TargetSessionAttrs::ReadWrite);
        let options = many.get_options().unwrap();
        assert!(options.contains("search_path=entrepot_registry") && options.contains("statement_timeout=10000"));
        let own = config("postgres://u@h/db?options=-c%20geqo=off", "a").unwrap();
        assert!(own.get_options().unwrap().starts_with("-c geqo=off -c search_path=a "));
        let replaced = PostgresConfig {
            password: Some(SecretString::from("another")),
            ..PostgresConfig::new(SecretString::from("postgres://u:p@h/db"), "a")
        };
        assert_eq!(replaced.connect_config().unwrap().get_password(), Some(&b"another"[..]));
    }

    #[test]
    fn what_is_wrong_is_named_without_the_password() {
        for url in
            ["postgres://u:secret@h:port/db", "mysql://u:secret@h/db", "postgres://", "postgres://u:secret@h/db?ssl=x"]
        {
            let error = config(url, "a").unwrap_err();
            assert!(matches!(error, OpenError::Url), "{error:?}");
            assert!(!format!("{error} {error:?}").contains("secret"));
        }
        for name in ["", "Upper", "1st", "a b", "a;b", "a\"b", "pg_own", &"a".repeat(49)] {
            let error = config("postgres://u@h/db", name).unwrap_err();
            assert!(matches!(error, OpenError::SchemaName { .. }), "{name}");
        }
    }
}
