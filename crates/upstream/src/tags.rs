//! The tags of a repository of a remote, all pages of them.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use entrepot_oci::Tag;
use http::Method;
use serde::Deserialize;
use serde_json::Value;

use crate::ask::Ask;
use crate::error::{ContentError, Error};
use crate::limits::{ENTRIES_MAX, TAGS_PER_PAGE};
use crate::remote::Remote;
use crate::via::RemoteRepository;

const ACCEPT_JSON: &str = "application/json";

/// One page. Some registries send `null` for no tags, and digests or worse among them.
#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    tags: Option<Vec<Value>>,
}

impl Remote {
    /// The tags at the remote itself.
    pub(crate) async fn own_tags(&self, repository: &RemoteRepository) -> Result<Vec<Tag>, Error> {
        let mut ask = Ask::new(Method::GET, repository, "tags/list".to_owned(), ACCEPT_JSON);
        ask.query = Some(format!("n={TAGS_PER_PAGE}"));
        let first = self.ask(&ask).await?.success(self.timeouts()).await?;
        let mut tags = BTreeSet::new();
        self.each_page(ask, first, |answer, page| {
            let page: Page =
                serde_json::from_slice(&page).map_err(|error| answer.invalid(ContentError::Json(Arc::new(error))))?;
            tags.extend(page.tags.iter().flatten().filter_map(|tag| tag.as_str()?.parse::<Tag>().ok()));
            if tags.len() > ENTRIES_MAX {
                return Err(Error::TooLarge { history: Box::new(answer.history.clone()), limit: ENTRIES_MAX });
            }
            Ok(ControlFlow::Continue(()))
        })
        .await?;
        Ok(tags.into_iter().collect())
    }
}
