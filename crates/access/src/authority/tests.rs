//! Who is let in by what, and for how long.

mod issuers;
mod lasting;
mod secrets;
mod upstreams;

use secrecy::{ExposeSecret, SecretString};

use super::*;
use crate::action::Actions;
use crate::testing::{Install, personal, robot, rule, scopes, target, users};

/// What a stranger is told.
fn told<T: std::fmt::Debug>(result: Result<T, Refusal>) -> String {
    result.unwrap_err().to_string()
}

fn fault(result: Result<Caller, Refusal>) -> TokenFault {
    match result {
        Err(Refusal::InvalidToken(fault)) => fault,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn every_proof_makes_the_caller_that_it_proves() {
    let install = Install::new().await;
    let anonymous = install.prove(Proof::None).await.unwrap();
    assert_eq!((anonymous.principal, anonymous.scheme), (Principal::Anonymous, Scheme::None));

    let alice = install.basic("alice", "alice's").await.unwrap();
    assert_eq!((alice.principal.to_string().as_str(), alice.scheme), ("alice", Scheme::Basic));
    assert!(alice.bounds.scopes.is_none() && alice.bounds.credential.is_none());

    let token = install.issue(&alice, &["repository:team/app:pull"]).await;
    let bearer = install.bearer(&token).await.unwrap();
    assert_eq!((bearer.principal, bearer.scheme), (alice.principal, Scheme::Bearer));
    assert_eq!(*bearer.bounds.scopes.unwrap(), scopes(&["repository:team/app:pull"]));

    let (_, token) = install.create(robot("ci")).await;
    let text = token.expose_secret();
    for user in ["ci", "robot:ci", "token", "<token>", "oauth2"] {
        let caller = install.basic(user, text).await.unwrap();
        assert_eq!((caller.principal.to_string().as_str(), caller.scheme), ("robot:ci", Scheme::Basic), "{user}");
    }
    let caller = install.bearer(&token).await.unwrap();
    assert_eq!((caller.principal.to_string().as_str(), caller.scheme), ("robot:ci", Scheme::Bearer));
    assert!(caller.bounds.scopes.is_none(), "it is no token of the token service");

    let (_, token) = install.create(personal("laptop")).await;
    let caller = install.basic("alice", token.expose_secret()).await.unwrap();
    assert_eq!(caller.principal.to_string(), "alice");

    let attempt = |name: &str, proof| Attempt { address: None, certificate: Some(name.into()), proof };
    let caller = install.authority.authenticate(attempt("node-1", Proof::None)).await.unwrap();
    assert_eq!((caller.principal.to_string().as_str(), caller.scheme), ("certificate:node-1", Scheme::Certificate));
    let wrong = Proof::Basic { user: "alice".to_owned(), password: "wrong".into() };
    let refused = install.authority.authenticate(attempt("node-1", wrong)).await;
    assert!(matches!(refused, Err(Refusal::WrongCredentials)), "what is said counts before the certificate");
    for name in ["", "a\nb", &"x".repeat(256)] {
        let refused = install.authority.authenticate(attempt(name, Proof::None)).await;
        assert!(matches!(refused, Err(Refusal::WrongCredentials)), "{name:?}");
    }
}

#[tokio::test]
async fn a_wrong_proof_is_never_a_stranger_and_always_sounds_the_same() {
    let install = Install::new().await;
    let (id, revoked) = install.create(robot("old")).await;
    assert!(install.authority.credentials().unwrap().revoke(&id).await.unwrap());
    let (_, mut expired) = (0, robot("short"));
    expired.expires_at = Some(install.clock.now_plus(60));
    let (_, expired) = install.create(expired).await;
    install.clock.advance(Duration::from_mins(1));
    let (_, robots) = install.create(robot("ci")).await;
    let (_, hers) = install.create(personal("laptop")).await;
    let another = format!("{}0", &robots.expose_secret()[..robots.expose_secret().len() - 1]);
    let another_too = format!("{}1", &robots.expose_secret()[..robots.expose_secret().len() - 1]);
    let made_up = format!("entrepot_{}_{}", "0".repeat(24), "0".repeat(64));
    let alice = install.basic("alice", "alice's").await.unwrap();
    let refresh = install.authority.issue_refresh_token(&alice).await.unwrap().unwrap();
    let ours = install.issue(&alice, &[]).await;
    let rows = [
        ("alice", "wrong"),
        ("alice", ""),
        ("", ""),
        ("nobody", "alice's"),
        ("anonymous", ""),
        ("system", "system"),
        ("ALICE", "alice's"),
        ("robot:ci", "x"),
        ("token", "x"),
        ("old", revoked.expose_secret()),
        ("short", expired.expose_secret()),
        ("bob", hers.expose_secret()),
        ("alice", robots.expose_secret()),
        ("", robots.expose_secret()),
        ("token", &made_up),
        ("alice", refresh.expose_secret()),
        ("token", refresh.expose_secret()),
        ("alice", ours.expose_secret()),
        ("token", ours.expose_secret()),
    ];
    for (user, password) in rows {
        // Each from an address of its own, so that it is looked at.
        let attempt = Attempt {
            address: Some(std::net::Ipv6Addr::from(u128::from(rand()) << 64).into()),
            certificate: None,
            proof: Proof::Basic { user: user.to_owned(), password: password.into() },
        };
        let refused = install.authority.authenticate(attempt).await;
        assert_eq!(told(refused), "incorrect username or password", "{user} {password}");
    }
    let wrong = if robots.expose_secret().ends_with('0') { another_too } else { another };
    let texts = [revoked.expose_secret(), &wrong, &made_up, refresh.expose_secret(), "x", "", "a.b.c", "null"];
    for text in texts {
        assert_eq!(fault(install.bearer(&text.into()).await), TokenFault::Unknown, "{text}");
    }
    assert_eq!(fault(install.bearer(&expired).await), TokenFault::Expired);
    assert!(matches!(install.authority.refresh(&robots, None).await, Err(Refusal::WrongCredentials)));
    assert!(matches!(install.authority.refresh(&ours, None).await, Err(Refusal::WrongCredentials)));
}

fn rand() -> u64 {
    u64::from_str_radix(&uuid::Uuid::new_v4().simple().to_string()[..16], 16).unwrap()
}

#[tokio::test]
async fn a5_a_token_narrows_and_never_widens() {
    let install = Install::new().await;
    let alice = install.basic("alice", "alice's").await.unwrap();
    let all = ["repository:team/app:*", "repository:other/app:*", "registry:catalog:*"];
    let may = |caller: &Caller, action, name: &str| install.authority.decide(caller, action, &target(name));

    // What is written into a token beyond the rules is worth nothing.
    let wide = install.bearer(&install.issue(&alice, &all).await).await.unwrap();
    assert!(may(&wide, Action::Delete, "team/app").is_allowed());
    assert_eq!(may(&wide, Action::Pull, "other/app"), Verdict::Denied(Denial::NoRule));
    // What the rules allow beyond the token is not in it; administration never is.
    let narrow = install.bearer(&install.issue(&alice, &["repository:team/app:pull"]).await).await.unwrap();
    assert!(may(&narrow, Action::Pull, "team/app").is_allowed());
    for (action, name) in [(Action::Create, "team/app"), (Action::Pull, "team/other"), (Action::Admin, "team/app")] {
        assert_eq!(may(&narrow, action, name), Verdict::Denied(Denial::OutsideToken), "{action} {name}");
    }
    assert_eq!(may(&wide, Action::Admin, "team/app"), Verdict::Denied(Denial::OutsideToken));
    assert!(may(&alice, Action::Admin, "team/app").is_allowed());
    let empty = install.bearer(&install.issue(&alice, &[]).await).await.unwrap();
    assert_eq!(may(&empty, Action::Pull, "team/app"), Verdict::Denied(Denial::OutsideToken));

    // A token gets no token, and no refresh token.
    for caller in [&narrow, &wide] {
        assert!(matches!(install.authority.issue(caller, scopes(&all)).await, Err(Refusal::InvalidToken(_))));
        assert!(install.authority.issue_refresh_token(caller).await.unwrap().is_none());
    }
    assert!(install.authority.issue(&Caller::operator(), scopes(&all)).await.is_err());
}

#[tokio::test]
async fn a5_what_a_personal_token_is_made_for_holds_in_every_scheme_and_in_tokens_for_it() {
    let install = Install::new().await;
    let mut limited = personal("ci");
    limited.repositories = vec!["team/app*".to_owned()];
    limited.actions = vec!["pull".to_owned(), "create".to_owned()];
    let (_, token) = install.create(limited).await;
    let basic = install.basic("alice", token.expose_secret()).await.unwrap();
    let bearer = install.bearer(&token).await.unwrap();
    let all = ["repository:team/app:*", "repository:team/app-2:*", "repository:team/other:*", "registry:catalog:*"];
    let signed = install.bearer(&install.issue(&basic, &all).await).await.unwrap();
    for caller in [&basic, &bearer, &signed] {
        let may = |action, name: &str| install.authority.decide(caller, action, &target(name)).is_allowed();
        assert!(may(Action::Pull, "team/app") && may(Action::Create, "team/app-2"), "{caller:?}");
        for (action, name) in [
            (Action::Overwrite, "team/app"),
            (Action::Delete, "team/app"),
            (Action::Admin, "team/app"),
            (Action::Pull, "team/other"),
            (Action::Pull, "other/app"),
        ] {
            assert!(!may(action, name), "{action} {name} {caller:?}");
        }
        assert!(install.authority.issue_refresh_token(caller).await.unwrap().is_none());
    }
    // A robot's token with no rule for the robot opens nothing.
    let (_, token) = install.create(robot("ci")).await;
    let caller = install.bearer(&token).await.unwrap();
    assert!(install.authority.decide(&caller, Action::Pull, &target("team/app")).is_allowed());
    assert!(!install.authority.decide(&caller, Action::Create, &target("team/app")).is_allowed());
}

#[tokio::test]
async fn a_token_for_nobody_is_one_of_nobody() {
    let install = Install::new().await;
    let anonymous = install.prove(Proof::None).await.unwrap();
    let token = install.issue(&anonymous, &["repository:team/app:pull"]).await;
    let caller = install.bearer(&token).await.unwrap();
    assert_eq!((&caller.principal, caller.scheme), (&Principal::Anonymous, Scheme::Bearer));
    let verdict = install.authority.decide(&caller, Action::Pull, &target("team/app"));
    assert_eq!(verdict, Verdict::Denied(Denial::NoRule));
    assert!(install.authority.issue_refresh_token(&caller).await.unwrap().is_none());
}

#[tokio::test]
async fn an_open_authority_asks_nobody_and_signs_nothing() {
    let authority = Authority::open();
    let proof = Proof::Basic { user: "a".to_owned(), password: "b".into() };
    let caller = authority.authenticate(Attempt { address: None, certificate: None, proof }).await.unwrap();
    assert!(caller.principal.is_anonymous());
    assert!(authority.decide(&caller, Action::Delete, &target("a")).is_allowed());
    assert!(authority.service().is_none() && authority.credentials().is_none());
    assert!(authority.issue(&caller, scopes(&[])).await.is_err());
    assert!(authority.issue_refresh_token(&caller).await.unwrap().is_none());
    assert!(authority.refresh(&"x".into(), None).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a11_a_thousand_logins_at_once_with_one_password_cost_one_hash() {
    let install = Arc::new(Install::new().await);
    let logins: Vec<_> = (0..1000)
        .map(|_| {
            let install = Arc::clone(&install);
            #[expect(clippy::disallowed_methods, reason = "a test waits for all of them itself")]
            tokio::spawn(async move { install.basic("alice", "alice's").await.unwrap().principal.to_string() })
        })
        .collect();
    for login in logins {
        assert_eq!(login.await.unwrap(), "alice");
    }
    let page = install.page();
    assert!(page.contains("access_passwords_hashed_total 1\n"), "{page}");
    assert!(page.contains(r#"access_logins_total{scheme="basic",outcome="success"} 1000"#), "{page}");
}

#[tokio::test]
async fn wrong_passwords_slow_down_their_address_and_not_what_is_known_to_be_right() {
    let install = Install::new().await;
    let from = |address: &str, user: &str, password: &str| Attempt {
        address: Some(address.parse().unwrap()),
        certificate: None,
        proof: Proof::Basic { user: user.to_owned(), password: password.into() },
    };
    install.authority.authenticate(from("192.0.2.1", "alice", "alice's")).await.unwrap();
    for _ in 0..crate::limits::FAILURES_MAX {
        let refused = install.authority.authenticate(from("192.0.2.1", "bob", "wrong")).await;
        assert!(matches!(refused, Err(Refusal::WrongCredentials)));
    }
    let refused = install.authority.authenticate(from("192.0.2.1", "bob", "bob's")).await;
    assert!(matches!(refused, Err(Refusal::TooManyAttempts { .. })), "{refused:?}");
    install.authority.authenticate(from("192.0.2.1", "alice", "alice's")).await.unwrap();
    install.authority.authenticate(from("192.0.2.2", "bob", "bob's")).await.unwrap();
    // A token cannot be guessed, so it is not slowed down.
    let (_, token) = install.create(robot("ci")).await;
    install.authority.authenticate(from("192.0.2.1", "token", token.expose_secret())).await.unwrap();
    let page = install.page();
    assert!(page.contains("access_logins_throttled_total 1\n"), "{page}");
}
