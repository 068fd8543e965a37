//! One question to a remote: sent, authorised, and followed through its redirects to an answer.

use entrepot_oci::Digest;
use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, HeaderName, IF_NONE_MATCH, RANGE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use reqwest::Response;
use url::Url;

use crate::answer::{Answer, content_digest};
use crate::authorization::Authorization;
use crate::body::release;
use crate::circuit::{Probe, Suspended};
use crate::error::Error;
use crate::history::History;
use crate::limits::REDIRECTS_MAX;
use crate::reach::redirect_target;
use crate::remote::Remote;
use crate::turns::{Crowded, Kind, Turn};
use crate::via::{RemoteRepository, VIA_HEADER};

const VIA: HeaderName = HeaderName::from_static(VIA_HEADER);

/// What is asked.
#[derive(Clone, Debug)]
pub(crate) struct Ask<'a> {
    pub(crate) method: Method,
    pub(crate) repository: &'a RemoteRepository,
    /// What follows `/v2/<repository>/`.
    pub(crate) path: String,
    pub(crate) query: Option<String>,
    pub(crate) accept: &'static str,
    /// The value of a `Range` header.
    pub(crate) range: Option<String>,
    /// The digest of what is here already: the answer may be 304.
    pub(crate) known: Option<&'a Digest>,
    /// Whether the answer may take minutes.
    pub(crate) kind: Kind,
    /// Whether what the account may is asked anew, so that no token from before speaks for it.
    pub(crate) is_afresh: bool,
}

impl<'a> Ask<'a> {
    pub(crate) const fn new(
        method: Method,
        repository: &'a RemoteRepository,
        path: String,
        accept: &'static str,
    ) -> Self {
        Self {
            method,
            repository,
            path,
            query: None,
            accept,
            range: None,
            known: None,
            kind: Kind::Short,
            is_afresh: false,
        }
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static(self.accept));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        // Wanted by some versions of Harbor and Artifactory, harmless elsewhere.
        headers.insert("docker-distribution-api-version", HeaderValue::from_static("registry/2.0"));
        if let Some(range) = self.range.as_deref().and_then(|range| range.parse().ok()) {
            headers.insert(RANGE, range);
        }
        if let Some(tag) = self.known.and_then(|digest| format!("\"{digest}\"").parse().ok()) {
            headers.insert(IF_NONE_MATCH, tag);
        }
        headers
    }
}

impl Remote {
    /// Asks, when the remote may be asked and it is the question's turn, and returns the first answer that is not a redirect,
    /// whatever its status. The turn is over when the body has been read, or the answer is dropped.
    pub(crate) async fn ask(&self, ask: &Ask<'_>) -> Result<Answer, Error> {
        let mut url = self.reach().home().clone();
        url.set_path(&format!("/v2/{}/{}", ask.repository.name, ask.path));
        url.set_query(ask.query.as_deref());
        let mut history = History::new(self.shared_name(), ask.method.clone(), &url);
        let (turn, _probe) = self.admit(ask.kind, &history).await?;
        let mut digest = None;
        // Once the chain has left the remote it stays outside: nobody else can lead our credentials back in.
        let mut is_home = true;
        for _ in 0..=REDIRECTS_MAX {
            let (response, had_password) = if is_home {
                let asked = self.ask_home(ask, &url, &mut history).await?;
                self.note_rate_limit(asked.0.headers());
                asked
            } else {
                (self.ask_elsewhere(ask, &url, &mut history).await?, false)
            };
            history.answered(&ask.method, &url, response.status().as_u16());
            digest = digest.or_else(|| content_digest(response.headers()));
            if !is_redirect(response.status()) {
                // Nothing more comes of a HEAD.
                let turn = (ask.method != Method::HEAD).then_some(turn);
                return Ok(Answer { response, digest, history, had_password, turn });
            }
            let target = redirect_target(&url, response.headers())
                .map_err(|reason| Error::BadRedirect { history: Box::new(history.clone()), reason })?;
            release(response).await;
            is_home &= self.reach().is_home(&target);
            url = target;
        }
        Err(Error::TooManyRedirects { history: Box::new(history) })
    }

    /// Waits for a turn, unless the remote is not to be asked, which is said at once, also to those who wait.
    pub(crate) async fn admit(&self, kind: Kind, history: &History) -> Result<(Turn, Option<Probe>), Error> {
        let suspended = |Suspended { retry_after, reason }| {
            let history = Box::new(history.clone());
            Error::Suspended { history, retry_after, reason }
        };
        loop {
            let suspension = self.circuit().next_suspension();
            if let Some(left) = self.circuit().suspended() {
                return Err(suspended(left));
            }
            let turn = tokio::select! {
                biased;
                turn = self.turns().take(kind) => turn,
                () = suspension => continue,
            };
            let crowded = |crowded: Crowded| {
                let history = Box::new(history.clone());
                Error::Busy { history, waiting: crowded.waiting }
            };
            let turn = turn.map_err(crowded)?;
            // While this question waited another may have become the probe.
            return Ok((turn, self.circuit().admit().map_err(suspended)?));
        }
    }

    /// Asks the remote itself, and once more when it refuses an account that may have run out and been replaced. Returns whether
    /// a password was sent, too.
    pub(crate) async fn ask_home(
        &self,
        ask: &Ask<'_>,
        url: &Url,
        history: &mut History,
    ) -> Result<(Response, bool), Error> {
        let number = self.login_number();
        let asked = self.ask_home_as_it_is(ask, url, history).await;
        let is_refused = match &asked {
            // ECR says 403 to a password that has run out.
            Ok((response, had_password)) => *had_password && matches!(response.status().as_u16(), 401 | 403),
            Err(error) => matches!(error, Error::CredentialsRefused { .. }),
        };
        if !is_refused || !self.is_login_renewed(number).await {
            return asked;
        }
        if let Ok((response, _)) = asked {
            release(response).await;
        }
        self.ask_home_as_it_is(ask, url, history).await
    }

    /// Asks the remote itself: with what is known to be wanted, and once more when the answer is a challenge that
    /// can be met. A second 401 is final.
    async fn ask_home_as_it_is(
        &self,
        ask: &Ask<'_>,
        url: &Url,
        history: &mut History,
    ) -> Result<(Response, bool), Error> {
        let authorization = self.authorization(&ask.repository.name, ask.is_afresh, history).await?;
        let response = self.send(ask, url, authorization.as_ref(), history).await?;
        let had_password = matches!(authorization, Some(Authorization::Basic(_)));
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok((response, had_password));
        }
        match self.meet_challenge(&ask.repository.name, response.headers(), authorization, history).await? {
            Some(authorization) => {
                release(response).await;
                let response = self.send(ask, url, Some(&authorization), history).await?;
                Ok((response, matches!(authorization, Authorization::Basic(_))))
            }
            None => Ok((response, had_password)),
        }
    }

    /// Asks where a redirect led: without credentials, and once more with an anonymous token when that is wanted.
    async fn ask_elsewhere(&self, ask: &Ask<'_>, url: &Url, history: &mut History) -> Result<Response, Error> {
        let response = self.send(ask, url, None, history).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        match self.meet_foreign_challenge(url, response.headers(), history).await? {
            Some(authorization) => {
                release(response).await;
                self.send(ask, url, Some(&authorization), history).await
            }
            None => Ok(response),
        }
    }

    async fn send(
        &self,
        ask: &Ask<'_>,
        url: &Url,
        authorization: Option<&Authorization>,
        history: &mut History,
    ) -> Result<Response, Error> {
        let mut headers = ask.headers();
        if self.reach().is_home(url) && !ask.repository.via.is_empty() {
            headers.extend(ask.repository.via.to_string().parse().ok().map(|via| (VIA, via)));
        }
        if let Some(authorization) = authorization {
            headers.insert(AUTHORIZATION, authorization.header());
        }
        self.send_noted((&ask.method, url), headers, history).await
    }

    /// Sends one request. What the remote itself makes of it counts for its circuit, what others do does not.
    pub(crate) async fn send_noted(
        &self,
        (method, url): (&Method, &Url),
        headers: HeaderMap,
        history: &mut History,
    ) -> Result<Response, Error> {
        let sent = self.connections().send((method, url), headers, self.reach().destination(url), history).await;
        if self.reach().is_home(url) {
            self.circuit().note(&sent);
        }
        sent
    }
}

const fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}
