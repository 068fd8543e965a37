//! What must not be seen.

use super::*;
use crate::testing::Log;

#[tokio::test]
async fn a20_nothing_that_is_printed_or_logged_shows_a_secret() {
    let log = Log::begin();
    let install = Install::new().await;
    let mut printed = Vec::new();
    let alice = install.basic("alice", "alice's").await.unwrap();
    let (_, personal) = install.create(personal("laptop")).await;
    let (_, robots) = install.create(robot("ci")).await;
    let refresh = install.authority.issue_refresh_token(&alice).await.unwrap().unwrap();
    let account = entrepot_upstream::CallerCredentials {
        upstream: "ghcr.io".into(),
        user: "octocat".to_owned(),
        password: "octocat's".into(),
    };
    let principal = "upstream:ghcr.io:octocat".parse().unwrap();
    let octocat = Caller { upstream_credentials: Some(account), ..Caller::new(principal, Scheme::Basic, None) };
    let issued = install.authority.issue(&octocat, scopes(&["repository:proxy/ghcr.io/a:pull"])).await.unwrap();
    printed.push(format!("{issued:?} {octocat:?}"));
    let proofs = [
        ("alice", "hunter2"),
        ("nobody", "hunter2"),
        ("alice", personal.expose_secret()),
        ("bob", personal.expose_secret()),
        ("token", robots.expose_secret()),
        ("alice", refresh.expose_secret()),
        ("alice", issued.token.expose_secret()),
    ];
    for (user, password) in proofs {
        let proof = Proof::Basic { user: user.to_owned(), password: password.into() };
        let attempt = Attempt { address: None, certificate: None, proof };
        printed.push(format!("{attempt:?}"));
        printed.push(format!("{:?}", install.authority.authenticate(attempt).await));
    }
    for token in [&personal, &robots, &refresh, &issued.token, &"hunter2".into()] {
        let proof = Proof::Bearer(token.clone());
        printed.push(format!("{proof:?}"));
        printed.push(format!("{:?}", install.prove(proof).await));
        printed.push(format!("{:?}", install.authority.refresh(token, None).await));
    }
    install.store.set_down(true);
    printed.push(format!("{:?}", install.bearer(&robots).await));
    install.store.set_down(false);
    install.authority.write_uses().await;
    printed.push(format!(
        "{:?} {:?}",
        install.authority,
        install.authority.credentials().unwrap().list(None, None, 10).await
    ));
    printed.push(install.page());
    printed.push(log.text());
    let keys = entrepot_metadata::MetadataStore::signing_keys(&*install.store).await.unwrap();
    printed.push(format!("{keys:?}"));

    let secret_of = |token: &SecretString| token.expose_secret().rsplit('_').next().unwrap().to_owned();
    let key = keys[0].secret.iter().map(u8::to_string).collect::<Vec<_>>();
    let mut secrets = vec!["hunter2".to_owned(), "alice's".to_owned(), "octocat's".to_owned(), key[16..20].join(", ")];
    secrets.extend([&personal, &robots, &refresh].map(secret_of));
    secrets.push(issued.token.expose_secret().rsplit('.').next().unwrap().to_owned());
    for secret in secrets {
        for text in &printed {
            assert!(!text.contains(&secret), "{secret} in {text}");
        }
    }
    assert!(log.text().contains("refused"), "there is something in the log: {}", log.text());
}

#[tokio::test]
async fn a13_nobody_is_let_in_before_somebody_was_added() {
    let install = Install::new().await;
    install.authority.replace_users("").unwrap();
    let names = ["admin", "root", "entrepot", "user", "test", "anonymous", "operator", "token", "robot:entrepot", ""];
    for (number, name) in names.iter().enumerate() {
        for password in ["admin", "password", "Harbor12345", "entrepot", "changeme", "", *name] {
            let attempt = Attempt {
                address: Some(std::net::Ipv4Addr::from_bits(u32::try_from(number).unwrap()).into()),
                certificate: None,
                proof: Proof::Basic { user: (*name).to_owned(), password: password.into() },
            };
            let refused = install.authority.authenticate(attempt).await;
            assert!(matches!(refused, Err(Refusal::WrongCredentials)), "{name} {password}: {refused:?}");
        }
    }
    assert!(install.authority.credentials().unwrap().list(None, None, 10).await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_store_that_does_not_answer_has_refused_nobody() {
    let install = Install::new().await;
    let (_, robots) = install.create(robot("ci")).await;
    let token = install.issue(&install.bearer(&robots).await.unwrap(), &["repository:team/app:pull"]).await;
    let alice = install.basic("alice", "alice's").await.unwrap();
    let of_alice = install.issue(&alice, &[]).await;
    let refresh = install.authority.issue_refresh_token(&alice).await.unwrap().unwrap();
    tokio::time::advance(crate::limits::CREDENTIAL_BELIEVED).await;
    install.store.set_down(true);
    let is_unavailable = |result: Result<Caller, Refusal>| matches!(result, Err(Refusal::Unavailable { .. }));
    assert!(is_unavailable(install.bearer(&robots).await));
    assert!(is_unavailable(install.basic("token", robots.expose_secret()).await));
    assert!(is_unavailable(install.bearer(&token).await));
    assert!(is_unavailable(install.authority.refresh(&refresh, None).await));
    let refused = install.authority.issue_refresh_token(&alice).await;
    assert!(matches!(refused, Err(Refusal::Unavailable { .. })));
    // What needs no store goes on.
    assert!(install.bearer(&of_alice).await.is_ok());
    assert!(install.basic("alice", "alice's").await.is_ok());
    install.store.set_down(false);
    assert!(install.bearer(&robots).await.is_ok() && install.bearer(&token).await.is_ok());
}
