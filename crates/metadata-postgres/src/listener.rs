//! Hearing announcements: one connection that listens, and is made again whenever it is lost.
//!
//! It is asked every few seconds whether it is still there: a connection that died without a word would hear nothing for ever.

use std::sync::Arc;
use std::time::Duration;

use entrepot_metadata::{Announcement, Audience};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio_postgres::{AsyncMessage, Client, Config};

use crate::limits::{CONNECT_WAIT_MAX, LISTENER_PING_EVERY, LISTENER_PING_MAX, PAUSE_MAX};
use crate::metrics::Metrics;
use crate::open::{OpenError, place_of};
use crate::tls::Tls;

/// What listens.
#[derive(Debug)]
pub(crate) struct Listener {
    config: Config,
    tls: Tls,
    schema: String,
    audience: Audience,
    metrics: Metrics,
}

/// A connection on which everything is heard, once it is polled.
pub(crate) struct Listening {
    client: Client,
    heard: stream::BoxStream<'static, Result<AsyncMessage, tokio_postgres::Error>>,
}

/// Why a connection does not listen any more.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error("the connection ended")]
    Ended,
    #[error("no answer within {0:?}")]
    Silent(Duration),
    #[error(transparent)]
    Postgres(#[from] tokio_postgres::Error),
}

impl Listener {
    pub(crate) fn new(config: Config, tls: Tls, schema: &str, audience: Audience, metrics: Metrics) -> Arc<Self> {
        Arc::new(Self { config, tls, schema: schema.to_owned(), audience, metrics })
    }

    /// Begins to listen. When it returned, everything that is said from then on will be heard.
    pub(crate) async fn connect(&self) -> Result<Listening, OpenError> {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| OpenError::Connect {
            place: place_of(&self.config),
            source,
        };
        let connecting = async {
            let (client, mut connection) = self.config.connect(self.tls.clone()).await?;
            let heard = stream::poll_fn(move |context| connection.poll_message(context));
            let mut heard = heard.boxed();
            // The connection moves only while it is polled, and may hear something before it has answered.
            let mut early = Vec::new();
            let listen = format!("LISTEN {}", self.schema);
            {
                let listening = client.batch_execute(&listen);
                tokio::pin!(listening);
                loop {
                    tokio::select! {
                        done = &mut listening => { done?; break; }
                        message = heard.try_next() => match message? {
                            Some(message) => early.push(Ok(message)),
                            None => break,
                        },
                    }
                }
            }
            Ok::<_, tokio_postgres::Error>(Listening { client, heard: stream::iter(early).chain(heard).boxed() })
        };
        let connected = tokio::time::timeout(CONNECT_WAIT_MAX, connecting).await;
        connected.map_err(|late| failed(Box::new(late)))?.map_err(|error| failed(Box::new(error)))
    }

    /// Listens for as long as the store is open.
    pub(crate) async fn run(self: Arc<Self>, first: Listening) {
        let mut listening = first;
        loop {
            self.metrics.listening.set(1);
            let lost = self.hear(listening).await;
            self.metrics.listening.set(0);
            self.metrics.listener_losses.inc();
            tracing::warn!(schema = self.schema, error = %lost, "the connection for announcements of other replicas was lost");
            // From here on nothing is known, and after the new connection listens nothing is known of what was said before.
            self.audience.tell(Announcement::Missed);
            listening = self.connect_again().await;
            self.audience.tell(Announcement::Missed);
            tracing::info!(schema = self.schema, "announcements of other replicas are heard again");
        }
    }

    async fn connect_again(&self) -> Listening {
        loop {
            match self.connect().await {
                Ok(listening) => return listening,
                Err(error) => tracing::debug!(%error, "the connection for announcements cannot be made"),
            }
            tokio::time::sleep(PAUSE_MAX).await;
        }
    }

    /// Tells the audience what is heard, until the connection is lost.
    async fn hear(&self, listening: Listening) -> Lost {
        let Listening { client, mut heard } = listening;
        let hearing = async {
            loop {
                match heard.try_next().await {
                    Ok(Some(AsyncMessage::Notification(notification))) => {
                        self.audience.tell(announcement(notification.payload()));
                    }
                    Ok(Some(_)) => {}
                    Ok(None) => return Lost::Ended,
                    Err(error) => return error.into(),
                }
            }
        };
        let asking = async {
            loop {
                tokio::time::sleep(LISTENER_PING_EVERY).await;
                match tokio::time::timeout(LISTENER_PING_MAX, client.batch_execute("")).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => return error.into(),
                    Err(_) => return Lost::Silent(LISTENER_PING_MAX),
                }
            }
        };
        tokio::select! {
            lost = hearing => lost,
            lost = asking => lost,
        }
    }
}

/// The text of a notification: the length of the topic, a colon, the topic, and the rest.
pub(crate) fn payload(topic: &str, text: &str) -> String {
    format!("{}:{topic}{text}", topic.len())
}

/// What another process has said. Whatever cannot be read came from somebody who says more than we know: it is taken for missed.
fn announcement(payload: &str) -> Announcement {
    let read = payload.split_once(':').and_then(|(length, rest)| rest.split_at_checked(length.parse().ok()?));
    read.map_or(Announcement::Missed, |(topic, text)| Announcement::Said {
        topic: topic.to_owned(),
        text: text.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_is_read_back() {
        for (topic, text) in [("", ""), ("a", "b:c"), ("12:", "3:x"), ("\u{fc}", "\u{1f980}")] {
            let (topic, text) = (topic.to_owned(), text.to_owned());
            assert_eq!(announcement(&payload(&topic, &text)), Announcement::Said { topic, text });
        }
        for other in ["", "a", "9:short", "-1:a", "1:\u{fc}"] {
            assert_eq!(announcement(other), Announcement::Missed, "{other:?}");
        }
    }
}
