//! A command of the program, run to its end in a folder.

use std::path::Path;
use std::process::{Command, Output};

/// Runs the program with these words, which are parted by spaces.
pub(crate) async fn run(folder: &Path, words: &str) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_entrepot"));
    program.args(words.split_whitespace()).current_dir(folder);
    tokio::task::spawn_blocking(move || program.output()).await.unwrap().unwrap()
}

/// What a command told that ended well.
pub(crate) fn told(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// What a command told, on both ways, that failed.
pub(crate) fn failed(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
