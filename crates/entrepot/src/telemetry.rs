//! The log: lines for people or JSON objects, on standard error.
//!
//! An event is one line, whatever is in it: line ends inside are escaped, and so are the control sequences of terminals.
//! Libraries are heard from `warn` on, unless everything was asked for.

use std::io::{self, IsTerminal, Write};

use tracing::Subscriber;
use tracing::subscriber::SetGlobalDefaultError;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::Registry;

use crate::config::{LogFormat, LogLevel, TelemetryConfiguration};

/// The targets that are ours: the crates, whose names all begin so, the log of requests, and that of decisions about access.
const OUR_TARGETS: [&str; 3] = ["entrepot", "access", "audit"];

/// Starts the log of the process.
///
/// # Errors
/// When the process has a log already.
pub fn start(configuration: &TelemetryConfiguration) -> Result<(), SetGlobalDefaultError> {
    let with_colour = io::stderr().is_terminal();
    tracing::subscriber::set_global_default(subscriber(configuration, with_colour, io::stderr))
}

/// The log as a value, so that it can be tried with another writer.
fn subscriber<W>(configuration: &TelemetryConfiguration, with_colour: bool, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt::layer().with_writer(OneLineEach(writer));
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match configuration.log {
        LogFormat::Text => Box::new(lines.compact().with_ansi(with_colour)),
        LogFormat::Json => Box::new(lines.json().flatten_event(true).with_current_span(true).with_span_list(false)),
    };
    tracing_subscriber::registry().with(lines.with_filter(filter(configuration.log_level)))
}

fn filter(level: LogLevel) -> Targets {
    let (ours, others) = match level {
        LogLevel::Error => (LevelFilter::ERROR, LevelFilter::ERROR),
        LogLevel::Warn => (LevelFilter::WARN, LevelFilter::WARN),
        LogLevel::Info => (LevelFilter::INFO, LevelFilter::WARN),
        LogLevel::Debug => (LevelFilter::DEBUG, LevelFilter::WARN),
        LogLevel::Trace => (LevelFilter::TRACE, LevelFilter::TRACE),
    };
    Targets::new().with_default(others).with_targets(OUR_TARGETS.map(|target| (target, ours)))
}

/// Makes writers whose every write is one line.
struct OneLineEach<W>(W);

impl<'w, W: MakeWriter<'w>> MakeWriter<'w> for OneLineEach<W> {
    type Writer = OneLine<W::Writer>;

    fn make_writer(&'w self) -> Self::Writer {
        OneLine(self.0.make_writer())
    }

    fn make_writer_for(&'w self, metadata: &tracing::Metadata<'_>) -> Self::Writer {
        OneLine(self.0.make_writer_for(metadata))
    }
}

/// A writer that is given whole events, each with the line end behind it, and escapes those within.
struct OneLine<W>(W);

impl<W: Write> Write for OneLine<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        self.write_all(event)?;
        Ok(event.len())
    }

    fn write_all(&mut self, event: &[u8]) -> io::Result<()> {
        let line = event.strip_suffix(b"\n").unwrap_or(event);
        if !line.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
            return self.0.write_all(event);
        }
        let mut escaped = Vec::with_capacity(event.len() + 16);
        for byte in line {
            match byte {
                b'\n' => escaped.extend_from_slice(b"\\n"),
                b'\r' => escaped.extend_from_slice(b"\\r"),
                byte => escaped.push(*byte),
            }
        }
        escaped.extend_from_slice(&event[line.len()..]);
        self.0.write_all(&escaped)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex, PoisonError};

    use super::*;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(log: LogFormat, log_level: LogLevel, events: impl FnOnce()) -> String {
        let written = Log::default();
        let writer = written.clone();
        let configuration = TelemetryConfiguration { log, log_level, ..TelemetryConfiguration::default() };
        let subscriber = subscriber(&configuration, false, move || writer.clone());
        tracing::subscriber::with_default(subscriber, events);
        let bytes = written.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        String::from_utf8(bytes).expect("text")
    }

    fn hostile() {
        let field = "value\n{\"forged\": true}\r\u{1b}[2J";
        tracing::warn!(target: "entrepot", field, "message\n{field}");
    }

    #[test]
    fn an_event_is_one_line_whatever_is_in_it() {
        for format in [LogFormat::Text, LogFormat::Json] {
            let log = logged(format, LogLevel::Info, hostile);
            assert_eq!(log.lines().count(), 1, "{log}");
            assert!(!log.contains(['\u{1b}', '\r']), "{log:?}");
        }
    }

    #[test]
    fn a_json_line_is_one_object_with_the_fields_at_its_top() {
        let log = logged(LogFormat::Json, LogLevel::Info, || {
            tracing::info!(target: "access", { request.id = 7, status = 200_u16 }, "answered");
        });
        let line: serde_json::Value = serde_json::from_str(&log).expect("an object");
        assert_eq!((&line["request.id"], &line["status"]), (&7.into(), &200.into()));
        assert_eq!((&line["target"], &line["message"]), (&"access".into(), &"answered".into()));
    }

    #[test]
    fn the_level_is_for_us_and_libraries_are_quiet() {
        let events = || {
            tracing::info!(target: "access", "request");
            tracing::debug!(target: "entrepot_server::listener", "ours");
            tracing::info!(target: "hyper", "chatter");
            tracing::warn!(target: "hyper", "warning");
        };
        let rows = [
            (LogLevel::Error, vec![]),
            (LogLevel::Warn, vec!["warning"]),
            (LogLevel::Info, vec!["request", "warning"]),
            (LogLevel::Debug, vec!["request", "ours", "warning"]),
            (LogLevel::Trace, vec!["request", "ours", "chatter", "warning"]),
        ];
        for (level, expected) in rows {
            let log = logged(LogFormat::Text, level, events);
            let seen: Vec<_> = log.lines().filter_map(|line| line.split_whitespace().last()).collect();
            assert_eq!(seen, expected, "{}", level.as_str());
        }
    }
}
