//! The `entrepot` program.

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use entrepot::config::{Configuration, Surroundings};
use entrepot::{Command, CommandLine};

fn main() -> ExitCode {
    let line = CommandLine::parse();
    match run(&line) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = write!(std::io::stderr().lock(), "{}", entrepot::told(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn run(line: &CommandLine) -> Result<(), Box<dyn Error>> {
    let working_folder = std::env::current_dir()?;
    #[expect(clippy::disallowed_methods, reason = "this is where the configuration gets the environment from")]
    let environment = |name: &str| std::env::var(name).ok();
    let surroundings = Surroundings { working_folder: &working_folder, environment: &environment };
    let configuration = Configuration::load(line.config.as_deref(), &surroundings)?;
    match line.command() {
        Command::Check => {
            std::io::stdout().lock().write_all(configuration.describe().as_bytes())?;
            Ok(())
        }
        Command::Serve => {
            entrepot::telemetry::start(&configuration.telemetry)?;
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            runtime.block_on(entrepot::serve(&configuration))?;
            Ok(())
        }
    }
}
