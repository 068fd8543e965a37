//! A fake identity provider for tests with real clients.
//!
//! `issuer ADDRESS [URL]` listens on ADDRESS until it is ended, and calls itself URL (`http://ADDRESS` by default). It serves
//! discovery and keys, and `/mint?claims={…}` answers a token with these claims. When there are claims as JSON on its standard
//! input, it prints a token with them, and goes on.

use std::io::{self, BufRead as _, Write as _};

use entrepot_testkit::FakeIssuer;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().ok_or("the address to listen on is missing: issuer ADDRESS [URL]")?.parse()?;
    let issuer = FakeIssuer::start_at(address, arguments.next()).await;
    eprintln!("listening on {}, as {}", issuer.server().address(), issuer.url());
    let (lines, mut read) = tokio::sync::mpsc::unbounded_channel();
    // A thread of its own: a standard input that nobody closes must not keep the process from ending.
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if lines.send(line).is_err() {
                return;
            }
        }
    });
    while let Some(line) = read.recv().await {
        if !line.trim().is_empty() {
            writeln!(io::stdout(), "{}", issuer.mint(&serde_json::from_str(&line)?))?;
        }
    }
    std::future::pending().await
}
