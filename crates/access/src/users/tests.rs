//! Logins against a users file.

use std::time::{Duration, Instant};

use super::*;
use crate::limits::VERIFIED_LIFETIME;

fn secret(text: &str) -> SecretString {
    text.to_owned().into()
}

fn line(name: &str, password: &str) -> String {
    format!("{name}:{}\n", bcrypt::hash(password, 4).unwrap())
}

async fn logs_in(users: &Users, name: &str, password: &str) -> bool {
    let user = users.verify(name, &secret(password)).await.unwrap();
    assert!(user.as_ref().is_none_or(|user| user.as_str() == name));
    user.is_some()
}

#[tokio::test]
async fn a_user_has_his_own_password_and_nobody_elses() {
    let users = Users::parse(&(line("alice", "one") + &line("bob", "two"))).unwrap();
    for (name, password, is_let_in) in [
        ("alice", "one", true),
        ("alice", "two", false),
        ("alice", "", false),
        ("bob", "two", true),
        ("Bob", "two", false),
        ("mallory", "one", false),
        ("mallory", "two", false),
        ("", "one", false),
        ("system", "one", false),
    ] {
        assert_eq!(logs_in(&users, name, password).await, is_let_in, "{name} {password}");
    }
    let told = format!("{users:?}");
    assert!(told.contains("count: 2") && !told.contains('$'), "{told}");
    assert!(!logs_in(&Users::default(), "alice", "one").await);
}

#[tokio::test]
async fn a11_two_hundred_logins_with_one_password_cost_one_hash() {
    let users = Arc::new(Users::parse(&line("alice", "one")).unwrap());
    let mut logins = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let users = Arc::clone(&users);
        logins.spawn(async move { logs_in(&users, "alice", "one").await });
    }
    assert!(logins.join_all().await.into_iter().all(|is_let_in| is_let_in));
    for _ in 0..100 {
        assert!(logs_in(&users, "alice", "one").await);
    }
    assert_eq!(users.hashes(), 1);
}

#[tokio::test(start_paused = true)]
async fn a11_a_password_is_hashed_again_after_some_minutes_also_when_it_is_used_all_the_time() {
    let users = Users::parse(&line("alice", "one")).unwrap();
    assert_eq!(users.is_verified("alice", &secret("one")), None);
    for _ in 0..4 {
        assert!(logs_in(&users, "alice", "one").await);
        tokio::time::advance(VERIFIED_LIFETIME / 4).await;
    }
    assert_eq!((users.is_verified("alice", &secret("one")), users.hashes()), (None, 1));
    assert!(logs_in(&users, "alice", "one").await);
    assert_eq!(users.hashes(), 2);
    assert_eq!(users.is_verified("alice", &secret("one")).unwrap().as_str(), "alice");
    assert_eq!(users.is_verified("alice", &secret("two")), None);
    assert_eq!(users.is_verified("bob", &secret("one")), None);
}

#[tokio::test]
async fn a11_another_file_takes_away_the_old_password_at_once() {
    let users = Users::parse(&(line("alice", "one") + &line("bob", "two"))).unwrap();
    let name = "alice".parse().unwrap();
    let before = users.fingerprint(&name).unwrap();
    assert!(logs_in(&users, "alice", "one").await && logs_in(&users, "bob", "two").await);
    users.replace(&line("alice", "new")).unwrap();
    assert!(!logs_in(&users, "alice", "one").await && logs_in(&users, "alice", "new").await);
    assert!(!logs_in(&users, "bob", "two").await, "he is gone, and was known to be right");
    assert_ne!(users.fingerprint(&name).unwrap(), before);
    assert_eq!(users.fingerprint(&"bob".parse().unwrap()), None);
}

#[tokio::test]
async fn a12_a_file_with_a_bad_line_changes_nothing() {
    let users = Users::parse(&line("alice", "one")).unwrap();
    let error = users.replace(&(line("alice", "new") + "bob:$apr1$x$y\n")).unwrap_err();
    assert_eq!(error.line, 2);
    assert!(logs_in(&users, "alice", "one").await && !logs_in(&users, "alice", "new").await);
    let error = Users::text_of(b"alice:x\nbob:\xff\n").unwrap_err();
    assert_eq!(error.line, 2);
}

#[tokio::test]
async fn a12_a_longer_password_than_bcrypt_knows_is_refused_though_its_beginning_is_right() {
    let long = "x".repeat(72);
    let users = Users::parse(&line("alice", &long)).unwrap();
    assert!(logs_in(&users, "alice", &long).await);
    assert!(!logs_in(&users, "alice", &format!("{long}y")).await);
    assert!(!logs_in(&users, "alice", &format!("{long}y")).await);
}

#[tokio::test]
async fn a9_somebody_who_does_not_exist_takes_as_long_as_somebody_with_a_wrong_password() {
    let hash = bcrypt::hash("one", 9).unwrap();
    let users = Users::parse(&format!("alice:{hash}\n")).unwrap();
    let mut medians = Vec::new();
    for name in ["alice", "mallory", "no name at all"] {
        let mut times = Vec::new();
        for index in 0..7 {
            let start = Instant::now();
            assert!(!logs_in(&users, name, &format!("wrong {index}")).await);
            times.push(start.elapsed());
        }
        times.sort_unstable();
        medians.push(times[times.len() / 2]);
    }
    assert_eq!(users.hashes(), 21);
    let (shortest, longest) = (medians.iter().min().unwrap(), medians.iter().max().unwrap());
    assert!(*longest < *shortest * 2 + Duration::from_millis(15), "{medians:?}");
}

#[tokio::test]
async fn who_leaves_while_his_password_is_hashed_leaves_the_others_their_answer() {
    let users = Users::parse(&line("alice", "one")).unwrap();
    let password = secret("one");
    let mut first = Box::pin(users.verify("alice", &password));
    let second = users.verify("alice", &password);
    // On a slow machine the hash may be there already, and then nobody leaves too early.
    let _ = ready_at_once(&mut first).await;
    drop(first);
    assert!(second.await.unwrap().is_some());
    assert!(users.hashes() <= 2);
}

/// The output of a future that is ready at once.
async fn ready_at_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    tokio::select! {
        biased;
        output = future => Some(output),
        () = std::future::ready(()) => None,
    }
}
