//! Accounts from a program, as docker's credential helpers give them.
//! <https://github.com/docker/docker-credential-helpers#development>
//!
//! One question at a time: whoever comes meanwhile waits for its answer. An answer is kept for as long as it is configured to
//! be good, a failure for some seconds, and nothing that the program writes is ever shown: either may be the secret.

use std::fmt;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::process::{Pid, Signal, kill_process_group};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::account::Login;
use crate::authorization::Credentials;
use crate::config::CredentialHelper;
use crate::limits::{CREDENTIALS_BACK_OFF, HELPER_BACK_OFF, HELPER_OUTPUT_BYTES_MAX, HELPER_TIME_MAX};

/// What helpers print when they know no account.
const NOT_FOUND: &[u8] = b"credentials not found in native keychain";

/// The account that a program gives.
pub(crate) struct HelperAccount {
    helper: CredentialHelper,
    /// What the program is asked for.
    host: String,
    /// The number of the newest login.
    number: AtomicU64,
    /// Locked while the program runs.
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    login: Option<Login>,
    /// Until when `login` is used.
    until: Option<Instant>,
    /// Why there is no newer login, and until when the program is not asked again.
    failure: Option<(Arc<HelperError>, Instant)>,
    /// When the program was last asked because the upstream had refused its account.
    renewed: Option<Instant>,
}

/// Why a program gave no account, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HelperError {
    #[error("{program} cannot be run: is it installed, and in the PATH of the server?")]
    Spawn {
        program: String,
        #[source]
        source: io::Error,
    },
    #[error("the output of {program} cannot be read")]
    Output {
        program: String,
        #[source]
        source: io::Error,
    },
    #[error("{program} has no account for {host}: log in to {host} as the user that the server runs as")]
    NotFound { program: String, host: String },
    #[error(
        "{program} failed ({status}): give {host} to \"{program} get\" as the user that the server runs as, and see"
    )]
    Failed { program: String, host: String, status: ExitStatus },
    #[error("{program} gave no answer for {host} within {} s, and was ended", HELPER_TIME_MAX.as_secs())]
    TimedOut { program: String, host: String },
    #[error("{program} wrote more than the {HELPER_OUTPUT_BYTES_MAX} bytes that an answer may have")]
    TooLarge { program: String },
    #[error("{program} answered something else than JSON with a Username and a Secret")]
    Malformed { program: String },
}

/// The answer. `ServerURL` is what was asked for, and says nothing.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: SecretString,
}

impl HelperAccount {
    pub(crate) fn new(helper: CredentialHelper, host: &str) -> Self {
        Self { helper, host: host.to_owned(), number: AtomicU64::new(0), held: Mutex::default() }
    }

    /// The number of the login that whoever asks now is about to use.
    pub(crate) fn number(&self) -> u64 {
        self.number.load(Ordering::Acquire)
    }

    /// The account to be used now, from memory or from the program.
    pub(crate) async fn login(&self, remote: &str) -> Result<Login, Arc<HelperError>> {
        let mut held = self.held.lock().await;
        let now = Instant::now();
        if let Some(login) = &held.login
            && held.until.is_some_and(|until| until > now)
        {
            return Ok(login.clone());
        }
        if let Some((failure, until)) = &held.failure
            && *until > now
        {
            return Err(Arc::clone(failure));
        }
        match self.ask().await {
            Ok(credentials) => {
                let login = successor(held.login.as_ref(), credentials);
                tracing::debug!(remote.name = remote, "a credential helper gave an account");
                self.number.store(login.number, Ordering::Release);
                held.login = Some(login.clone());
                held.until = Some(Instant::now() + self.helper.lifetime);
                held.failure = None;
                Ok(login)
            }
            Err(failure) => {
                let failure = Arc::new(failure);
                tracing::warn!(remote.name = remote, error = %failure, "a credential helper gave no account");
                held.failure = Some((Arc::clone(&failure), Instant::now() + HELPER_BACK_OFF));
                Err(failure)
            }
        }
    }

    /// The user name of the last login, if there was one.
    pub(crate) async fn username(&self) -> Option<String> {
        self.held.lock().await.login.as_ref().map(|login| login.credentials.username.clone())
    }

    /// Gives up the login with the number `refused`, and returns whether there may be another. The program is asked for one
    /// once a while: a refusal may be about the repository, and bad logins lock accounts.
    pub(crate) async fn renew(&self, refused: u64) -> bool {
        let mut held = self.held.lock().await;
        let now = Instant::now();
        let is_current = held.login.as_ref().is_some_and(|login| login.number == refused);
        if !is_current || held.until.is_none_or(|until| until <= now) {
            // Somebody else was refused the same, and has seen to it.
            return true;
        }
        if held.renewed.is_some_and(|renewed| now < renewed + CREDENTIALS_BACK_OFF) {
            return false;
        }
        held.renewed = Some(now);
        held.until = None;
        true
    }

    async fn ask(&self) -> Result<Credentials, HelperError> {
        let (output, status) = self.run().await?;
        let program = self.program();
        if !status.success() {
            let is_unknown = output.windows(NOT_FOUND.len()).any(|window| window == NOT_FOUND);
            let host = self.host.clone();
            return Err(if is_unknown {
                HelperError::NotFound { program, host }
            } else {
                HelperError::Failed { program, host, status }
            });
        }
        // What the parser complains about may show a piece of the secret.
        let answer: Answer =
            serde_json::from_slice(&output).map_err(|_| HelperError::Malformed { program: program.clone() })?;
        if answer.secret.expose_secret().is_empty() {
            return Err(HelperError::NotFound { program, host: self.host.clone() });
        }
        Ok(Credentials { username: answer.username, password: answer.secret })
    }

    /// Runs the program to its end, or ends it: when it takes too long, writes too much, or nobody waits any more.
    async fn run(&self) -> Result<(Vec<u8>, ExitStatus), HelperError> {
        let program = self.program();
        let mut command = Command::new(&program);
        command.args(self.helper.command.iter().skip(1)).arg("get");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let child = command.kill_on_drop(true).process_group(0).spawn();
        let mut child = child.map_err(|source| HelperError::Spawn { program: program.clone(), source })?;
        let mut group = Group::of(&child);
        let answer = tokio::time::timeout(HELPER_TIME_MAX, self.talk(&mut child)).await;
        let host = self.host.clone();
        let (output, status) = answer.map_err(|_| HelperError::TimedOut { program: program.clone(), host })??;
        group.leave();
        Ok((output, status))
    }

    async fn talk(&self, child: &mut Child) -> Result<(Vec<u8>, ExitStatus), HelperError> {
        let unreadable = |source| HelperError::Output { program: self.program(), source };
        if let Some(mut input) = child.stdin.take() {
            // A program that does not read what it is asked for may know it all the same.
            let _ = input.write_all(format!("{}\n", self.host).as_bytes()).await;
        }
        let mut output = Vec::new();
        if let Some(pipe) = child.stdout.take() {
            let limit = HELPER_OUTPUT_BYTES_MAX as u64 + 1;
            pipe.take(limit).read_to_end(&mut output).await.map_err(unreadable)?;
        }
        if output.len() > HELPER_OUTPUT_BYTES_MAX {
            return Err(HelperError::TooLarge { program: self.program() });
        }
        let status = child.wait().await.map_err(unreadable)?;
        Ok((output, status))
    }

    fn program(&self) -> String {
        self.helper.command.first().cloned().unwrap_or_default()
    }
}

impl fmt::Debug for HelperAccount {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("HelperAccount").field("helper", &self.helper).finish_non_exhaustive()
    }
}

/// The login after `before`: the same number for the same account, so that what is known of it stays known.
fn successor(before: Option<&Login>, credentials: Credentials) -> Login {
    let number = match before {
        Some(before) if before.credentials.is_same(&credentials) => before.number,
        Some(before) => before.number + 1,
        None => 0,
    };
    Login { credentials, number }
}

/// The processes of a program: a script that is ended must not leave behind what it has started.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?)))
    }

    /// The program has ended by itself: what it leaves behind on purpose stays.
    fn leave(&mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // Whatever has ended meanwhile needs no end.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write as _;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_program_that_takes_too_long_is_ended_with_all_that_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        // A process of the process reads from the pipe until it is ended.
        let script = format!("cat '{}' > /dev/null; exit 1", pipe.display());
        let command = ["sh", "-c", &script].map(str::to_owned).to_vec();
        let helper = CredentialHelper { command, lifetime: Duration::from_mins(1) };
        let account = HelperAccount::new(helper, "registry.example");
        let test = async {
            // Opened as soon as it is read from.
            let opened = tokio::task::spawn_blocking(move || File::options().write(true).open(pipe));
            let writer = opened.await.unwrap().unwrap();
            tokio::time::pause();
            tokio::time::advance(HELPER_TIME_MAX).await;
            tokio::time::resume();
            writer
        };
        let (failure, mut writer) = tokio::join!(account.login("fake"), test);
        assert!(matches!(*failure.unwrap_err(), HelperError::TimedOut { .. }));
        // The pipe takes what fits, and the rest when somebody reads: more than fits is taken by a living reader alone.
        let written = tokio::task::spawn_blocking(move || writer.write_all(&[0; 1_000_000]));
        assert_eq!(written.await.unwrap().unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
