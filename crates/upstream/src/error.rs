//! The crate's error: what an upstream did instead of what it was asked for.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use entrepot_oci::{Digest, ManifestError};

use crate::connections::cause;
use crate::resolver::NoSuchHost;
use crate::{History, RedactedUrl};

/// The cause behind an [`Error`], shared so that errors can be cloned to everyone who waits for one request.
pub type Source = Arc<dyn std::error::Error + Send + Sync>;

/// Why an upstream did not give what it was asked for. Each variant carries its [`History`].
#[derive(Clone, Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the one undocumented field is `history`, which is the same in every variant")]
pub enum Error {
    /// 404: there is no such content, repository, or both.
    #[error("{history}: not found")]
    NotFound { history: Box<History> },
    /// 401 or 403 after the proper flow, or a token endpoint that refuses an anonymous caller: private, or not there.
    #[error("{history}: not found or private")]
    Denied { history: Box<History> },
    /// The configured credentials were refused: for the operator to put right.
    #[error("{history}: the configured credentials were refused")]
    CredentialsRefused { history: Box<History> },
    /// 429, from the registry or its token endpoint.
    #[error("{history}: too many requests, again in {} s", retry_after.as_secs())]
    RateLimited {
        history: Box<History>,
        /// When to come back: what the upstream said in whole seconds from 1 on, or a guess.
        retry_after: Duration,
    },
    /// The upstream was not asked, because of what it did before.
    #[error("{history}: not asked for another {} s, because {reason}", retry_after.as_secs())]
    Suspended {
        history: Box<History>,
        /// When it will be asked again.
        retry_after: Duration,
        /// What it did.
        reason: Suspension,
    },
    /// The upstream was not asked, because too many requests to it are waiting for their turn already.
    #[error("{history}: not asked, {waiting} requests are waiting for their turn")]
    Busy {
        history: Box<History>,
        /// How many are waiting.
        waiting: usize,
    },
    /// The account could not be had from its credential helper.
    #[error("{history}: the credential helper gave no account")]
    CredentialsUnavailable {
        history: Box<History>,
        /// What the helper failed at.
        #[source]
        source: Source,
    },
    /// Another refusal: 400, 405, 406, 410, 416, 451 and the like.
    #[error("{history}: refused")]
    Rejected {
        history: Box<History>,
        /// The status.
        status: u16,
    },
    /// 408 or 5xx.
    #[error("{history}: unavailable")]
    Unavailable {
        history: Box<History>,
        /// The status.
        status: u16,
        /// When to come back, if the upstream said so.
        retry_after: Option<Duration>,
    },
    /// No connection: the name, the network, or TLS.
    #[error("{history}: cannot be reached")]
    Unreachable {
        history: Box<History>,
        /// What the connection failed at.
        #[source]
        source: Source,
    },
    /// The host has an address that is not public, and is not listed. Nothing was sent.
    #[error(
        "{history}: {host} has the address {address}, which is not public; list the host as an upstream or as trusted to allow it"
    )]
    AddressRefused {
        history: Box<History>,
        /// The host.
        host: String,
        /// The first of its addresses that is not public.
        address: IpAddr,
    },
    /// The challenge names a realm that may not be asked for a token. Nothing was sent to it.
    #[error("{history}: the token realm {realm} is not trusted; list its host as trusted to allow it")]
    UntrustedRealm {
        history: Box<History>,
        /// The realm.
        realm: RedactedUrl,
    },
    /// No answer, or no more of it, in time.
    #[error("{history}: nothing came for {} ms", waited.as_millis())]
    Timeout {
        history: Box<History>,
        /// How long was waited.
        waited: Duration,
    },
    /// The connection broke before the answer was whole.
    #[error("{history}: the connection broke")]
    Interrupted {
        history: Box<History>,
        /// What the connection failed at.
        #[source]
        source: Source,
    },
    /// A redirect from redirect to redirect.
    #[error("{history}: too many redirects")]
    TooManyRedirects { history: Box<History> },
    /// A redirect that is not followed.
    #[error("{history}: {reason}")]
    BadRedirect {
        history: Box<History>,
        /// What is wrong with it.
        reason: RedirectError,
    },
    /// The content is not what its digest names. None of it may be used.
    #[error("{history}: the content is not {expected}")]
    DigestMismatch {
        history: Box<History>,
        /// What was asked for, or announced with the content.
        expected: Digest,
    },
    /// The answer is not what was asked for.
    #[error("{history}: {reason}")]
    InvalidContent {
        history: Box<History>,
        /// What is wrong with it.
        #[source]
        reason: ContentError,
    },
    /// The answer is larger than anything that is read.
    #[error("{history}: the answer is larger than the {limit} allowed")]
    TooLarge {
        history: Box<History>,
        /// The limit that was passed, in bytes, entries or pages.
        limit: usize,
    },
}

/// The history in an error, borrowed as the error is: every variant has one.
macro_rules! history_of {
    ($error:expr) => {
        match $error {
            Self::NotFound { history }
            | Self::Denied { history }
            | Self::CredentialsRefused { history }
            | Self::RateLimited { history, .. }
            | Self::Suspended { history, .. }
            | Self::Busy { history, .. }
            | Self::CredentialsUnavailable { history, .. }
            | Self::Rejected { history, .. }
            | Self::Unavailable { history, .. }
            | Self::Unreachable { history, .. }
            | Self::AddressRefused { history, .. }
            | Self::UntrustedRealm { history, .. }
            | Self::Timeout { history, .. }
            | Self::Interrupted { history, .. }
            | Self::TooManyRedirects { history }
            | Self::BadRedirect { history, .. }
            | Self::DigestMismatch { history, .. }
            | Self::InvalidContent { history, .. }
            | Self::TooLarge { history, .. } => history,
        }
    };
}

impl Error {
    /// What happened on the way.
    pub fn history(&self) -> &History {
        history_of!(self)
    }

    /// Whether there is no host of the upstream's name: the name system has answered, and knows none.
    pub fn is_host_unknown(&self) -> bool {
        let Self::Unreachable { source, .. } = self else { return false };
        cause::<NoSuchHost>(source.as_ref()).is_some()
    }

    pub(crate) fn history_mut(&mut self) -> &mut History {
        history_of!(self)
    }

    /// Whether the same request may well succeed in a moment.
    pub const fn is_temporary(&self) -> bool {
        match self {
            Self::RateLimited { .. }
            | Self::Suspended { .. }
            | Self::Busy { .. }
            | Self::CredentialsUnavailable { .. }
            | Self::Unavailable { .. }
            | Self::Unreachable { .. }
            | Self::Timeout { .. }
            | Self::Interrupted { .. } => true,
            Self::NotFound { .. }
            | Self::Denied { .. }
            | Self::CredentialsRefused { .. }
            | Self::Rejected { .. }
            | Self::AddressRefused { .. }
            | Self::UntrustedRealm { .. }
            | Self::TooManyRedirects { .. }
            | Self::BadRedirect { .. }
            | Self::DigestMismatch { .. }
            | Self::InvalidContent { .. }
            | Self::TooLarge { .. } => false,
        }
    }
}

/// Why an upstream is not asked for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Suspension {
    /// It said 429.
    #[error("it asked for patience")]
    RateLimited,
    /// It failed several times in a row.
    #[error("it failed {0} times in a row")]
    Failing(u32),
}

/// Why a redirect is not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RedirectError {
    /// No `Location`, or an empty one.
    #[error("the redirect leads nowhere")]
    LocationMissing,
    /// `Location` is not a URL.
    #[error("the redirect leads to what is not a URL")]
    LocationMalformed,
    /// Another scheme than http and https.
    #[error("the redirect leads to a scheme other than http and https")]
    Scheme,
    /// From https to http.
    #[error("the redirect leads from https to http")]
    Downgrade,
    /// The URL carries a user or password.
    #[error("the redirect carries a user")]
    Userinfo,
    /// A redirect where none is followed, because what it leads to would be believed.
    #[error("a redirect came, and none is followed here")]
    NotFollowed,
    /// A document refers to another that would be believed, and that is not at an https address. Nothing was sent there.
    #[error("it is neither at an https address nor at the one that is configured")]
    Insecure,
}

/// Why an answer is not what was asked for.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ContentError {
    /// A web page, as captive portals, firewalls and login walls send it.
    #[error("a web page came instead of content")]
    WebPage,
    /// The bytes are not a manifest that can be used.
    #[error("{0}")]
    Manifest(#[source] Arc<ManifestError>),
    /// The document is not the JSON that it should be.
    #[error("the answer is not the document that was asked for")]
    Json(#[source] Arc<serde_json::Error>),
    /// A `Content-Encoding` that was not asked for: the bytes have no digest as they are.
    #[error("the answer is encoded as {encoding:?}, which was not asked for")]
    Encoded {
        /// The header.
        encoding: String,
    },
    /// A `Content-Range` that does not say where the bytes belong, or says a place behind the one asked for.
    #[error("the answer does not begin where it was asked to")]
    Range,
    /// A token endpoint that gives no usable token.
    #[error("the token endpoint gave no token")]
    TokenMissing,
}
