//! Whether a remote lets an account pull, asked without fetching anything.

use entrepot_oci::{Digest, TagOrDigest};
use http::{Method, StatusCode};

use crate::ask::Ask;
use crate::blobs::ACCEPT_BLOBS;
use crate::body::release;
use crate::error::{ContentError, Error};
use crate::manifests::ACCEPT_MANIFESTS;
use crate::remote::Remote;
use crate::via::RemoteRepository;

/// What somebody wants of a repository.
#[derive(Clone, Copy, Debug)]
pub enum Wish<'a> {
    /// A manifest.
    Manifest(&'a TagOrDigest),
    /// A blob.
    Blob(&'a Digest),
    /// The list of its tags.
    Tags,
}

impl Remote {
    /// Whether the remote itself gives this to the account that it is asked with, now: no token from before and no mirror speaks for it.
    ///
    /// What it refuses and what it does not have is one `false`. Where HEAD is refused a GET is asked, which is not read to its end.
    ///
    /// # Errors
    /// Whatever keeps the remote from saying yes or no.
    pub async fn allows(&self, repository: &RemoteRepository, wish: Wish<'_>) -> Result<bool, Error> {
        let mut ask = match wish {
            Wish::Manifest(reference) => {
                Ask::new(Method::HEAD, repository, format!("manifests/{reference}"), ACCEPT_MANIFESTS)
            }
            Wish::Blob(digest) => Ask::new(Method::HEAD, repository, format!("blobs/{digest}"), ACCEPT_BLOBS),
            Wish::Tags => {
                let mut ask = Ask::new(Method::GET, repository, "tags/list".to_owned(), "application/json");
                ask.query = Some("n=1".to_owned());
                ask
            }
        };
        ask.is_afresh = true;
        let is_head = ask.method == Method::HEAD;
        match self.is_answered(&ask).await {
            // Refused storage behind a redirect, or a remote that wants no HEAD: the GET tells. Its token is a moment old.
            Ok(None) if is_head => {
                (ask.method, ask.is_afresh) = (Method::GET, false);
                if matches!(wish, Wish::Blob(_)) {
                    ask.range = Some("bytes=0-0".to_owned());
                }
                Ok(self.is_answered(&ask).await? == Some(true))
            }
            Ok(answered) => Ok(answered == Some(true)),
            Err(error) => Err(error),
        }
    }

    /// Whether the answer is a success; `None` when it refuses in a way that may be about the method.
    async fn is_answered(&self, ask: &Ask<'_>) -> Result<Option<bool>, Error> {
        let answer = match self.ask(ask).await {
            Ok(answer) => answer,
            // By the token endpoint: the account, or what it asks for.
            Err(Error::Denied { .. } | Error::CredentialsRefused { .. } | Error::NotFound { .. }) => {
                return Ok(Some(false));
            }
            Err(error) => return Err(error),
        };
        match answer.status() {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::METHOD_NOT_ALLOWED => {
                release(answer.response).await;
                Ok(None)
            }
            // A login page that the refused are sent to is a success, too.
            status if status.is_success() && answer.is_page() => Err(answer.invalid(ContentError::WebPage)),
            // Only an empty blob has no first byte.
            status if status.is_success() || (status == StatusCode::RANGE_NOT_SATISFIABLE && ask.range.is_some()) => {
                release(answer.response).await;
                Ok(Some(true))
            }
            StatusCode::NOT_FOUND => {
                release(answer.response).await;
                Ok(Some(false))
            }
            _ => Err(answer.refusal(self.timeouts()).await),
        }
    }
}
