//! Tokens that can be made, those that cannot, and what is kept of their use.

use std::time::Duration;

use super::*;
use crate::limits::{CREDENTIAL_NAME_BYTES_MAX, CREDENTIAL_PATTERN_BYTES_MAX, CREDENTIAL_PATTERNS_MAX};
use crate::testing::{Install, personal, robot};

fn stored(install: &Install) -> &StoredCredentials {
    install.authority.credentials().unwrap()
}

#[tokio::test]
async fn what_cannot_be_a_token_is_not_made() {
    let install = Install::new().await;
    let base = personal("name");
    let rows = [
        NewCredential { name: String::new(), ..base.clone() },
        NewCredential { name: "  ".to_owned(), ..base.clone() },
        NewCredential { name: "a\nb".to_owned(), ..base.clone() },
        NewCredential { name: "x".repeat(CREDENTIAL_NAME_BYTES_MAX + 1), ..base.clone() },
        NewCredential { principal: Principal::Robot("ci".into()), ..base.clone() },
        NewCredential { principal: Principal::Anonymous, ..base.clone() },
        NewCredential { principal: Principal::Operator, ..base.clone() },
        NewCredential { kind: CredentialKind::Refresh, ..base.clone() },
        NewCredential { kind: CredentialKind::Robot, ..base.clone() },
        NewCredential { principal: Principal::Robot("".into()), ..robot("ci") },
        NewCredential { principal: Principal::Robot("a\nb".into()), ..robot("ci") },
        NewCredential { repositories: vec!["[a".to_owned()], ..base.clone() },
        NewCredential { repositories: vec![String::new()], ..base.clone() },
        NewCredential { repositories: vec!["x".repeat(CREDENTIAL_PATTERN_BYTES_MAX + 1)], ..base.clone() },
        NewCredential { repositories: vec!["a".to_owned(); CREDENTIAL_PATTERNS_MAX + 1], ..base.clone() },
        NewCredential { actions: vec!["fly".to_owned()], ..base.clone() },
        NewCredential { expires_at: Some(install.clock.now()), ..base.clone() },
    ];
    for row in rows {
        let refused = stored(&install).create(row.clone()).await;
        assert!(matches!(refused, Err(CredentialError::Unusable { .. })), "{row:?} {refused:?}");
    }
    assert!(stored(&install).list(None, None, 10).await.unwrap().is_empty());
    assert!(stored(&install).create(base.clone()).await.unwrap().is_some());
    assert!(stored(&install).create(base).await.unwrap().is_none(), "there is one of this name");
}

#[tokio::test]
async fn nobody_has_more_tokens_than_the_limit() {
    let install = Install::new().await;
    let mut first = None;
    for number in 0..CREDENTIALS_PER_PRINCIPAL_MAX {
        let (id, _) = install.create(personal(&number.to_string())).await;
        first.get_or_insert(id);
    }
    let refused = stored(&install).create(personal("more")).await;
    assert!(matches!(refused, Err(CredentialError::TooMany { .. })));
    install.create(robot("ci")).await;
    assert!(stored(&install).revoke(&first.unwrap()).await.unwrap());
    install.create(personal("more")).await;
    let listed = stored(&install).list(None, None, 1000).await.unwrap();
    assert_eq!(listed.len(), CREDENTIALS_PER_PRINCIPAL_MAX + 1);
    // Pages are pages.
    let page = stored(&install).list(None, Some(listed[9].id.clone()), 20).await.unwrap();
    assert_eq!(page, listed[10..30]);
}

#[tokio::test]
async fn the_store_keeps_no_secret() {
    let install = Install::new().await;
    let (id, token) = install.create(personal("laptop")).await;
    let row = install.store_row(&id).await;
    let text = CredentialText::parse(&token).unwrap();
    assert!(text.is_secret_of(&row.secret_hash));
    assert_eq!(row.secret_hash, text.secret_hash());
    assert_eq!((row.principal.as_str(), row.name.as_str(), row.basis), ("alice", "laptop", None));
}

#[tokio::test]
async fn a_use_is_written_later_and_waits_while_the_store_does_not_answer() {
    let install = Install::new().await;
    let (id, token) = install.create(robot("ci")).await;
    install.clock.advance(Duration::from_secs(5));
    install.bearer(&token).await.unwrap();
    let used_at = Some(install.clock.now());
    assert_eq!(install.store_row(&id).await.used_at, None, "no login waits for a write");
    install.store.set_down(true);
    assert!(stored(&install).write_uses().await.is_err());
    install.store.set_down(false);
    stored(&install).write_uses().await.unwrap();
    assert_eq!(install.store_row(&id).await.used_at, used_at);
    assert!(stored(&install).waiting().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_another_replica_revokes_is_forgotten_when_it_says_so() {
    let install = Install::new().await;
    let other = StoredCredentials::new(install.store.clone(), install.clock.clone());
    let (id, token) = install.create(robot("ci")).await;
    let text = CredentialText::parse(&token).unwrap();
    other.verify(&text).await.unwrap();
    let listening = other.keep_listening();
    tokio::pin!(listening);
    assert!(futures_util::poll!(&mut listening).is_pending());
    assert!(stored(&install).revoke(&id).await.unwrap());
    // No time has passed, in which it would have been looked up again.
    other.verify(&text).await.unwrap();
    assert!(futures_util::poll!(&mut listening).is_pending());
    let refused = other.verify(&text).await;
    assert!(matches!(refused, Err(Refusal::InvalidToken(TokenFault::Unknown))), "{refused:?}");
}

#[test]
fn uses_that_wait_are_limited() {
    let mut waiting = HashMap::new();
    let at = Timestamp::from_milliseconds;
    for number in 0..=USES_WAITING_MAX {
        keep_use(&mut waiting, number.to_string(), at(1));
    }
    keep_use(&mut waiting, "0".to_owned(), at(3));
    keep_use(&mut waiting, "0".to_owned(), at(2));
    assert_eq!((waiting.len(), waiting["0"]), (USES_WAITING_MAX, at(3)));
}
