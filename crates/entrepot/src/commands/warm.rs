//! `entrepot warm`: images into the cache, with bars on a terminal and a line for each step otherwise.

use std::collections::HashMap;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde::Deserialize;
use serde_json::json;

use super::api::Api;
use super::fields::tame;
use super::{CommandError, Outcome, Screen, amounts};
use crate::cli::WarmArguments;
use crate::config::Configuration;

/// What the bar of a blob looks like.
const BAR: &str = "  {prefix}  {bar:30}  {bytes:>10} of {total_bytes:<10}  {bytes_per_sec}";

/// Characters of a digest beside its bar.
const DIGEST_SHOWN: usize = 19;

/// One line of the answer, told apart by its fields.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Event {
    Blob { digest: String, received: u64, size: u64 },
    Failed { subject: String, reason: String },
    Done { manifests: u64, blobs: u64, bytes: u64, failures: u64 },
    Manifest { digest: String, media_type: String },
}

/// `entrepot warm`, one reference after the other.
pub(super) async fn warm(
    configuration: &Configuration,
    arguments: &WarmArguments,
    screen: &mut Screen<'_>,
) -> Result<Outcome, CommandError> {
    let api = Api::open(configuration, arguments.api.server.as_ref()).await?;
    let mut outcome = Ok(Outcome::Well);
    for reference in &arguments.references {
        match one(&api, reference, arguments, screen).await {
            Ok(Outcome::Well) => {}
            // The others are tried all the same.
            Ok(Outcome::Failed) => outcome = outcome.map(|_| Outcome::Failed),
            Err(error) => {
                outcome = Err(error);
                break;
            }
        }
    }
    api.close().await;
    outcome
}

async fn one(
    api: &Api,
    reference: &str,
    arguments: &WarmArguments,
    screen: &mut Screen<'_>,
) -> Result<Outcome, CommandError> {
    let body = json!({ "reference": reference, "platforms": arguments.platforms });
    let mut lines = api.post_for_lines("cache/warm", &body).await?;
    if arguments.api.json {
        return as_json(&mut lines, screen).await;
    }
    writeln!(screen.out, "{reference}")?;
    let mut progress = Progress::on(screen.is_terminal);
    while let Some(event) = lines.next::<Event>().await? {
        if let Event::Done { manifests, blobs, bytes, failures } = event {
            progress.end();
            let size = amounts::size(bytes);
            writeln!(screen.out, "  {manifests} manifests and {blobs} blobs are here, {size}; {failures} failed")?;
            return Ok(if failures == 0 { Outcome::Well } else { Outcome::Failed });
        }
        if let Some(line) = progress.step(&event) {
            writeln!(screen.out, "  {line}")?;
        }
    }
    progress.end();
    writeln!(screen.out, "  the server stopped before everything was here")?;
    Ok(Outcome::Failed)
}

/// The lines as they come. Without the last one something is missing.
async fn as_json(lines: &mut super::api::Lines, screen: &mut Screen<'_>) -> Result<Outcome, CommandError> {
    let mut outcome = Outcome::Failed;
    while let Some(line) = lines.next::<serde_json::Value>().await? {
        writeln!(screen.out, "{line}")?;
        if let Some(failures) = line.get("failures").and_then(serde_json::Value::as_u64) {
            outcome = if failures == 0 { Outcome::Well } else { Outcome::Failed };
        }
    }
    Ok(outcome)
}

/// How far everything is.
enum Progress {
    /// A bar for each blob that is on its way.
    Bars { all: MultiProgress, by_digest: HashMap<String, ProgressBar> },
    /// A line for each blob that is here; nothing moves.
    Lines,
}

impl Progress {
    fn on(is_terminal: bool) -> Self {
        if is_terminal { Self::Bars { all: MultiProgress::new(), by_digest: HashMap::new() } } else { Self::Lines }
    }

    /// Shows an event; what is told in a line in any case is returned.
    fn step(&mut self, event: &Event) -> Option<String> {
        match (event, &mut *self) {
            (Event::Failed { subject, reason }, Self::Bars { all, .. }) => {
                // Above the bars, which are drawn anew below it. A terminal that is gone is no reason to stop.
                let _ = all.println(format!("  failed    {}: {}", tame(subject), tame(reason)));
                None
            }
            (Event::Failed { subject, reason }, Self::Lines) => {
                Some(format!("failed    {}: {}", tame(subject), tame(reason)))
            }
            (Event::Blob { digest, received, size }, Self::Bars { all, by_digest }) => {
                let bar = by_digest.entry(digest.clone()).or_insert_with(|| all.add(bar(digest, *size)));
                bar.set_position(*received);
                if received >= size {
                    bar.finish();
                }
                None
            }
            (Event::Blob { digest, received, size }, Self::Lines) => {
                (received >= size).then(|| format!("blob      {}  {}", tame(digest), amounts::size(*size)))
            }
            (Event::Manifest { digest, media_type }, Self::Lines) => {
                Some(format!("manifest  {}  {}", tame(digest), tame(media_type)))
            }
            (Event::Manifest { .. }, Self::Bars { .. }) | (Event::Done { .. }, _) => None,
        }
    }

    fn end(&mut self) {
        if let Self::Bars { by_digest, .. } = self {
            // What did not come to its end stays as far as it was.
            for (_, bar) in by_digest.drain() {
                if !bar.is_finished() {
                    bar.abandon();
                }
            }
        }
    }
}

fn bar(digest: &str, size: u64) -> ProgressBar {
    let bar = ProgressBar::new(size);
    if let Ok(style) = ProgressStyle::with_template(BAR) {
        bar.set_style(style);
    }
    bar.with_prefix(tame(digest).chars().take(DIGEST_SHOWN).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(text: &str) -> Event {
        serde_json::from_str(text).expect(text)
    }

    #[test]
    fn without_a_terminal_every_blob_has_one_line_when_it_is_here() {
        let mut progress = Progress::on(false);
        let steps = [
            (r#"{"event":"manifest","digest":"sha256:m","media_type":"a/b"}"#, Some("manifest  sha256:m  a/b")),
            (r#"{"event":"blob","digest":"sha256:b","received":10,"size":2048}"#, None),
            (
                r#"{"event":"blob","digest":"sha256:b","received":2048,"size":2048}"#,
                Some("blob      sha256:b  2.0 KiB"),
            ),
            (r#"{"event":"failed","subject":"sha256:c","reason":"gone\n"}"#, Some("failed    sha256:c: gone ")),
        ];
        for (text, line) in steps {
            assert_eq!(progress.step(&event(text)).as_deref(), line, "{text}");
        }
    }

    #[test]
    fn on_a_terminal_every_blob_has_a_bar_that_ends_when_it_is_here() {
        ProgressStyle::with_template(BAR).expect("a template");
        let mut progress = Progress::on(true);
        for received in [10, 2048] {
            let line = format!(r#"{{"digest":"sha256:b","received":{received},"size":2048}}"#);
            assert_eq!(progress.step(&event(&line)), None);
            let Progress::Bars { by_digest, .. } = &progress else { panic!("bars") };
            let bar = &by_digest["sha256:b"];
            assert_eq!((bar.position(), bar.is_finished()), (received, received == 2048));
        }
        progress.end();
    }
}
