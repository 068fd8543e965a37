//! `entrepot token`: personal tokens of users, and those of robots.
//!
//! A new token is told alone on standard output, so that it can be piped to where it is needed; what there is to say about it goes to
//! standard error.

use std::io::Write;

use serde::Deserialize;
use serde_json::{Value, json};

use super::api::{Api, ApiError};
use super::fields::tame;
use super::table::table;
use super::{CommandError, Outcome, Question, Screen, amounts, asked, now};
use crate::cli::{ApiArguments, NewTokenArguments, TokenCommand};
use crate::config::Configuration;

/// What every token begins with; its id and its secret follow.
const TOKEN_PREFIX: &str = "entrepot_";

#[derive(Debug, Deserialize)]
struct Created {
    id: String,
    principal: String,
    token: String,
    expires_at: Option<i64>,
}

#[derive(Debug, Deserialize)]
struct Revoked {
    was_there: bool,
}

#[derive(Debug, Deserialize)]
struct TokenPage {
    tokens: Vec<Value>,
}

#[derive(Debug, Deserialize)]
struct Token {
    id: String,
    principal: String,
    name: String,
    #[serde(default)]
    repositories: Vec<String>,
    #[serde(default)]
    actions: Vec<String>,
    expires_at: Option<i64>,
    used_at: Option<i64>,
}

/// Runs `entrepot token …`.
pub(super) async fn token(
    configuration: &Configuration,
    command: &TokenCommand,
    screen: &mut Screen<'_>,
) -> Result<Outcome, CommandError> {
    match command {
        TokenCommand::Create(arguments) => create(configuration, arguments, screen).await,
        TokenCommand::Revoke { token, api } => revoke(configuration, token, api, screen).await,
        TokenCommand::Ls(arguments) => list(configuration, arguments, screen).await,
    }
}

async fn create(
    configuration: &Configuration,
    arguments: &NewTokenArguments,
    screen: &mut Screen<'_>,
) -> Result<Outcome, CommandError> {
    let NewTokenArguments { name, user, robot: _, repositories, actions, expires, api } = arguments;
    let mut body = json!({ "name": name, "repositories": repositories, "actions": actions });
    match user {
        Some(user) => {
            body["kind"] = "personal".into();
            body["user"] = user.as_str().into();
        }
        None => body["kind"] = "robot".into(),
    }
    if let Some(seconds) = expires {
        body["expires_in_seconds"] = (*seconds).into();
    }
    let answer = asked(configuration, api, Question::Post("tokens", &body)).await?;
    if api.json {
        return super::tell(screen, api, &answer, |_: Value| String::new());
    }
    let Created { id, principal, token, expires_at } = answer.read()?;
    writeln!(screen.out, "{}", tame(&token))?;
    screen.out.flush()?;
    let (id, principal) = (tame(&id), tame(&principal));
    let life = expires_at.map_or_else(|| "until it is revoked".to_owned(), |at| ends(now(), at));
    // In a login nothing may stand before the first colon but the user: a robot's name with its kind cannot be one.
    let user = if principal.contains(':') { "token" } else { &principal };
    // Whoever does not see this has the token nevertheless.
    let _ = write!(
        std::io::stderr(),
        "this is the only time that the token is shown. It is good {life}, for {principal}:\n\n  docker login \
         --username {user} --password-stdin HOST\n\n`entrepot token revoke {id}` ends it\n"
    );
    Ok(Outcome::Well)
}

async fn revoke(
    configuration: &Configuration,
    token: &str,
    arguments: &ApiArguments,
    screen: &mut Screen<'_>,
) -> Result<Outcome, CommandError> {
    // Who has found a token somewhere has no id of it; its secret is sent nowhere.
    let whole = token.strip_prefix(TOKEN_PREFIX).and_then(|rest| rest.split_once('_'));
    let id = whole.map_or(token, |(id, _)| id);
    let answer = asked(configuration, arguments, Question::Post("tokens/revoke", &json!({ "id": id }))).await?;
    let Revoked { was_there } = answer.read()?;
    let told = |_: Value| {
        let id = tame(id);
        if was_there {
            format!("{id} is revoked\n")
        } else {
            format!("there is no token {id}: `entrepot token ls` tells which there are\n")
        }
    };
    super::tell(screen, arguments, &answer, told)?;
    Ok(if was_there { Outcome::Well } else { Outcome::Failed })
}

/// Page by page, and one table: how wide a column is, the last page decides as well.
async fn list(
    configuration: &Configuration,
    arguments: &ApiArguments,
    screen: &mut Screen<'_>,
) -> Result<Outcome, CommandError> {
    let api = Api::open(configuration, arguments.server.as_ref()).await?;
    let tokens = pages(&api).await;
    api.close().await;
    let tokens = tokens?;
    if arguments.json {
        for token in &tokens {
            writeln!(screen.out, "{token}")?;
        }
        return Ok(Outcome::Well);
    }
    let tokens: Vec<Token> = serde_json::from_value(Value::Array(tokens)).map_err(ApiError::Unreadable)?;
    let now = now();
    let rows: Vec<_> = tokens.iter().map(|token| row(token, now)).collect();
    let headings = ["ID", "NAME", "OWNER", "ACTIONS", "REPOSITORIES", "USED", "GOOD"];
    screen.out.write_all(table(headings, &rows).as_bytes())?;
    Ok(Outcome::Well)
}

async fn pages(api: &Api) -> Result<Vec<Value>, ApiError> {
    let (mut path, mut all) = ("tokens".to_owned(), Vec::new());
    loop {
        let answer = api.get(&path).await?;
        let TokenPage { tokens } = answer.read()?;
        all.extend(tokens);
        match answer.next {
            Some(next) if next == path => return Err(ApiError::Circle),
            Some(next) => path = next,
            None => return Ok(all),
        }
    }
}

fn row(token: &Token, now: i64) -> [String; 7] {
    let all_or = |words: &[String]| if words.is_empty() { "all".to_owned() } else { tame(&words.join(", ")) };
    [
        tame(&token.id),
        tame(&token.name),
        tame(&token.principal),
        all_or(&token.actions),
        all_or(&token.repositories),
        token.used_at.map_or_else(|| "never".to_owned(), |at| format!("{} ago", amounts::age(now, at))),
        token.expires_at.map_or_else(|| "until revoked".to_owned(), |at| ends(now, at)),
    ]
}

fn ends(now: i64, at: i64) -> String {
    if at <= now { "no more".to_owned() } else { format!("for {}", amounts::age(at, now)) }
}
