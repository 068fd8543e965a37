//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use entrepot_access::UserName;

use crate::address::{ClientAddress, ServerUrl};
use crate::config::value;

/// One server that stores your container images and caches everyone else's.
#[derive(Clone, Debug, PartialEq, Eq, Parser)]
#[command(name = "entrepot", version, propagate_version = true)]
pub struct CommandLine {
    /// The configuration to read instead of configuration.toml in the working folder
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,

    #[command(subcommand)]
    command: Option<Command>,
}

/// What to do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Run the server; this is also what happens without a command
    #[default]
    Serve,
    /// Print what the configuration comes to, then try the folders and every listed upstream
    ///
    /// Ends with 1 when something cannot work; each failure says what to do. Nothing is started and nothing is created.
    Check {
        /// Do not ask the upstreams
        #[arg(long)]
        offline: bool,
    },
    /// Say what a pull of a reference would do now, step by step
    Explain(OneReference),
    /// Ask the upstream for a cached tag now, however fresh it is
    Refresh(OneReference),
    /// Forget a tag or manifest of the cache, or a whole repository, and free what nothing else holds
    Purge(OneReference),
    /// Fetch images into the cache before anyone asks for them
    ///
    /// Ends with 1 when something could not be fetched.
    Warm(WarmArguments),
    /// Look at the cache, pin what has to stay and make room
    #[command(subcommand)]
    Cache(CacheCommand),
    /// Say who has a password: users live in a file, beside the configuration where it says nothing else
    #[command(subcommand)]
    User(UserCommand),
    /// Make, revoke and list tokens: what people and robots log in with in place of a password
    #[command(subcommand)]
    Token(TokenCommand),
    /// Move metadata from the databases of storage folders into the database of the configuration
    ///
    /// Stop the server first, and copy the content of its folders into the buckets where the configuration names buckets. Each database
    /// goes into a schema of its own, which has to be empty. The databases are read and stay as they are.
    MigrateMetadata(MigrateArguments),
    /// Print the files that make a client pull through this server
    ClientConfig(ClientConfigArguments),
}

/// A command about one reference.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct OneReference {
    /// The image: docker.io/library/redis:7 or ghcr.io/org/app@sha256:…
    pub reference: String,
    /// The rest of what all commands about the cache take.
    #[command(flatten)]
    pub api: ApiArguments,
}

/// Whom the commands about the cache are sent to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct ApiArguments {
    /// The server to ask, in place of the one of the configuration.
    #[arg(
        long,
        value_name = "URL",
        help = "The server to ask, as in https://registry.corp, with the token in ENTREPOT_TOKEN; otherwise the one of the \
                configuration, over the socket in its registry_storage or, with object storage, in its \
                temporary_registry_storage, and when none runs, its storage is opened by this command itself"
    )]
    pub server: Option<ServerUrl>,
    /// Print JSON instead of text for people: one object, or one object a line for lists
    #[arg(long)]
    pub json: bool,
}

/// `entrepot warm`
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct WarmArguments {
    /// The images: docker.io/library/redis:7 or ghcr.io/org/app@sha256:…
    #[arg(required = true, value_name = "REFERENCE")]
    pub references: Vec<String>,
    /// Of images for several platforms only this one, as in linux/arm64 or linux/arm/v7; may be repeated, and without it all
    /// are fetched
    #[arg(long = "platform", value_name = "OS/ARCHITECTURE", value_parser = platform)]
    pub platforms: Vec<String>,
    /// The rest of what all commands about the cache take.
    #[command(flatten)]
    pub api: ApiArguments,
}

/// `entrepot cache`
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum CacheCommand {
    /// List the images in the cache
    Ls {
        /// Only this repository, as in ghcr.io/org/app
        #[arg(long, value_name = "REPOSITORY")]
        repository: Option<String>,
        /// The rest of what all commands about the cache take.
        #[command(flatten)]
        api: ApiArguments,
    },
    /// Say how full the cache is
    Stats(ApiArguments),
    /// Keep a reference whatever room is needed
    Pin(OneReference),
    /// Let a reference go again
    Unpin(OneReference),
    /// List what is pinned
    Pins(ApiArguments),
    /// Make room now, by the limits of the configuration or by those that are given
    Evict(EvictArguments),
}

/// `entrepot cache evict`
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct EvictArguments {
    /// Only say what would go
    #[arg(long)]
    pub dry_run: bool,
    /// Evict until the cache is no larger than this, as in 100GiB
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub down_to: Option<u64>,
    /// Evict what was not pulled for this long, as in 30d
    #[arg(long, value_name = "DURATION", value_parser = seconds)]
    pub unused_for: Option<u64>,
    /// The rest of what all commands about the cache take.
    #[command(flatten)]
    pub api: ApiArguments,
}

/// `entrepot user`
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum UserCommand {
    /// Add a user with a new password
    Add(NewPasswordArguments),
    /// Set another password for a user
    Passwd(NewPasswordArguments),
    /// Remove a user: his password and his tokens are good for nothing from then on
    Rm {
        /// The user
        name: UserName,
    },
    /// List the users
    Ls {
        /// Print one JSON object a line instead of text for people
        #[arg(long)]
        json: bool,
    },
}

/// Whose password, and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct NewPasswordArguments {
    /// The user
    pub name: UserName,
    /// Read the password from standard input instead of asking for it; one line end at its end is none of it
    #[arg(long)]
    pub password_stdin: bool,
}

/// `entrepot token`
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum TokenCommand {
    /// Make a token and print it, this once
    Create(NewTokenArguments),
    /// End a token at once
    ///
    /// Ends with 1 when there is no such token.
    Revoke {
        /// Its id, as `entrepot token ls` tells it, or the token itself
        token: String,
        /// The rest of what all commands that ask the server take.
        #[command(flatten)]
        api: ApiArguments,
    },
    /// List the tokens, without what they are
    Ls(ApiArguments),
}

/// `entrepot token create`
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct NewTokenArguments {
    /// What to call it; a robot is called that itself, and is robot:NAME in rules
    pub name: String,
    /// The user whose it is: it may what he may, and nothing more
    #[arg(long, value_name = "USER", required_unless_present = "robot", conflicts_with = "robot")]
    pub user: Option<UserName>,
    /// It is for a robot, and nobody's
    #[arg(long)]
    pub robot: bool,
    /// Only for these repositories, as in 'team/**'; may be repeated, and without it for all that its owner may
    #[arg(long = "repository", value_name = "PATTERN")]
    pub repositories: Vec<String>,
    /// Only for this: pull, push, create, overwrite, delete, catalog or admin; may be repeated, and without it for all that
    /// its owner may
    #[arg(long = "action", value_name = "ACTION")]
    pub actions: Vec<String>,
    /// For how long it is good, as in 90d; without it until it is revoked
    #[arg(long, value_name = "DURATION", value_parser = seconds)]
    pub expires: Option<u64>,
    /// The rest of what all commands that ask the server take.
    #[command(flatten)]
    pub api: ApiArguments,
}

/// `entrepot migrate-metadata`
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct MigrateArguments {
    /// The database of the own images.
    #[arg(
        long,
        value_name = "FILE",
        help = "The database of the own images, in place of the one in the folder that is registry_storage"
    )]
    pub registry_database: Option<PathBuf>,
    /// The database of the cache.
    #[arg(
        long,
        value_name = "FILE",
        help = "The database of the cache, in place of the one in the folder that is proxy_storage"
    )]
    pub proxy_database: Option<PathBuf>,
}

/// `entrepot client-config`
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct ClientConfigArguments {
    /// The client
    pub client: ClientKind,
    /// The address of this server as clients see it, as in registry.corp:5000; with https:// in front when something before
    /// this server speaks TLS
    #[arg(long, value_name = "HOST:PORT")]
    pub server: Option<ClientAddress>,
    /// Write the files below this folder instead of printing them, `/` for where the client looks; a file that is there
    /// already is left alone, and told
    #[arg(long, value_name = "FOLDER")]
    pub write: Option<PathBuf>,
}

/// A client that pulls through this server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ClientKind {
    /// The docker engine
    Docker,
    /// containerd, with nerdctl or as the runtime of Kubernetes
    Containerd,
    /// podman, buildah and skopeo
    Podman,
    /// CRI-O
    #[value(name = "cri-o")]
    CriO,
    /// k3s and rke2
    K3s,
    /// buildkit, as in docker buildx
    Buildkit,
}

impl CommandLine {
    /// The command that was given, or that of a bare `entrepot`.
    pub fn command(&self) -> Command {
        self.command.clone().unwrap_or_default()
    }
}

fn size(text: &str) -> Result<u64, String> {
    value::parse_size(text).ok_or_else(|| "not a size, as in 512MiB or 100GiB".to_owned())
}

fn seconds(text: &str) -> Result<u64, String> {
    let duration = value::parse_duration(text).ok_or_else(|| "not a duration, as in 12h or 30d".to_owned())?;
    Ok(duration.as_secs())
}

fn platform(text: &str) -> Result<String, String> {
    let is_word = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_graphic());
    let parts: Vec<&str> = text.split('/').collect();
    let is_platform = matches!(parts.len(), 2 | 3) && parts.into_iter().all(is_word);
    if is_platform { Ok(text.to_owned()) } else { Err("not a platform, as in linux/arm64 or linux/arm/v7".to_owned()) }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    use super::*;

    fn parse(words: &str) -> Result<CommandLine, clap::Error> {
        CommandLine::try_parse_from(words.split_whitespace())
    }

    #[test]
    fn the_definition_is_sound() {
        <CommandLine as CommandFactory>::command().debug_assert();
    }

    #[test]
    fn the_file_may_stand_before_or_behind_the_command_and_serve_may_be_left_out() {
        let check = |offline| Command::Check { offline };
        let rows = [
            ("entrepot", Command::Serve, None),
            ("entrepot serve", Command::Serve, None),
            ("entrepot --config a.toml", Command::Serve, Some("a.toml")),
            ("entrepot serve --config a.toml", Command::Serve, Some("a.toml")),
            ("entrepot --config a.toml check", check(false), Some("a.toml")),
            ("entrepot check --offline --config=a.toml", check(true), Some("a.toml")),
        ];
        for (words, command, config) in rows {
            let line = parse(words).expect(words);
            assert_eq!((line.command(), line.config), (command, config.map(PathBuf::from)), "{words}");
        }
    }

    #[test]
    fn what_is_said_about_the_cache_is_understood() {
        let words =
            "entrepot cache evict --dry-run --down-to 100GiB --unused-for 30d --server http://10.0.0.7:5000 --json";
        let Command::Cache(CacheCommand::Evict(evict)) = parse(words).expect(words).command() else {
            panic!("{words}")
        };
        assert!(evict.dry_run && evict.api.json && evict.api.server.is_some());
        assert_eq!((evict.down_to, evict.unused_for), (Some(100 << 30), Some(30 * 86_400)));
        let words = "entrepot warm a/b:1 c/d:2 --platform linux/arm64 --platform linux/arm/v7";
        let Command::Warm(warm) = parse(words).expect(words).command() else { panic!("{words}") };
        assert_eq!(
            (warm.references, warm.platforms),
            (vec!["a/b:1".to_owned(), "c/d:2".to_owned()], vec!["linux/arm64".to_owned(), "linux/arm/v7".to_owned()])
        );
        let words = "entrepot migrate-metadata --registry-database a.sqlite --proxy-database b/c.sqlite";
        let Command::MigrateMetadata(migrate) = parse(words).expect(words).command() else { panic!("{words}") };
        assert_eq!(migrate.registry_database, Some(PathBuf::from("a.sqlite")));
        assert_eq!(migrate.proxy_database, Some(PathBuf::from("b/c.sqlite")));
        for (name, kind) in [("docker", ClientKind::Docker), ("cri-o", ClientKind::CriO), ("k3s", ClientKind::K3s)] {
            let words = format!("entrepot client-config {name}");
            let Command::ClientConfig(arguments) = parse(&words).expect(&words).command() else { panic!("{words}") };
            assert_eq!(arguments.client, kind);
        }
    }

    #[test]
    fn what_is_not_known_is_refused_and_the_version_is_told() {
        let rows = [
            ("entrepot sevre", ErrorKind::InvalidSubcommand),
            ("entrepot --port 1", ErrorKind::UnknownArgument),
            ("entrepot --config", ErrorKind::InvalidValue),
            ("entrepot --version", ErrorKind::DisplayVersion),
            ("entrepot check --version", ErrorKind::DisplayVersion),
            ("entrepot --help", ErrorKind::DisplayHelp),
            ("entrepot warm", ErrorKind::MissingRequiredArgument),
            ("entrepot warm a --platform arm64", ErrorKind::ValueValidation),
            ("entrepot cache evict --down-to much", ErrorKind::ValueValidation),
            ("entrepot cache evict --unused-for 30", ErrorKind::ValueValidation),
            ("entrepot cache ls --server 10.0.0.7:5000", ErrorKind::ValueValidation),
            ("entrepot user", ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand),
            ("entrepot user add", ErrorKind::MissingRequiredArgument),
            ("entrepot user add system", ErrorKind::ValueValidation),
            ("entrepot user add alice secret", ErrorKind::UnknownArgument),
            ("entrepot user passwd alice --password secret", ErrorKind::UnknownArgument),
            ("entrepot token create build", ErrorKind::MissingRequiredArgument),
            ("entrepot token create build --robot --user alice", ErrorKind::ArgumentConflict),
            ("entrepot token create build --user operator", ErrorKind::ValueValidation),
            ("entrepot token create build --robot --expires soon", ErrorKind::ValueValidation),
            ("entrepot migrate-metadata --registry-database", ErrorKind::InvalidValue),
            ("entrepot migrate-metadata a.sqlite", ErrorKind::UnknownArgument),
            ("entrepot client-config rkt", ErrorKind::InvalidValue),
            ("entrepot client-config docker --server a/b", ErrorKind::ValueValidation),
        ];
        for (words, kind) in rows {
            assert_eq!(parse(words).expect_err(words).kind(), kind, "{words}");
        }
    }
}
