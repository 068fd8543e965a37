//! Asking for a password: at a terminal that does not show it, or in what a script pipes in. Never as an argument, which everybody on
//! the machine can read.

use std::io::{self, BufRead, IsTerminal, Read, Write};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use secrecy::{ExposeSecret, SecretString};

/// Bytes of a password that is read; what is longer is refused where it is used.
const PASSWORD_BYTES_MAX: u64 = 64 * 1024;

/// The exit code of a program that was interrupted.
const INTERRUPTED: i32 = 130;

/// Why there is no password.
#[derive(Debug, thiserror::Error)]
pub enum PromptError {
    /// Nobody is there to be asked.
    #[error("there is no terminal to ask for the password at: give it on standard input, with --password-stdin")]
    NoTerminal,
    /// Two different ones.
    #[error("the two passwords differ: nothing was changed")]
    Different,
    /// Not text.
    #[error("the password cannot be read")]
    Read(#[source] io::Error),
}

/// All of standard input, without the line end behind it.
pub(crate) fn from_stdin() -> Result<SecretString, PromptError> {
    let mut text = String::new();
    io::stdin().lock().take(PASSWORD_BYTES_MAX).read_to_string(&mut text).map_err(PromptError::Read)?;
    Ok(without_line_end(text))
}

/// Asks for a new password, twice.
pub(crate) async fn ask_twice(name: &str) -> Result<SecretString, PromptError> {
    if !io::stdin().is_terminal() {
        return Err(PromptError::NoTerminal);
    }
    let first = ask(format!("new password for {name}: ")).await?;
    let second = ask("once more: ".to_owned()).await?;
    // Both were typed by the same person a moment ago: nothing can be learnt from the time that this takes.
    if first.expose_secret() == second.expose_secret() { Ok(first) } else { Err(PromptError::Different) }
}

/// Asks on standard error, so that what a command tells can be piped on.
async fn ask(prompt: String) -> Result<SecretString, PromptError> {
    let quiet = Quiet::begin().map_err(PromptError::Read)?;
    let reading = tokio::task::spawn_blocking(move || {
        write!(io::stderr(), "{prompt}")?;
        let mut line = String::new();
        io::stdin().lock().take(PASSWORD_BYTES_MAX).read_line(&mut line)?;
        Ok(line)
    });
    tokio::select! {
        line = reading => {
            drop(quiet);
            let line = line.map_err(io::Error::other).and_then(|line| line);
            let _ = writeln!(io::stderr());
            Ok(without_line_end(line.map_err(PromptError::Read)?))
        }
        _ = tokio::signal::ctrl_c() => {
            // The thread waits for a line that does not come: only the end of the process ends it.
            drop(quiet);
            let _ = writeln!(io::stderr());
            std::process::exit(INTERRUPTED)
        }
    }
}

fn without_line_end(text: String) -> SecretString {
    let line = text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    line.to_owned().into()
}

/// A terminal that does not show what is typed, until this is dropped.
struct Quiet {
    before: Termios,
}

impl Quiet {
    fn begin() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        quiet.local_modes.insert(LocalModes::ICANON | LocalModes::ISIG);
        tcsetattr(io::stdin(), OptionalActions::Flush, &quiet)?;
        Ok(Self { before })
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // A terminal that is gone shows nothing any more.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_end_is_none_of_the_password() {
        for (text, password) in [("a", "a"), ("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), (" a ", " a "), ("", "")] {
            assert_eq!(without_line_end(text.to_owned()).expose_secret(), password, "{text:?}");
        }
    }
}
