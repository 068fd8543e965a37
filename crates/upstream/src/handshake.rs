//! A handshake step by step: what an upstream wanted before it answered, for people who look for what is wrong.
//!
//! It is no second way of asking. The steps are written down by the code that every question goes through, and nothing that
//! is secret is among them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Method;

use crate::answer::Answer;
use crate::ask::Ask;
use crate::body::release;
use crate::error::Error;
use crate::history::{History, RedactedUrl};
use crate::limits::HANDSHAKE_STEPS_MAX;
use crate::remote::Remote;
use crate::turns::Kind;
use crate::via::RemoteRepository;

/// What happened on the way to the first answer.
#[derive(Clone, Debug)]
pub struct Handshake {
    /// The steps, in their order.
    pub steps: Vec<HandshakeStep>,
    /// The user name of the account that is configured, if one is.
    pub account: Option<String>,
    /// Whether questions are answered now.
    pub outcome: Result<(), Error>,
}

/// One step of a [`Handshake`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HandshakeStep {
    /// A request was sent.
    Asked {
        /// Its method.
        method: Method,
        /// Where to, without the query.
        url: RedactedUrl,
        /// The status of the answer; `None` when there was none.
        status: Option<u16>,
    },
    /// The answer wanted a user and a password.
    ChallengedBasic,
    /// The answer wanted a token.
    ChallengedBearer {
        /// Where tokens are issued, without the query; `None` when the challenge names no URL.
        realm: Option<RedactedUrl>,
        /// For whom, if told.
        service: Option<String>,
        /// For what, if told. At `/v2/` it is often a placeholder, and not asked for.
        scope: Option<String>,
    },
    /// A token was issued.
    TokenIssued {
        /// How long it may be used, from now on.
        lifetime: Duration,
    },
    /// A token from memory was used.
    TokenKept,
}

/// Where the steps of one handshake are written down; clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recorder(Arc<Mutex<Vec<HandshakeStep>>>);

impl Recorder {
    pub(crate) fn push(&self, step: HandshakeStep) {
        self.change(|steps| {
            if steps.len() < HANDSHAKE_STEPS_MAX {
                steps.push(step);
            }
        });
    }

    /// Notes the status of the last request.
    pub(crate) fn got(&self, answer: u16) {
        self.change(|steps| {
            if let Some(HandshakeStep::Asked { status, .. }) = steps.last_mut() {
                *status = Some(answer);
            }
        });
    }

    fn steps(&self) -> Vec<HandshakeStep> {
        let mut steps = Vec::new();
        self.change(|written| steps.clone_from(written));
        steps
    }

    fn change(&self, change: impl FnOnce(&mut Vec<HandshakeStep>)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Remote {
    /// Asks at `/v2/` as for pulling from `repository`, and tells step by step what happened.
    ///
    /// It takes its turn like any other question, so that an upstream that is suspended is not asked: then there are no
    /// steps.
    pub async fn handshake(&self, repository: &RemoteRepository) -> Handshake {
        let recorder = Recorder::default();
        let outcome = self.shake_hands(repository, recorder.clone()).await;
        let account = self.account().username().await;
        Handshake { steps: recorder.steps(), account, outcome }
    }

    async fn shake_hands(&self, repository: &RemoteRepository, recorder: Recorder) -> Result<(), Error> {
        let mut url = self.reach().home().clone();
        url.set_path("/v2/");
        let mut history = History::new(self.shared_name(), Method::GET, &url).recorded(recorder);
        let (_turn, _probe) = self.admit(Kind::Short, &history).await?;
        self.learn_from_ping(&mut history).await?;
        if self.wanted().is_nothing() && history.status == Some(200) {
            return Ok(());
        }
        let ask = Ask::new(Method::GET, repository, String::new(), "*/*");
        let (response, had_password) = self.ask_home(&ask, &url, &mut history).await?;
        history.answered(&Method::GET, &url, response.status().as_u16());
        let answer = Answer { response, digest: None, history, had_password, turn: None };
        release(answer.success(self.timeouts()).await?.response).await;
        Ok(())
    }
}
