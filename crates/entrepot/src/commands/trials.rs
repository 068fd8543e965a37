//! Trials of what a configuration names beside folders and upstreams: buckets and the database.

use std::time::Duration;

use entrepot_registry::with_causes;
use futures_util::future::{BoxFuture, FutureExt, join_all};

use super::check::{Finding, Verdict};
use crate::config::{Configuration, ObjectScheme, ObjectUrl};
use crate::{database, object_storage};

/// How long a trial may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// One thing to be tried.
pub(super) struct Trial {
    subject: String,
    trying: BoxFuture<'static, Result<String, String>>,
}

impl Trial {
    /// `trying` says what was found, or what failed with what to do. It creates nothing.
    pub(super) fn new(
        subject: impl Into<String>,
        trying: impl Future<Output = Result<String, String>> + Send + 'static,
    ) -> Self {
        Self { subject: subject.into(), trying: trying.boxed() }
    }
}

/// What a configuration names: the one place that names back ends.
pub(super) fn trials(configuration: &Configuration) -> Vec<Trial> {
    let buckets = configuration.stores().into_iter().filter_map(|(role, location)| {
        let (url, storage) = (location.object()?.clone(), configuration.storage.clone());
        Some(Trial::new(role, async move {
            let cure =
                format!("look at the name of the bucket, and at the address and keys in [storage.{}]", table(&url));
            object_storage::probe(&storage, &url).await.map_err(|error| told(error, &cure))?;
            Ok(format!("{url} can be read and written"))
        }))
    });
    let database = configuration.metadata.postgres().cloned().map(|postgres| {
        Trial::new("metadata.url", async move {
            let cure = "look at the address, user, password and database in metadata.url, and whether the server lets this machine in";
            database::probe(&postgres).await.map_err(|error| told(error, cure))?;
            Ok("the database answers".to_owned())
        })
    });
    buckets.chain(database).collect()
}

/// The table of the configuration that is about the bucket.
fn table(url: &ObjectUrl) -> &'static str {
    match url.scheme() {
        ObjectScheme::S3 => "s3",
        ObjectScheme::Gcs => "gcs",
        ObjectScheme::Azure => "azure",
    }
}

/// An error with everything behind it, in one line, and what to do. Object storage answers with documents of several lines.
fn told(error: impl std::error::Error, cure: &str) -> String {
    let text = with_causes(&error);
    let words: Vec<&str> = text.split_whitespace().collect();
    format!("{}; {cure}", words.join(" "))
}

/// Tries all of them at once.
pub(super) async fn tried(trials: Vec<Trial>) -> Vec<Finding> {
    tried_within(PATIENCE, trials).await
}

async fn tried_within(patience: Duration, trials: Vec<Trial>) -> Vec<Finding> {
    join_all(trials.into_iter().map(|Trial { subject, trying }| async move {
        let (verdict, text) = match tokio::time::timeout(patience, trying).await {
            Ok(Ok(text)) => (Verdict::Well, text),
            Ok(Err(text)) => (Verdict::Failed, text),
            Err(_) => {
                let text = format!("no answer within {patience:?}: look at the address and the network");
                (Verdict::Failed, text)
            }
        };
        Finding { verdict, subject, text }
    }))
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_trial_is_told_with_what_it_found_and_does_not_last_for_ever() {
        let trials = vec![
            Trial::new("well", async { Ok("there".to_owned()) }),
            Trial::new("failed", async { Err("not there".to_owned()) }),
            Trial::new("silent", std::future::pending()),
        ];
        let found = tried_within(Duration::ZERO, trials).await;
        let told: Vec<_> = found.iter().map(|one| (one.verdict, one.subject.as_str(), one.text.as_str())).collect();
        assert_eq!(
            told,
            [
                (Verdict::Well, "well", "there"),
                (Verdict::Failed, "failed", "not there"),
                (Verdict::Failed, "silent", "no answer within 0ns: look at the address and the network"),
            ]
        );
    }
}
