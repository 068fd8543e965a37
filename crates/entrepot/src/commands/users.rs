//! `entrepot user`: who has a password. All of it happens in the users file, whether a server runs or not; one that runs takes the
//! file in again.

use std::path::{Path, PathBuf};

use entrepot_access::{ListedUser, UserName, Users, UsersText, hash_password};
use secrecy::SecretString;
use serde_json::json;

use super::error::CommandError;
use super::table::table;
use super::{Outcome, Screen, password, users_file};
use crate::cli::{NewPasswordArguments, UserCommand};
use crate::config::{Configuration, Source, USERS_FILE};

/// What to write down where nothing about access is written down yet.
const FIRST_ACCESS: &str = r#"
the configuration has no [access], so that everybody may everything without a password. To change that, write into it, for example:

[access]
anonymous = "pull"

[[access.rule]]
principals = ["authenticated"]
actions = ["pull", "push"]

and start the server again.
"#;

/// Why a user cannot be changed as it was told.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// He is there.
    #[error("{name} is in {} already: `entrepot user passwd {name}` sets another password", path.display())]
    Known {
        /// Who.
        name: UserName,
        /// The users file.
        path: PathBuf,
    },
    /// He is not there.
    #[error("{name} is not in {}: `entrepot user ls` tells who is, and `entrepot user add {name}` adds him", path.display())]
    Unknown {
        /// Who.
        name: UserName,
        /// The users file.
        path: PathBuf,
    },
    /// There is no password.
    #[error(transparent)]
    Prompt(#[from] password::PromptError),
    /// There cannot be such a password.
    #[error(transparent)]
    Password(#[from] entrepot_access::PasswordError),
    /// The file cannot be read or changed.
    #[error(transparent)]
    File(#[from] users_file::UsersFileError),
}

/// Runs `entrepot user …`.
pub(super) async fn user(
    configuration: &Configuration,
    command: &UserCommand,
    screen: &mut Screen<'_>,
) -> Result<Outcome, CommandError> {
    let path = users_path(configuration);
    match command {
        UserCommand::Add(arguments) => add(&path, arguments, screen).await?,
        UserCommand::Passwd(arguments) => passwd(&path, arguments, screen).await?,
        UserCommand::Rm { name } => remove(&path, name, screen)?,
        UserCommand::Ls { json } => return list(&path, *json, screen),
    }
    if !has_access(configuration) {
        screen.out.write_all(FIRST_ACCESS.as_bytes())?;
    }
    Ok(Outcome::Well)
}

async fn add(path: &Path, arguments: &NewPasswordArguments, screen: &mut Screen<'_>) -> Result<(), CommandError> {
    let name = &arguments.name;
    let known = || UserError::Known { name: name.clone(), path: path.to_owned() };
    // Before somebody is asked for a password, and once more when nobody else can add him.
    if users_file::read(path).map_err(UserError::File)?.is_some_and(|text| text.contains(name)) {
        return Err(known().into());
    }
    let hash = new_hash(arguments).await?;
    let change = |text: &mut UsersText| {
        let is_known = text.contains(name);
        (!is_known).then(|| text.set(name, &hash)).ok_or_else(known)
    };
    let ((), text) = users_file::change(path, change)?;
    tell(screen, &format!("{name} is added to {}", path.display()), &text)
}

async fn passwd(path: &Path, arguments: &NewPasswordArguments, screen: &mut Screen<'_>) -> Result<(), CommandError> {
    let name = &arguments.name;
    let unknown = || UserError::Unknown { name: name.clone(), path: path.to_owned() };
    if !users_file::read(path).map_err(UserError::File)?.is_some_and(|text| text.contains(name)) {
        return Err(unknown().into());
    }
    let hash = new_hash(arguments).await?;
    let change = |text: &mut UsersText| text.contains(name).then(|| text.set(name, &hash)).ok_or_else(unknown);
    let ((), text) = users_file::change(path, change)?;
    tell(screen, &format!("{name} has a new password in {}", path.display()), &text)
}

fn remove(path: &Path, name: &UserName, screen: &mut Screen<'_>) -> Result<(), CommandError> {
    let unknown = || UserError::Unknown { name: name.clone(), path: path.to_owned() };
    // Nothing is made only to remove somebody from it.
    if users_file::read(path).map_err(UserError::File)?.is_none() {
        return Err(unknown().into());
    }
    let change = |text: &mut UsersText| text.remove(name).then_some(()).ok_or_else(unknown);
    let ((), text) = users_file::change(path, change)?;
    tell(screen, &format!("{name} is removed from {}, and his tokens are good for nothing", path.display()), &text)
}

fn list(path: &Path, is_json: bool, screen: &mut Screen<'_>) -> Result<Outcome, CommandError> {
    let text = users_file::read(path).map_err(UserError::File)?;
    let users = text.as_ref().map(UsersText::users).unwrap_or_default();
    if is_json {
        for ListedUser { name, hash } in &users {
            let (kind, problem) = (hash.as_ref().ok().map(|kind| kind.as_str()), hash.as_ref().err());
            writeln!(screen.out, "{}", json!({ "name": name.as_str(), "hash": kind, "problem": problem }))?;
        }
        return Ok(Outcome::Well);
    }
    let row = |user: &ListedUser| {
        let hash = user.hash.as_ref().map_or("refused", |kind| kind.as_str());
        [user.name.to_string(), hash.to_owned()]
    };
    let rows: Vec<_> = users.iter().map(row).collect();
    screen.out.write_all(table(["NAME", "PASSWORD"], &rows).as_bytes())?;
    match &text {
        None => writeln!(screen.out, "\nthere is no {} yet", path.display())?,
        Some(text) => warn(screen, text)?,
    }
    Ok(Outcome::Well)
}

/// The hash of the password that is asked for.
async fn new_hash(arguments: &NewPasswordArguments) -> Result<String, UserError> {
    let password: SecretString = if arguments.password_stdin {
        password::from_stdin()?
    } else {
        password::ask_twice(arguments.name.as_str()).await?
    };
    Ok(hash_password(&password)?)
}

fn tell(screen: &mut Screen<'_>, what: &str, text: &UsersText) -> Result<(), CommandError> {
    writeln!(screen.out, "{what}; a server that runs knows it within two seconds")?;
    warn(screen, text)
}

/// Says when the server will not take the file for another reason.
fn warn(screen: &mut Screen<'_>, text: &UsersText) -> Result<(), CommandError> {
    if let Err(error) = Users::parse(text.as_str()) {
        writeln!(
            screen.out,
            "\nthe server refuses this file, and one that runs keeps the users that it has, until this is put right: {error}"
        )?;
    }
    Ok(())
}

/// Whether somebody has written down who may do what.
const fn has_access(configuration: &Configuration) -> bool {
    configuration.access.is_some()
}

/// Where the users are, or are going to be looked for.
fn users_path(configuration: &Configuration) -> PathBuf {
    if let Some(access) = &configuration.access {
        return access.users_file.clone();
    }
    let (Source::File(file) | Source::Defaults { looked_for: file }) = &configuration.source;
    file.with_file_name(USERS_FILE)
}
