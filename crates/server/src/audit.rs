//! The audit log: who did or wanted what, from where, and by which rule he was let or why he was not.
//!
//! Events of target `audit`, one for each decision. Pulls that were allowed are not among them: their line in the access log has the
//! principal and the rule. What a client writes is bounded and escaped before it gets here; what proves who he is never gets here.

use std::net::IpAddr;

use entrepot_access::{Caller, Proof, Scopes};
use http::HeaderValue;
use http::header::USER_AGENT;
use http::request::Parts;

use crate::access_log::{readable, shown};
use crate::client_view::ClientView;
use crate::request_id::RequestId;

/// Which request, and where it comes from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origin {
    id: Option<RequestId>,
    address: Option<IpAddr>,
    user_agent: Option<HeaderValue>,
}

/// What is done, or was not let.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deed<'d> {
    /// Who.
    pub(crate) caller: &'d Caller,
    /// The word for what he does.
    pub(crate) action: &'static str,
    /// What it is done with; nothing for what is about no repository.
    pub(crate) repository: Option<&'d str>,
    /// The tag, digest or upload.
    pub(crate) reference: Option<&'d str>,
}

impl Origin {
    pub(crate) fn of(head: &Parts, view: &ClientView) -> Self {
        Self {
            id: head.extensions.get::<RequestId>().copied(),
            address: view.address,
            user_agent: head.headers.get(USER_AGENT).cloned(),
        }
    }

    /// Somebody does what a rule lets him do.
    pub(crate) fn allowed(&self, deed: Deed<'_>, rule: &str) {
        self.decided(deed, Some(rule), None, "allowed");
    }

    /// Somebody wants what he may not.
    pub(crate) fn denied(&self, deed: Deed<'_>, reason: &str) {
        self.decided(deed, None, Some(reason), "denied");
    }

    fn decided(&self, deed: Deed<'_>, rule: Option<&str>, reason: Option<&str>, outcome: &str) {
        tracing::info!(
            target: "audit",
            {
                request.id = self.id.map(tracing::field::display),
                client = self.address.map(tracing::field::display),
                principal = shown(&deed.caller.principal.to_string()),
                scheme = deed.caller.scheme.as_str(),
                action = deed.action,
                repository = deed.repository.map(shown),
                reference = deed.reference.map(shown),
                rule,
                reason,
                user_agent = self.user_agent.as_ref().map(readable),
            },
            "{outcome}"
        );
    }

    /// Somebody has got a token for these scopes.
    pub(crate) fn token_issued(&self, caller: &Caller, asked: &Scopes, granted: &Scopes, client_id: Option<&str>) {
        tracing::info!(
            target: "audit",
            {
                request.id = self.id.map(tracing::field::display),
                client = self.address.map(tracing::field::display),
                principal = shown(&caller.principal.to_string()),
                scheme = caller.scheme.as_str(),
                asked = shown(&asked.to_string()),
                granted = shown(&granted.to_string()),
                client_id,
                user_agent = self.user_agent.as_ref().map(readable),
            },
            "token issued"
        );
    }

    /// Somebody has not proved who he is. Of what he sent, the user is all that is told.
    pub(crate) fn login_failed(&self, claim: &Claim, reason: &str) {
        tracing::warn!(
            target: "audit",
            {
                request.id = self.id.map(tracing::field::display),
                client = self.address.map(tracing::field::display),
                scheme = claim.scheme,
                user = claim.user.as_deref(),
                reason,
                user_agent = self.user_agent.as_ref().map(readable),
            },
            "login failed"
        );
    }
}

/// Who somebody says that he is, before he has proved it.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    scheme: &'static str,
    user: Option<String>,
}

impl Claim {
    /// Of a proof that could be read.
    pub(crate) fn of(proof: &Proof) -> Self {
        match proof {
            Proof::None => Self { scheme: "none", user: None },
            Proof::Basic { user, .. } => Self { scheme: "basic", user: Some(shown(user)) },
            Proof::Bearer(_) => Self { scheme: "bearer", user: None },
        }
    }

    /// Of a header that cannot be read.
    pub(crate) const fn unreadable() -> Self {
        Self { scheme: "unreadable", user: None }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use entrepot_access::{Principal, Scheme};

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn lines(write: impl FnOnce()) -> Vec<serde_json::Value> {
        let written = Written::default();
        let writer = written.clone();
        let log = tracing_subscriber::fmt().json().flatten_event(true).with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(log, write);
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn a_line_says_who_did_what_from_where_and_by_which_rule() {
        let view = ClientView { address: Some("192.0.2.7".parse().unwrap()), ..ClientView::default() };
        let request = http::Request::builder().header("user-agent", "docker/28");
        let (head, ()) = request.body(()).unwrap().into_parts();
        let origin = Origin::of(&head, &view);
        let caller = Caller::new("alice".parse::<Principal>().unwrap(), Scheme::Basic, None);
        let deed = Deed { caller: &caller, action: "create", repository: Some("team/app"), reference: Some("1\n2") };
        let claim = Claim::of(&Proof::Basic { user: "mallory\n".into(), password: "hunter2".into() });
        let lines = lines(|| {
            origin.allowed(deed, "team");
            origin.denied(Deed { repository: None, reference: None, ..deed }, "no rule allows it");
            origin.login_failed(&claim, "incorrect username or password");
        });
        let fields =
            ["message", "principal", "scheme", "action", "repository", "reference", "rule", "reason", "client"];
        let row = |line: &serde_json::Value| fields.map(|field| line[field].as_str().unwrap_or("-").to_owned());
        assert_eq!(
            row(&lines[0]),
            ["allowed", "alice", "basic", "create", "team/app", "1\\u{a}2", "team", "-", "192.0.2.7"]
        );
        assert_eq!(
            row(&lines[1]),
            ["denied", "alice", "basic", "create", "-", "-", "-", "no rule allows it", "192.0.2.7"]
        );
        assert_eq!((&lines[2]["user"], &lines[2]["user_agent"]), (&"mallory\\u{a}".into(), &"docker/28".into()));
        assert!(lines.iter().all(|line| line["target"] == "audit" && !line.to_string().contains("hunter2")));
    }
}
