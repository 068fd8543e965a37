//! `entrepot check`: what the configuration comes to, and whether what it names is there.

use super::folders;
use super::upstreams;
use super::{CommandError, Outcome, Screen};
use crate::config::Configuration;

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
    if !is_offline {
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
