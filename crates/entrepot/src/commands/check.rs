//! `entrepot check`: what the configuration comes to, and whether what it names is there.

use entrepot_access::Users;

use super::folders;
use super::trials;
use super::upstreams;
use super::{CommandError, Outcome, Screen};
use crate::config::{Configuration, users_text};

/// What was found out about one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) verdict: Verdict,
    /// What was looked at: a key of the configuration, or an upstream.
    pub(super) subject: String,
    /// What was found, and on a failure what to do.
    pub(super) text: String,
}

/// Whether something works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It does.
    Well,
    /// It does, and less well than it could.
    Note,
    /// It does not.
    Failed,
}

impl Verdict {
    fn as_str(self) -> &'static str {
        match self {
            Self::Well => "ok",
            Self::Note => "note",
            Self::Failed => "failed",
        }
    }
}

/// `entrepot check`
pub(super) async fn check(
    configuration: &Configuration,
    is_offline: bool,
    screen: &mut Screen<'_>,
) -> Result<Outcome, CommandError> {
    writeln!(screen.out, "{}", configuration.describe())?;
    let mut findings = folders::check(configuration);
    findings.extend(users(configuration));
    findings.extend(configuration.warnings().into_iter().map(|warning| Finding {
        verdict: Verdict::Note,
        subject: warning.key.to_owned(),
        text: warning.text,
    }));
    if !is_offline {
        findings.extend(trials::tried(trials::trials(configuration)).await);
        findings.extend(upstreams::check(configuration).await);
    }
    let width = findings.iter().map(|finding| finding.subject.chars().count()).max().unwrap_or(0);
    for Finding { verdict, subject, text } in &findings {
        writeln!(screen.out, "{:6}  {subject:width$}  {text}", verdict.as_str())?;
    }
    let failures = findings.iter().filter(|finding| finding.verdict == Verdict::Failed).count();
    if failures == 0 {
        return Ok(Outcome::Well);
    }
    writeln!(screen.out, "\n{failures} of {} checks failed", findings.len())?;
    Ok(Outcome::Failed)
}

/// Whether the users file can be read and used, and how many are in it.
fn users(configuration: &Configuration) -> Option<Finding> {
    let path = &configuration.access.as_ref()?.users_file;
    let file = path.display();
    let (verdict, text) = match users_text(path) {
        Ok(Some(text)) => match Users::parse(&text) {
            Ok(users) => (Verdict::Well, format!("{file}, users: {}", users.count())),
            Err(error) => (Verdict::Failed, format!("{file} cannot be used: {error}")),
        },
        Ok(None) => (Verdict::Note, format!("there is no {file}: nobody has a password; entrepot user add")),
        Err(error) => {
            let text = format!("{file} cannot be read: {error}; give the user of the server the right to");
            (Verdict::Failed, text)
        }
    };
    Some(Finding { verdict, subject: "access.users_file".to_owned(), text })
}
