//! Accounts from a program: a script that each test writes.

use std::error::Error as StdError;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use entrepot_testkit::{Auth, FakeUpstream, Image, Reply, Seen};
use entrepot_upstream::{ConfigError, CredentialHelper, Error, Remote, Remotes, RemotesConfig, UpstreamConfig};
use futures_util::future::join_all;
use tempfile::TempDir;

use crate::setup::{NAME, is_authorized, later, listed, name, remote_of, repository, tag, with_account};

const LIFETIME: Duration = Duration::from_hours(1);

/// A script that writes down each question before it answers as `body` says.
struct Helper {
    folder: TempDir,
}

impl Helper {
    fn new(body: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let script = format!("cd '{}'\nread host\necho \"$1 $host\" >> asked\n{body}\n", folder.path().display());
        std::fs::write(folder.path().join("script"), script).unwrap();
        Self { folder }
    }

    /// Answers with one account.
    fn giving(username: &str, secret: &str) -> Self {
        Self::new(&answer(username, secret))
    }

    fn remote(&self, fake: &FakeUpstream) -> Arc<Remote> {
        let command = vec!["sh".to_owned(), self.path("script").display().to_string()];
        remote_of(with_helper(listed(fake), command))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Every question so far: the arguments and the host.
    fn asked(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.path("asked")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

fn answer(username: &str, secret: &str) -> String {
    format!(r#"echo '{{"ServerURL":"x","Username":"{username}","Secret":"{secret}"}}'"#)
}

fn with_helper(upstream: UpstreamConfig, command: Vec<String>) -> UpstreamConfig {
    UpstreamConfig { credential_helper: Some(CredentialHelper { command, lifetime: LIFETIME }), ..upstream }
}

async fn fake(auth: Auth) -> FakeUpstream {
    let fake = FakeUpstream::start().await;
    Image::new(1, &[1000]).load_into(&fake, "team/app", "1");
    Image::new(1, &[1000]).load_into(&fake, "team/other", "1");
    fake.set_auth(auth);
    fake
}

async fn pull(remote: &Remote) -> Result<(), Error> {
    remote.get_manifest(&repository(), &tag("1")).await.map(|_| ())
}

#[tokio::test]
async fn a_helper_is_asked_once_for_everyone_and_again_after_its_lifetime() {
    for auth in [Auth::bearer("robot", "hidden"), Auth::basic("robot", "hidden")] {
        let (fake, helper) = (fake(auth).await, Helper::giving("robot", "hidden"));
        let remote = helper.remote(&fake);
        assert!(remote.has_credentials());
        let (one, other, tag) = (repository(), name("team/other").into(), tag("1"));
        let pulls = (0..20).map(|number| remote.get_manifest(if number % 2 == 0 { &one } else { &other }, &tag));
        assert!(join_all(pulls).await.iter().all(Result::is_ok));
        assert_eq!(helper.asked(), [format!("get {}", fake.address())]);
        later(LIFETIME).await;
        pull(&remote).await.unwrap();
        assert_eq!(helper.asked().len(), 2);
        assert!(!format!("{remote:?}").contains("hidden"));
    }
}

#[tokio::test]
async fn a_helper_that_gives_no_account_is_an_outage_that_says_what_to_do() {
    let long = "yes hidden | head -c 100000";
    let rows = [
        ("echo 'credentials not found in native keychain'; exit 1", "log in to"),
        ("echo hidden; echo hidden >&2; exit 3", "as the user that the server runs as"),
        ("echo hidden", "something else than JSON"),
        (r#"echo '{"Username":"hidden","Secret":7}'"#, "something else than JSON"),
        (r#"echo '{"Username":"","Secret":""}'"#, "log in to"),
        (long, "wrote more than"),
    ];
    for (body, words) in rows {
        let (fake, helper) = (fake(Auth::bearer("robot", "hidden")).await, Helper::new(body));
        let remote = helper.remote(&fake);
        let error = pull(&remote).await.unwrap_err();
        assert!(matches!(error, Error::CredentialsUnavailable { .. }) && error.is_temporary(), "{body}: {error:?}");
        let text = format!("{error}: {} {error:?}", error.source().unwrap());
        assert!(text.contains(words) && !text.contains("hidden"), "{body}: {text}");
        // Not run again at once for whoever comes next.
        pull(&remote).await.unwrap_err();
        assert_eq!(helper.asked().len(), 1, "{body}");
        later(Duration::from_secs(11)).await;
        pull(&remote).await.unwrap_err();
        assert_eq!(helper.asked().len(), 2, "{body}");
        assert_eq!((fake.count(Seen::is_token), fake.count(is_authorized)), (0, 0));
    }
}

#[tokio::test]
async fn a_helper_that_is_not_there_is_named() {
    let fake = fake(Auth::bearer("robot", "hidden")).await;
    let remote = remote_of(with_helper(listed(&fake), vec!["docker-credential-absent".into()]));
    let error = pull(&remote).await.unwrap_err();
    assert!(matches!(error, Error::CredentialsUnavailable { .. }), "{error:?}");
    let source = error.source().unwrap().to_string();
    assert!(source.contains("docker-credential-absent cannot be run"), "{source}");
}

#[tokio::test]
async fn an_account_that_has_run_out_is_asked_for_again_once() {
    let expired = format!("if [ -e fresh ]; then {}; else {}; fi", answer("AWS", "new"), answer("AWS", "old"));
    for (is_basic, status) in [(true, 401), (true, 403), (false, 401)] {
        let auth = |secret| if is_basic { Auth::basic("AWS", secret) } else { Auth::bearer("AWS", secret) };
        let (fake, helper) = (fake(auth("old")).await, Helper::new(&expired));
        let remote = helper.remote(&fake);
        pull(&remote).await.unwrap();
        fake.set_auth(auth("new"));
        fake.revoke_tokens();
        // ECR says 403 to a password that has run out.
        let refused = |seen: &Seen| is_authorized(seen) && !seen.is_token();
        fake.when(move |seen| refused(seen) && is_basic)
            .reply(move |honest| if honest.is_status(401) { honest.status(status) } else { honest });
        std::fs::write(helper.path("fresh"), "").unwrap();
        let (one, tag) = (repository(), tag("1"));
        let pulls = join_all((0..10).map(|_| remote.get_manifest(&one, &tag))).await;
        assert!(pulls.iter().all(Result::is_ok), "{status}: {pulls:?}");
        assert_eq!(helper.asked().len(), 2, "{status}");
    }
}

#[tokio::test]
async fn an_account_that_stays_refused_is_not_asked_for_again_and_again() {
    for auth in [Auth::bearer("robot", "another"), Auth::basic("robot", "another")] {
        let (fake, helper) = (fake(auth).await, Helper::giving("robot", "hidden"));
        let remote = helper.remote(&fake);
        for _ in 0..5 {
            let error = pull(&remote).await.unwrap_err();
            assert!(matches!(error, Error::CredentialsRefused { .. }), "{error}");
            assert!(!format!("{error} {error:?}").contains("hidden"));
        }
        assert_eq!(helper.asked().len(), 2);
        assert!(fake.count(Seen::is_token) <= 1, "the same account is not tried again");
    }
}

#[tokio::test]
async fn an_identity_token_is_traded_in_for_tokens() {
    let (fake, helper) = (fake(Auth::bearer("robot", "hidden")).await, Helper::giving("<token>", "hidden"));
    let remote = helper.remote(&fake);
    pull(&remote).await.unwrap();
    let token = fake.wait_for(Seen::is_token).await;
    assert!(token.is_post() && !is_authorized(&token));
    assert_eq!(token.parameters("grant_type"), ["refresh_token"]);
    assert_eq!(token.parameters("service"), ["fake"]);
    assert_eq!(token.parameters("scope"), ["repository:team/app:pull"]);
    assert_eq!(fake.count(Seen::is_token), 1);
}

#[tokio::test]
async fn an_endpoint_that_takes_no_identity_token_is_asked_with_it_as_a_password() {
    for status in [400, 401, 404, 405] {
        let (fake, helper) = (fake(Auth::bearer("<token>", "hidden")).await, Helper::giving("<token>", "hidden"));
        fake.when(Seen::is_post).reply(move |_| Reply::new(status));
        pull(&helper.remote(&fake)).await.unwrap();
        assert_eq!(fake.count(Seen::is_token), 2, "{status}");
    }
    let (fake, helper) = (fake(Auth::bearer("<token>", "hidden")).await, Helper::giving("<token>", "hidden"));
    fake.when(Seen::is_post).reply(|_| Reply::new(503));
    let error = pull(&helper.remote(&fake)).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { status: 503, .. }), "{error}");
}

#[tokio::test]
async fn a_helper_that_cannot_be_meant_is_refused_at_the_start() {
    let fake = FakeUpstream::start().await;
    let rows = [with_helper(with_account(&fake), vec!["x".into()]), with_helper(listed(&fake), Vec::new())];
    for upstream in rows {
        let config = RemotesConfig { upstreams: vec![upstream], ..RemotesConfig::default() };
        let error = Remotes::new(config).unwrap_err();
        assert!(
            matches!(&error, ConfigError::Field { upstream, field: "credential_helper", .. } if upstream == NAME),
            "{error:?}"
        );
    }
}
