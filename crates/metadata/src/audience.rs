//! Handing announcements to those who listen in this process.

use futures_core::stream::BoxStream;
use tokio::sync::broadcast::{self, error::RecvError};

use crate::limits::{ANNOUNCEMENT_BYTES_MAX, ANNOUNCEMENTS_WAITING_MAX};
use crate::{Announcement, Error};

/// Everyone in this process who listens to the announcements of a store. Each store has one, and fills it in its own way.
#[derive(Clone, Debug)]
pub struct Audience {
    sender: broadcast::Sender<Announcement>,
}

impl Audience {
    /// An audience without listeners.
    pub fn new() -> Self {
        Self { sender: broadcast::Sender::new(ANNOUNCEMENTS_WAITING_MAX) }
    }

    /// Tells everyone who listens. Never waits: who is too slow misses it, and learns that.
    pub fn tell(&self, announcement: Announcement) {
        // Without listeners nobody needs to hear it.
        drop(self.sender.send(announcement));
    }

    /// Listens from now on, until the audience is dropped.
    pub fn listen(&self) -> BoxStream<'static, Announcement> {
        let receiver = self.sender.subscribe();
        Box::pin(futures_util::stream::unfold(receiver, |mut receiver| async {
            match receiver.recv().await {
                Ok(announcement) => Some((announcement, receiver)),
                Err(RecvError::Lagged(_)) => Some((Announcement::Missed, receiver)),
                Err(RecvError::Closed) => None,
            }
        }))
    }

    /// Refuses what is longer than every store carries.
    pub fn check(topic: &str, text: &str) -> Result<(), Error> {
        Error::check_length("an announcement", topic.len().saturating_add(text.len()), ANNOUNCEMENT_BYTES_MAX)
    }
}

impl Default for Audience {
    fn default() -> Self {
        Self::new()
    }
}
