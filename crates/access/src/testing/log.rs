//! What is logged, as text.
//!
//! The subscriber is that of the whole process: whether a line is wanted at all is asked once, by whichever test comes to it first.

use std::cell::RefCell;
use std::fmt::{Debug, Write};
use std::sync::Once;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

thread_local! {
    static LINES: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Keeps every line that this thread logs, at every level, until it is dropped.
pub(crate) struct Log(());

impl Log {
    pub(crate) fn begin() -> Self {
        static RECORDER: Once = Once::new();
        RECORDER.call_once(|| {
            tracing::subscriber::set_global_default(Recorder).unwrap();
            tracing::callsite::rebuild_interest_cache();
        });
        LINES.set(Some(String::new()));
        Self(())
    }

    #[expect(clippy::unused_self, reason = "there is a log from its beginning on")]
    pub(crate) fn text(&self) -> String {
        LINES.with_borrow(|lines| lines.clone().unwrap_or_default())
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        LINES.set(None);
    }
}

struct Recorder;

struct Line<'a>(&'a mut String);

impl Visit for Line<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, "{field}={value:?} ").unwrap();
    }
}

impl Subscriber for Recorder {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = format!("{} ", event.metadata().level());
        event.record(&mut Line(&mut line));
        LINES.with_borrow_mut(|lines| {
            if let Some(lines) = lines {
                lines.push_str(&line);
                lines.push('\n');
            }
        });
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
