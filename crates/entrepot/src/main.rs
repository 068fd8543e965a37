//! The `entrepot` program.

use std::error::Error;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;
use entrepot::config::{Configuration, LogLevel, Surroundings, TelemetryConfiguration};
use entrepot::{Command, CommandLine, Outcome, Screen};

fn main() -> ExitCode {
    let line = CommandLine::parse();
    match run(&line) {
        Ok(Outcome::Well) => ExitCode::SUCCESS,
        Ok(Outcome::Failed) => ExitCode::FAILURE,
        Err(error) => {
            let _ = write!(std::io::stderr().lock(), "{}", entrepot::told(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn run(line: &CommandLine) -> Result<Outcome, Box<dyn Error>> {
    let working_folder = std::env::current_dir()?;
    #[expect(clippy::disallowed_methods, reason = "this is where the configuration gets the environment from")]
    let environment = |name: &str| std::env::var(name).ok();
    let surroundings = Surroundings { working_folder: &working_folder, environment: &environment };
    let configuration = Configuration::load(line.config.as_deref(), &surroundings)?;
    let command = line.command();
    entrepot::telemetry::start(&telemetry(&command, &configuration))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (mut out, is_terminal) = (std::io::stdout(), std::io::stderr().is_terminal());
    let mut screen = Screen { out: &mut out, is_terminal };
    Ok(runtime.block_on(entrepot::run(&command, &configuration, &mut screen))?)
}

/// What a command other than the server has to say is on the screen: its log is for what goes wrong.
fn telemetry(command: &Command, configuration: &Configuration) -> TelemetryConfiguration {
    let configured = configuration.telemetry.clone();
    match (command, configured.log_level) {
        (Command::Serve, _) | (_, LogLevel::Error) => configured,
        _ => TelemetryConfiguration { log_level: LogLevel::Warn, ..configured },
    }
}
