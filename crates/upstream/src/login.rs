//! Whether somebody has an account at a remote, without asking for a repository.

use http::header::AUTHORIZATION;
use http::{HeaderMap, Method};
use secrecy::ExposeSecret as _;

use crate::answer::Answer;
use crate::body::release;
use crate::caller::CallerCredentials;
use crate::error::Error;
use crate::history::History;
use crate::remote::Remote;
use crate::turns::Kind;

impl Remote {
    /// Whether the user and the password are an account here: the last step of every client's login is an answer of `/v2/` to it.
    ///
    /// Nothing of it is remembered. A remote that wants no account of anybody knows nobody's, and what is empty is no account.
    ///
    /// # Errors
    /// Whatever keeps the remote from saying yes or no. That is never taken for a wrong password.
    pub async fn login_as(&self, credentials: &CallerCredentials) -> Result<bool, Error> {
        let is_empty = credentials.user.is_empty() || credentials.password.expose_secret().is_empty();
        if !self.is_asked_as_caller() || *credentials.upstream != *self.name() || is_empty {
            return Ok(false);
        }
        match self.seen_by(credentials, None).log_in().await {
            Ok(is_known) => Ok(is_known),
            // What some token endpoints say to a user name that cannot be one.
            Err(Error::Denied { .. } | Error::CredentialsRefused { .. } | Error::Rejected { status: 400, .. }) => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    async fn log_in(&self) -> Result<bool, Error> {
        let mut url = self.reach().home().clone();
        url.set_path("/v2/");
        let mut history = History::new(self.shared_name(), Method::GET, &url);
        let (_turn, _probe) = self.admit(Kind::Short, &history).await?;
        let Some(proof) = self.proof_of_account(&mut history).await? else { return Ok(false) };
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, proof.header());
        let response = self.send_noted((&Method::GET, &url), headers, &mut history).await?;
        history.answered(&Method::GET, &url, response.status().as_u16());
        let answer = Answer { response, digest: None, history, had_password: true, turn: None };
        release(answer.success(self.timeouts()).await?.response).await;
        Ok(true)
    }
}
