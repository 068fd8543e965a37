//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Run the server; this is also what happens without a command
    #[default]
    Serve,
    /// Read the configuration and print what it comes to, without starting anything
    Check,
}

impl CommandLine {
    /// The command that was given, or that of a bare `entrepot`.
    pub fn command(&self) -> Command {
        self.command.unwrap_or_default()
    }
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
        let rows = [
            ("entrepot", Command::Serve, None),
            ("entrepot serve", Command::Serve, None),
            ("entrepot --config a.toml", Command::Serve, Some("a.toml")),
            ("entrepot serve --config a.toml", Command::Serve, Some("a.toml")),
            ("entrepot --config a.toml check", Command::Check, Some("a.toml")),
            ("entrepot check --config=a.toml", Command::Check, Some("a.toml")),
        ];
        for (words, command, config) in rows {
            let line = parse(words).expect(words);
            assert_eq!((line.command(), line.config), (command, config.map(PathBuf::from)), "{words}");
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
        ];
        for (words, kind) in rows {
            assert_eq!(parse(words).expect_err(words).kind(), kind, "{words}");
        }
    }
}
