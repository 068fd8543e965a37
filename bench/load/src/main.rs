//! Puts a registry under load and prints one line of JSON that says how long it took.
//!
//! Made to cost little itself, because it shares the machine with what it measures: blocking sockets, one thread for each
//! connection, large reads into one buffer that stays in the processor's cache. Content and digests are made before the clock starts.
//!
//! ```text
//! load pull   --address HOST:PORT --path PATH --size BYTES --connections N --requests N | --seconds N  [--method HEAD] [--authorization VALUE] [--pid PID]
//! load push   --address HOST:PORT --repository NAME --size BYTES --seed N --way whole|chunked  [--pid PID]
//! load images --address HOST:PORT --prefix NAME --count N --connections N --layer-size BYTES --seed N  [--pid PID]
//! load tags   --address HOST:PORT --repository NAME --count N --connections N
//! ```

mod arguments;
mod connection;
mod content;
mod error;
mod images;
mod pull;
mod push;
mod summary;
mod workers;

use std::process::ExitCode;

use arguments::Arguments;
use error::Error;

fn main() -> ExitCode {
    match run() {
        Ok(summary) => {
            println!("{summary}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<serde_json::Value, Error> {
    let arguments = Arguments::parse(std::env::args().skip(1))?;
    match arguments.command() {
        "pull" => pull::run(&arguments),
        "push" => push::run(&arguments),
        "images" => images::run(&arguments),
        "tags" => images::run_tags(&arguments),
        other => Err(Error::Command { found: other.to_owned() }),
    }
}
