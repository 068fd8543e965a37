//! What can be started with and is most likely not meant: told at the start and by `entrepot check`.
//!
//! What would let somebody in by mistake is refused. Here is what only the operator can judge: that the way to the proxy in front is
//! a safe one, or that a user is still to be made.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use entrepot_access::{Anonymous, Group, PrincipalPattern, Rule, UserName};
use entrepot_oci::Patterns;

use super::server::is_local;
use super::show_access::has_account;
use super::users_file::user_names;
use super::{AccessConfiguration, Configuration, PostgresTls, Source, StorageLocation};

/// Something that is most likely not meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The key that it is about.
    pub key: &'static str,
    /// What it means, and what to do.
    pub text: String,
}

impl Configuration {
    /// Everything that is most likely not meant. Looks at the users file, and does not read passwords.
    pub fn warnings(&self) -> Vec<Warning> {
        let mut warnings = Vec::new();
        if let Some(access) = &self.access {
            self.warn_of_open_upstreams(access, &mut warnings);
            self.warn_of_passwords_in_clear(access, &mut warnings);
            warn_of_readable_users(&access.users_file, &mut warnings);
            self.warn_of_rules_for_nobody(access, &mut warnings);
        }
        if let Some(network) = self.server.trusted_proxies.iter().find(|network| network.ends_with("/0")) {
            let text =
                format!("{network} is everybody: any client can say that it is another one, and come over https");
            warnings.push(Warning { key: "server.trusted_proxies", text });
        }
        if let Some(tls) = &self.server.tls
            && let Some(mode) = mode(&tls.key).filter(|mode| mode & 0o007 != 0)
        {
            let text = format!("{} has mode {mode:03o}: everybody on this machine can read the key", tls.key.display());
            warnings.push(Warning { key: "server.tls.key", text });
        }
        self.warn_of_storage(&mut warnings);
        self.warn_of_secrets_in_file(&mut warnings);
        warnings
    }

    /// What goes to the bucket and to the database in clear, and what is written for nothing.
    fn warn_of_storage(&self, warnings: &mut Vec<Warning>) {
        let storage = &self.storage;
        let accounts = [
            ("storage.s3.endpoint", storage.s3.endpoint.as_deref(), storage.s3.credentials.is_some()),
            ("storage.gcs.endpoint", storage.gcs.endpoint.as_deref(), storage.gcs.credentials.is_some()),
            (
                "storage.azure.endpoint",
                storage.azure.as_ref().and_then(|azure| azure.endpoint.as_deref()),
                storage.azure.as_ref().is_some_and(|azure| azure.access_key.is_some()),
            ),
        ];
        for (key, endpoint, has_account) in accounts {
            if let Some(url) = endpoint.filter(|url| has_account && url.starts_with("http:") && !is_local(url)) {
                let text = format!(
                    "{url}: all that is stored goes over the network in clear, and whoever is in between can change it; write https://"
                );
                warnings.push(Warning { key, text });
            }
        }
        let postgres = self.metadata.postgres().filter(|postgres| postgres.tls != PostgresTls::Verified);
        if let Some(host) = postgres.and_then(|postgres| postgres.hosts.iter().find(|host| !host.is_on_this_machine()))
        {
            let text = format!(
                "{host} is not verified: whoever is in between can read and change the metadata; write sslmode=verify-full, and \
                 `metadata.ca` when the authority is your own"
            );
            warnings.push(Warning { key: "metadata.url", text });
        }
        if let (Some(_), StorageLocation::Folder(folder)) = (&self.replica, &self.registry_storage) {
            let text =
                format!("{} is a folder, which one replica alone can use: others need a bucket", folder.display());
            warnings.push(Warning { key: "replica", text });
        }
    }

    fn warn_of_secrets_in_file(&self, warnings: &mut Vec<Warning>) {
        let Source::File(file) = &self.source else { return };
        let Some(key) = self.secrets_in_file.first() else { return };
        if let Some(mode) = mode(file).filter(|mode| mode & 0o007 != 0) {
            let file = file.display();
            let text = format!(
                "{file} has mode {mode:03o}: everybody on this machine can read the secret in it; chmod 600 {file}, or keep it in a \
                 file of its own"
            );
            warnings.push(Warning { key, text });
        }
    }

    /// What an account can pull, everybody can.
    fn warn_of_open_upstreams(&self, access: &AccessConfiguration, warnings: &mut Vec<Warning>) {
        let with_account = self.proxy.upstreams.iter().filter(|upstream| has_account(upstream));
        let names: Vec<_> = with_account.map(|upstream| upstream.name.as_str()).collect();
        if access.anonymous == Anonymous::Full && !names.is_empty() {
            let names = names.join(", ");
            let text = format!(
                "\"full\" lets everybody pull whatever the server's account at {names} may: with \"pull\" these images need a rule"
            );
            warnings.push(Warning { key: "access.anonymous", text });
        }
    }

    /// Passwords go over the network as they are unless something encrypts them: this server, or one in front that is written down.
    fn warn_of_passwords_in_clear(&self, access: &AccessConfiguration, warnings: &mut Vec<Warning>) {
        let server = &self.server;
        let url = server.public_url.as_deref();
        let is_reached = !server.listen.ip().to_canonical().is_loopback() || url.is_some_and(|url| !is_local(url));
        let is_encrypted = server.tls.is_some() || url.is_some_and(|url| url.starts_with("https:"));
        let is_behind = !server.trusted_proxies.is_empty() && url.is_none();
        if access.anonymous != Anonymous::Full && is_reached && !is_encrypted && !is_behind {
            let text = "passwords and tokens go over the network in clear: write [server.tls], or public_url = \"https://…\" when \
                        something in front of the server speaks TLS"
                .to_owned();
            warnings.push(Warning { key: "server.listen", text });
        }
    }

    fn warn_of_rules_for_nobody(&self, access: &AccessConfiguration, warnings: &mut Vec<Warning>) {
        if access.anonymous == Anonymous::None && access.rules.is_empty() {
            let text = "\"none\" without any [[access.rule]]: nobody may do anything".to_owned();
            warnings.push(Warning { key: "access.anonymous", text });
        }
        let has_certificates = self.server.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
        // What cannot be read is told elsewhere, and nobody is missing in it.
        let Ok(users) = user_names(&access.users_file) else { return };
        let people = People { users: users.unwrap_or_default(), has_certificates, groups: &access.groups };
        for rule in access.rules.iter().filter(|_| access.anonymous != Anonymous::Full) {
            if let Some(reason) = people.why_nobody(rule) {
                let text = format!("{:?} is for nobody: {reason}", rule.name);
                warnings.push(Warning { key: "access.rule", text });
            }
        }
    }
}

/// Who could come, as far as the configuration tells.
struct People<'p> {
    users: Vec<UserName>,
    has_certificates: bool,
    groups: &'p [Group],
}

impl People<'_> {
    /// Why a rule is for nobody; `None` when it is for somebody.
    fn why_nobody(&self, rule: &Rule) -> Option<String> {
        let reasons: Option<Vec<_>> = rule.principals.iter().map(|principal| self.why_not(principal)).collect();
        reasons.map(|reasons| reasons.join("; "))
    }

    fn why_not(&self, principal: &PrincipalPattern) -> Option<String> {
        match principal {
            // A robot's token can be made at any time.
            PrincipalPattern::Anyone | PrincipalPattern::Authenticated => None,
            PrincipalPattern::Named(patterns) => self.why_not_named(patterns),
            PrincipalPattern::Group(name) => {
                let members = self.groups.iter().find(|group| group.name == *name).map(|group| &group.members[..]);
                let reasons: Option<Vec<_>> =
                    members.unwrap_or_default().iter().map(|member| self.why_not(member)).collect();
                reasons.map(
                    |reasons| {
                        if reasons.is_empty() { format!("the group {name} is empty") } else { reasons.join("; ") }
                    },
                )
            }
        }
    }

    fn why_not_named(&self, patterns: &Patterns) -> Option<String> {
        let text = patterns.texts().join(", ");
        match text.split_once(':') {
            Some(("certificate", _)) if !self.has_certificates => Some(format!("{text} needs server.tls.client_ca")),
            // Providers and upstreams that are not there are refused.
            Some(_) => None,
            None if text == "anonymous" || self.users.iter().any(|user| patterns.matches(user.as_str())) => None,
            None => Some(format!("{text} is not in access.users_file: entrepot user add")),
        }
    }
}

fn warn_of_readable_users(file: &Path, warnings: &mut Vec<Warning>) {
    if let Some(mode) = mode(file).filter(|mode| mode & 0o077 != 0) {
        let file = file.display();
        let text = format!("{file} has mode {mode:03o}: others can read or write the hashes in it; chmod 600 {file}");
        warnings.push(Warning { key: "access.users_file", text });
    }
}

/// The permissions of a file that is there.
fn mode(file: &Path) -> Option<u32> {
    std::fs::metadata(file).ok().map(|metadata| metadata.permissions().mode() & 0o777)
}
