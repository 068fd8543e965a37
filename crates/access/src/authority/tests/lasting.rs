//! How long what somebody was given is good, when he himself is not any more.

use super::*;
use crate::limits::{CREDENTIAL_BELIEVED, CREDENTIALS_PER_PRINCIPAL_MAX, REFRESH_TOKEN_UNUSED_MAX};
use crate::rules::Rule;

fn rules(rule: Rule) -> Rules {
    Rules::new(Anonymous::None, vec![], vec![rule])
}

#[tokio::test]
async fn a4_a_user_who_is_removed_or_has_another_password_loses_all_that_stands_on_it() {
    let install = Install::new().await;
    let alice = install.basic("alice", "alice's").await.unwrap();
    let token = install.issue(&alice, &["repository:team/app:pull"]).await;
    let refresh = install.authority.issue_refresh_token(&alice).await.unwrap().unwrap();
    let (_, personal) = install.create(personal("laptop")).await;
    let of_personal = install.bearer(&personal).await.unwrap();
    let of_personal = install.issue(&of_personal, &["repository:team/app:pull"]).await;
    let good = async |token| install.bearer(token).await.is_ok();
    assert!(good(&token).await && good(&personal).await && good(&of_personal).await);
    assert!(install.authority.refresh(&refresh, None).await.is_ok());

    // The same users again take nothing from anybody, as long as the hashes are the same.
    let text = users(&["alice", "bob"]);
    install.authority.replace_users(&text).unwrap();
    assert_eq!(fault(install.bearer(&token).await), TokenFault::Revoked, "the same password, and another hash");
    assert!(matches!(install.authority.refresh(&refresh, None).await, Err(Refusal::WrongCredentials)));
    assert!(
        good(&personal).await && good(&of_personal).await,
        "a personal token stands with its user, not with his password"
    );
    let alice = install.basic("alice", "alice's").await.unwrap();
    let token = install.issue(&alice, &["repository:team/app:pull"]).await;
    install.authority.replace_users(&format!("# a comment\n{text}")).unwrap();
    assert!(good(&token).await);

    install.authority.replace_users(&users(&["bob"])).unwrap();
    assert_eq!(fault(install.bearer(&token).await), TokenFault::Revoked);
    assert_eq!(fault(install.bearer(&of_personal).await), TokenFault::Revoked);
    assert_eq!(fault(install.bearer(&personal).await), TokenFault::Unknown);
    assert!(matches!(install.basic("alice", personal.expose_secret()).await, Err(Refusal::WrongCredentials)));
    assert!(matches!(install.basic("alice", "alice's").await, Err(Refusal::WrongCredentials)));
    // Somebody who is known no more gets nothing new either.
    assert!(matches!(install.authority.issue(&alice, scopes(&[])).await, Err(Refusal::WrongCredentials)));
    assert!(matches!(install.authority.issue_refresh_token(&alice).await, Err(Refusal::WrongCredentials)));
}

#[tokio::test(start_paused = true)]
async fn a4_a_token_that_is_revoked_takes_along_what_was_issued_for_it() {
    let install = Install::new().await;
    let replica = install.replica(rules(rule("all", "robot:*", "**", Actions::ALL))).await;
    let (id, robots) = install.create(robot("ci")).await;
    let caller = install.bearer(&robots).await.unwrap();
    let token = install.issue(&caller, &["repository:team/app:pull"]).await;
    assert!(install.bearer(&token).await.is_ok() && replica.bearer(&token).await.is_ok());
    assert!(install.authority.credentials().unwrap().revoke(&id).await.unwrap());
    assert!(!install.authority.credentials().unwrap().revoke(&id).await.unwrap());
    assert_eq!(fault(install.bearer(&token).await), TokenFault::Revoked, "at once");
    assert_eq!(fault(install.bearer(&robots).await), TokenFault::Unknown);
    tokio::time::advance(CREDENTIAL_BELIEVED).await;
    assert_eq!(fault(replica.bearer(&token).await), TokenFault::Revoked, "within seconds");
    assert_eq!(fault(replica.bearer(&robots).await), TokenFault::Unknown);
}

#[tokio::test]
async fn a4_a_token_of_a_robot_that_expires_ends_what_was_issued_for_it() {
    let install = Install::new().await;
    let mut short = robot("ci");
    short.expires_at = Some(install.clock.now_plus(100));
    let (_, robots) = install.create(short).await;
    let caller = install.bearer(&robots).await.unwrap();
    let token = install.issue(&caller, &["repository:team/app:pull"]).await;
    install.clock.advance(Duration::from_secs(99));
    assert!(install.bearer(&token).await.is_ok());
    install.clock.advance(Duration::from_secs(1));
    assert_eq!(fault(install.bearer(&token).await), TokenFault::Revoked);
}

#[tokio::test]
async fn a4_the_rules_are_asked_again_at_each_use() {
    let install = Install::new().await;
    let alice = install.basic("alice", "alice's").await.unwrap();
    let token = install.issue(&alice, &["repository:team/app:*"]).await;
    let caller = install.bearer(&token).await.unwrap();
    let may = |authority: &Authority, caller: &Caller, action| {
        authority.decide(caller, action, &target("team/app")).is_allowed()
    };
    assert!(may(&install.authority, &caller, Action::Pull) && may(&install.authority, &caller, Action::Delete));
    // The same keys, a later configuration: alice may less, and so does her token.
    let less = rule("less", "alice", "team/*", Actions::parse("pull").unwrap());
    let later = install.replica(rules(less)).await;
    // Her password is hashed anew there, which is another matter.
    let alice = later.basic("alice", "alice's").await.unwrap();
    let token = later.issue(&alice, &["repository:team/app:*"]).await;
    let caller = later.bearer(&token).await.unwrap();
    assert!(may(&later.authority, &caller, Action::Pull) && !may(&later.authority, &caller, Action::Delete));
    let none = Rules::new(Anonymous::None, vec![], vec![]);
    let stricter = install.replica(none).await;
    assert!(!may(&stricter.authority, &caller, Action::Pull));
}

#[tokio::test]
async fn a_token_that_has_just_expired_goes_on_with_uploads_and_is_good_for_nothing_else() {
    let install = Install::new().await;
    let alice = install.basic("alice", "alice's").await.unwrap();
    let token = install.issue(&alice, &["repository:team/app:pull,push"]).await;
    install.clock.advance(Duration::from_hours(1));
    let caller = install.bearer(&token).await.unwrap();
    assert!(caller.is_expired && caller.principal == alice.principal);
    let verdict = install.authority.decide(&caller, Action::Create, &target("team/app"));
    assert_eq!(verdict, Verdict::Denied(Denial::Expired));
    assert!(install.authority.issue(&caller, scopes(&[])).await.is_err());
    let (id, robots) = install.create(robot("ci")).await;
    let of_robot = install.issue(&install.bearer(&robots).await.unwrap(), &["repository:team/app:pull"]).await;
    install.clock.advance(Duration::from_hours(1));
    assert!(install.bearer(&of_robot).await.unwrap().is_expired);
    install.authority.credentials().unwrap().revoke(&id).await.unwrap();
    assert_eq!(fault(install.bearer(&of_robot).await), TokenFault::Revoked, "otherwise good, or not at all");
    install.clock.advance(Duration::from_hours(11));
    assert_eq!(fault(install.bearer(&token).await), TokenFault::Expired);
    assert!(install.page().contains(r#"access_tokens_refused_total{fault="expired"} 1"#));
}

#[tokio::test(start_paused = true)]
async fn a_refresh_token_lives_for_as_long_as_it_is_used() {
    let install = Install::new().await;
    let alice = install.basic("alice", "alice's").await.unwrap();
    let refresh = install.authority.issue_refresh_token(&alice).await.unwrap().unwrap();
    let caller = install.authority.refresh(&refresh, None).await.unwrap();
    assert_eq!((&caller.principal, caller.scheme), (&alice.principal, Scheme::Basic));
    assert!(install.bearer(&install.issue(&caller, &[]).await).await.is_ok());
    for _ in 0..3 {
        install.clock.advance(REFRESH_TOKEN_UNUSED_MAX);
        install.authority.refresh(&refresh, None).await.unwrap();
        install.authority.write_uses().await;
        tokio::time::advance(CREDENTIAL_BELIEVED).await;
    }
    install.clock.advance(REFRESH_TOKEN_UNUSED_MAX + Duration::from_millis(1));
    assert!(matches!(install.authority.refresh(&refresh, None).await, Err(Refusal::WrongCredentials)));
}

#[tokio::test]
async fn of_too_many_refresh_tokens_the_one_that_is_used_least_ends() {
    let install = Install::new().await;
    let alice = install.basic("alice", "alice's").await.unwrap();
    let mut tokens = Vec::new();
    for _ in 0..=CREDENTIALS_PER_PRINCIPAL_MAX {
        install.clock.advance(Duration::from_secs(1));
        tokens.push(install.authority.issue_refresh_token(&alice).await.unwrap().unwrap());
        if tokens.len() == 10 {
            install.authority.refresh(&tokens[0], None).await.unwrap();
            install.authority.write_uses().await;
        }
    }
    let is_good = async |token: &SecretString| install.authority.refresh(token, None).await.is_ok();
    assert!(is_good(&tokens[0]).await && !is_good(&tokens[1]).await && is_good(&tokens[2]).await);
    // They are not in the way of tokens that somebody makes, nor listed with them.
    let (id, _) = install.create(personal("laptop")).await;
    let listed = install.authority.credentials().unwrap().list(Some(&alice.principal), None, 10).await.unwrap();
    assert_eq!(listed.iter().map(|row| &row.id).collect::<Vec<_>>(), [&id]);
}

#[tokio::test]
async fn what_has_ended_is_swept() {
    let install = Install::new().await;
    let mut short = robot("short");
    short.expires_at = Some(install.clock.now_plus(1));
    install.create(short).await;
    let (long, token) = install.create(robot("long")).await;
    let alice = install.basic("alice", "alice's").await.unwrap();
    install.authority.issue_refresh_token(&alice).await.unwrap();
    install.clock.advance(REFRESH_TOKEN_UNUSED_MAX + Duration::from_secs(1));
    install.bearer(&token).await.unwrap();
    let parts = install.authority.parts.as_ref().unwrap();
    parts.look_after(false).await;
    assert_eq!(install.all_rows().await.len(), 3);
    parts.look_after(true).await;
    let left = install.all_rows().await;
    assert_eq!(left.iter().map(|row| &row.id).collect::<Vec<_>>(), [&long]);
    assert_eq!(left[0].used_at, Some(entrepot_metadata::Clock::now(&*install.clock)));
    // A store that does not answer ends no upkeep.
    install.store.set_down(true);
    parts.look_after(true).await;
}
