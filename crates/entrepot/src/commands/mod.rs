//! The commands beside `serve`: what they ask, and how they tell what they were answered.

mod amounts;
mod api;
mod cache;
mod check;
mod client_config;
mod connector;
mod error;
mod fields;
mod folders;
mod limits;
mod migrate;
mod password;
mod table;
mod tokens;
mod trials;
mod upstreams;
mod users;
mod users_file;
mod warm;

use std::io::Write;

use entrepot_registry::{Clock, SystemClock};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

pub use self::api::ApiError;
pub use self::error::CommandError;
pub use self::migrate::MigrateError;
pub use self::password::PromptError;
pub use self::users::UserError;
pub use self::users_file::UsersFileError;

use self::api::{Answer, Api};
use self::fields::Field;
use crate::cli::{ApiArguments, CacheCommand, Command, OneReference};
use crate::config::Configuration;

/// How a command ended that could do what it was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All of it is well.
    Well,
    /// It found, or could not do, something that was told: the exit code is 1.
    Failed,
}

/// Where a command tells what it did.
pub struct Screen<'s> {
    /// What people and scripts read.
    pub out: &'s mut dyn Write,
    /// Whether bars may move on standard error.
    pub is_terminal: bool,
}

/// Runs a command other than `serve`.
///
/// # Errors
/// What kept the command from being carried out. What it found is an [`Outcome`].
pub async fn run(
    command: &Command,
    configuration: &Configuration,
    screen: &mut Screen<'_>,
) -> Result<Outcome, CommandError> {
    match command {
        // It has a function of its own: it needs no screen, and ends with its server.
        Command::Serve => Ok(crate::serve(configuration).await.map(|()| Outcome::Well)?),
        Command::Check { offline } => check::check(configuration, *offline, screen).await,
        Command::MigrateMetadata(arguments) => migrate::migrate(configuration, arguments, screen).await,
        Command::ClientConfig(arguments) => client_config::client_config(configuration, arguments, screen),
        Command::Explain(one) => explain(configuration, one, screen).await,
        Command::Refresh(one) => refresh(configuration, one, screen).await,
        Command::Purge(one) => cache::purge(configuration, one, screen).await,
        Command::Warm(arguments) => warm::warm(configuration, arguments, screen).await,
        Command::Token(command) => tokens::token(configuration, command, screen).await,
        Command::User(command) => users::user(configuration, command, screen).await,
        Command::Cache(CacheCommand::Ls { repository, api }) => {
            cache::ls(configuration, repository.as_deref(), api, screen).await
        }
        Command::Cache(CacheCommand::Stats(api)) => cache::stats(configuration, api, screen).await,
        Command::Cache(CacheCommand::Pin(one)) => cache::pin(configuration, one, screen).await,
        Command::Cache(CacheCommand::Unpin(one)) => cache::unpin(configuration, one, screen).await,
        Command::Cache(CacheCommand::Pins(api)) => cache::pins(configuration, api, screen).await,
        Command::Cache(CacheCommand::Evict(arguments)) => cache::evict(configuration, arguments, screen).await,
    }
}

async fn explain(
    configuration: &Configuration,
    one: &OneReference,
    screen: &mut Screen<'_>,
) -> Result<Outcome, CommandError> {
    let query = api::query(&[("reference", &one.reference)]);
    let answer = asked(configuration, &one.api, Question::Get(&format!("explain?{query}"))).await?;
    tell(screen, &one.api, &answer, |field: Field| field.lines())
}

async fn refresh(
    configuration: &Configuration,
    one: &OneReference,
    screen: &mut Screen<'_>,
) -> Result<Outcome, CommandError> {
    let body = json!({ "reference": one.reference });
    let answer = asked(configuration, &one.api, Question::Post("cache/refresh", &body)).await?;
    if answer.is_empty() && !one.api.json {
        writeln!(screen.out, "refreshed {}", one.reference)?;
        return Ok(Outcome::Well);
    }
    tell(screen, &one.api, &answer, |field: Field| field.lines())
}

/// One question below `/api/v1/`.
enum Question<'q> {
    Get(&'q str),
    Post(&'q str, &'q Value),
}

/// Opens the API, asks one thing, and closes it.
async fn asked(
    configuration: &Configuration,
    arguments: &ApiArguments,
    question: Question<'_>,
) -> Result<Answer, CommandError> {
    let api = Api::open(configuration, arguments.server.as_ref()).await?;
    let answer = match question {
        Question::Get(path) => api.get(path).await,
        Question::Post(path, body) => api.post(path, body).await,
    };
    api.close().await;
    Ok(answer?)
}

/// Writes an answer as it came or as text for people.
fn tell<T: DeserializeOwned>(
    screen: &mut Screen<'_>,
    arguments: &ApiArguments,
    answer: &Answer,
    text: impl FnOnce(T) -> String,
) -> Result<Outcome, CommandError> {
    if arguments.json {
        screen.out.write_all(answer.body.trim_ascii())?;
        screen.out.write_all(b"\n")?;
    } else {
        screen.out.write_all(text(answer.read()?).as_bytes())?;
    }
    Ok(Outcome::Well)
}

/// Seconds since 1970, for ages: what the API gives points in time in.
fn now() -> i64 {
    SystemClock.now().milliseconds() / 1000
}
