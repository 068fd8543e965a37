//! News among replicas: what has become known of upstreams, and what has to be forgotten.
//!
//! Nothing is right only because news arrived. What is answered from memory is what upstreams refused and listed, for some seconds;
//! what an operator orders is told to all, so that it holds at once. How an upstream is doing is told so that all leave it alone that
//! asks for patience; whoever has not heard finds out by asking.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use entrepot_metadata::Announcement;
use entrepot_oci::RepositoryName;
use entrepot_upstream::{Condition, News};
use futures_util::StreamExt as _;
use tokio::sync::broadcast::error::RecvError;

use crate::Registry;
use crate::limits::{NEWS_INTERVAL, NEWS_LASTS, NEWS_REMOTES_MAX};

/// What news are about. The part before the text, so that later versions can say more and earlier ones do not mind.
const REMOTE: &str = "remote";
const FORGET: &str = "forget";

impl Registry {
    /// Tells the other replicas what becomes known here, and listens to them, until the process is to stop.
    pub(crate) fn keep_in_touch(self: &Arc<Self>) {
        if self.replica.is_some() {
            self.tasks.spawn(Arc::clone(self).keep_telling());
            self.tasks.spawn(Arc::clone(self).keep_listening());
        }
    }

    /// Has the other replicas forget what upstreams refused and listed of a repository, as was done here.
    pub(crate) fn tell_to_forget(self: &Arc<Self>, cached_name: &RepositoryName) {
        if self.replica.is_some() {
            let (registry, name) = (Arc::clone(self), cached_name.clone());
            self.tasks.spawn(async move { registry.announce(FORGET, name.as_str()).await });
        }
    }

    async fn keep_listening(self: Arc<Self>) {
        self.hear_what_is_noted().await;
        let mut announcements = self.cache.metadata.announcements();
        loop {
            let heard = tokio::select! {
                () = self.tasks.stopping() => return,
                heard = announcements.next() => heard,
            };
            match heard {
                Some(Announcement::Said { topic, text }) => self.hear(&topic, &text),
                // What was said meanwhile may have been to forget something.
                Some(Announcement::Missed) => {
                    self.memory.forget_everything();
                    self.hear_what_is_noted().await;
                }
                None => return,
            }
        }
    }

    fn hear(&self, topic: &str, text: &str) {
        match topic {
            REMOTE => {
                // What a later version says may make no sense here.
                if let Ok(news) = serde_json::from_str::<News>(text) {
                    self.remotes.hear(&news);
                }
            }
            FORGET => {
                if let Ok(name) = text.parse() {
                    self.memory.forget_repository(&name);
                }
            }
            _ => {}
        }
    }

    /// Takes the word of replicas that spoke before this one listened.
    async fn hear_what_is_noted(&self) {
        match self.cache.metadata.notes(&note_key(""), NEWS_REMOTES_MAX).await {
            Ok(notes) => notes.iter().for_each(|(_, text)| self.hear(REMOTE, text)),
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                "what other replicas know of upstreams could not be read: it is found out by asking"
            ),
        }
    }

    /// Tells at most once in an interval, and of each remote only the last: a budget changes with every answer.
    async fn keep_telling(self: Arc<Self>) {
        let mut news = self.remotes.news();
        let mut waiting: HashMap<(String, bool), News> = HashMap::new();
        let mut interval = tokio::time::interval(NEWS_INTERVAL);
        loop {
            tokio::select! {
                () = self.tasks.stopping() => return,
                heard = news.recv() => match heard {
                    Ok(news) => {
                        let is_budget = matches!(news.condition, Condition::Budget { .. });
                        waiting.insert((news.remote.clone(), is_budget), news);
                    }
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                },
                _ = interval.tick(), if !waiting.is_empty() => {
                    for ((remote, is_budget), news) in waiting.drain() {
                        self.tell(&remote, is_budget, &news).await;
                    }
                }
            }
        }
    }

    async fn tell(&self, remote: &str, is_budget: bool, news: &News) {
        let Ok(text) = serde_json::to_string(news) else { return };
        let kind = if is_budget { "budget" } else { "state" };
        let lasts = match news.condition {
            Condition::Patience(seconds) | Condition::Failing(seconds) => Duration::from_secs(seconds).min(NEWS_LASTS),
            Condition::Budget { .. } | Condition::Answering => NEWS_LASTS,
        };
        let noted = self.cache.metadata.set_note(&note_key(&format!("{remote} {kind}")), &text, lasts).await;
        if let Err(error) = noted {
            tracing::debug!(error = &error as &dyn std::error::Error, "how an upstream is could not be noted");
        }
        self.announce(REMOTE, &text).await;
    }

    async fn announce(&self, topic: &str, text: &str) {
        if let Err(error) = self.cache.metadata.announce(topic, text).await {
            tracing::warn!(topic, error = &error as &dyn std::error::Error, "the other replicas could not be told");
        }
    }
}

fn note_key(rest: &str) -> String {
    format!("{REMOTE} {rest}")
}
