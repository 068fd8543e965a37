//! Puts a registry under load and prints one line of JSON that says how long it took.
//!
//! Made to cost little itself, because it shares the machine with what it measures, and to say what it cost. What is
//! only read is discarded in the kernel, and one thread (or `--threads`) serves all connections; what is pushed has a
//! thread for each connection, and content and digests are made before the clock starts.
//!
//! ```text
//! load pull   --address HOST:PORT --path PATH --connections N --requests N | --seconds N  [--size BYTES]
//!             [--method HEAD] [--spread N: for {} in the path] [--threads N] [--authorization VALUE]
//! load push   --address HOST:PORT --repository NAME --size BYTES --seed N --way whole|chunked  [--parallel N]
//!             [--seconds N]
//! load images --address HOST:PORT --prefix NAME --count N --connections N --layer-size BYTES --seed N
//! load tags   --address HOST:PORT --repository NAME --count N --connections N  [--from N] [--seed N]
//! load list   --address HOST:PORT --repository NAME --page N --count N  [--times N] [--last TAG] [--pages N]
//!
//! all:        [--pid PID,PID…: the server's processes]
//! ```

mod arguments;
mod channel;
mod connection;
mod content;
mod error;
mod images;
mod list;
mod poll;
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
        "list" => list::run(&arguments),
        other => Err(Error::Command { found: other.to_owned() }),
    }
}
