//! Users and their passwords, from the command that adds one to the request that comes with it.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::{Value, json};

use crate::support::client;

/// Runs the program with something on its standard input.
fn run(folder: &Path, words: &str, input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_entrepot"))
        .args(words.split_whitespace())
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that wants no input may be gone before it is written.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn told(folder: &Path, words: &str, input: &str) -> String {
    let output = run(folder, words, input);
    assert_eq!(output.status.code(), Some(0), "{words}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn refused(folder: &Path, words: &str, input: &str) -> String {
    let output = run(folder, words, input);
    assert_eq!(output.status.code(), Some(1), "{words}: {output:?}");
    assert!(output.stdout.is_empty(), "{words}: {output:?}");
    String::from_utf8(output.stderr).unwrap()
}

pub(crate) fn add(folder: &Path, name: &str, password: &str) -> String {
    told(folder, &format!("user add {name} --password-stdin"), &format!("{password}\n"))
}

fn users(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("users.htpasswd")).unwrap()
}

#[test]
fn users_are_added_changed_listed_and_removed_without_a_server() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let first = add(folder, "alice", "correct horse");
    assert!(first.contains("alice is added") && first.contains("[access]\nanonymous"), "{first}");
    std::fs::write(folder.join("configuration.toml"), "[access]\nanonymous = \"pull\"\n").unwrap();
    let second = add(folder, "bob", "battery");
    assert!(second.contains("bob is added") && !second.contains("[access]"), "{second}");
    let before = users(folder);
    assert_eq!(before.lines().map(|line| line.split(':').next().unwrap()).collect::<Vec<_>>(), ["alice", "bob"]);
    assert!(before.lines().all(|line| line.contains(":$argon2id$")), "{before}");

    let told_again = refused(folder, "user add alice --password-stdin", "other");
    assert!(told_again.contains("alice is in") && told_again.contains("user passwd alice"), "{told_again}");
    let unknown = refused(folder, "user passwd carol --password-stdin", "other");
    assert!(unknown.contains("carol is not in") && unknown.contains("user add carol"), "{unknown}");
    assert!(refused(folder, "user rm carol", "").contains("carol is not in"));
    for (password, why) in [("", "empty"), ("a\nb\n", "control"), (&*"x".repeat(2000), "longer")] {
        let told = refused(folder, "user passwd bob --password-stdin", password);
        assert!(told.contains(why), "{told}");
    }
    assert_eq!(users(folder), before, "what was refused has changed nothing");

    told(folder, "user passwd alice --password-stdin", "new");
    let lines: Vec<_> = before.lines().map(str::to_owned).collect();
    let after = users(folder);
    assert!(after.lines().next().unwrap() != lines[0] && after.lines().nth(1).unwrap() == lines[1], "{after}");
    assert_eq!(told(folder, "user ls", ""), "NAME   PASSWORD\nalice  argon2id\nbob    argon2id\n");
    let listed: Vec<Value> =
        told(folder, "user ls --json", "").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(listed[0], json!({ "name": "alice", "hash": "argon2id", "problem": null }));
    assert!(told(folder, "user rm alice", "").contains("alice is removed"));
    assert_eq!(users(folder), format!("{}\n", lines[1]));
}

#[test]
fn a12_a_file_with_a_bad_line_can_be_listed_and_put_right() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::write(folder.join("configuration.toml"), "[access]\nusers_file = \"team\"\n").unwrap();
    std::fs::write(folder.join("team"), "# the team\nalice:$apr1$x$y\n").unwrap();
    let listed = told(folder, "user ls", "");
    assert!(listed.contains("alice  refused") && listed.contains("line 2") && listed.contains("$apr1$"), "{listed}");
    let added = add(folder, "bob", "battery");
    assert!(added.contains("refuses this file") && added.contains("line 2"), "{added}");
    let check = run(folder, "check --offline", "");
    assert!(String::from_utf8(check.stdout).unwrap().contains("cannot be used: line 2"));
    let put_right = told(folder, "user passwd alice --password-stdin", "horse");
    assert!(!put_right.contains("refuses"), "{put_right}");
    let text = std::fs::read_to_string(folder.join("team")).unwrap();
    assert!(text.starts_with("# the team\nalice:$argon2id$") && !folder.join("users.htpasswd").try_exists().unwrap());
}

#[test]
fn a_password_is_never_an_argument_and_a_script_is_told_how_to_give_it() {
    let folder = tempfile::tempdir().unwrap();
    let told = refused(folder.path(), "user add alice", "secret\n");
    assert!(told.contains("--password-stdin"), "{told}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// A terminal with somebody at it.
struct Terminal {
    screen: File,
    shown: String,
}

impl Terminal {
    fn start(folder: &Path, words: &str) -> (Self, Child) {
        let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&controller).unwrap();
        unlockpt(&controller).unwrap();
        let name = ptsname(&controller, Vec::new()).unwrap().into_string().unwrap();
        let terminal = File::options().read(true).write(true).open(name).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_entrepot"))
            .args(words.split_whitespace())
            .current_dir(folder)
            .stdin(terminal.try_clone().unwrap())
            .stdout(terminal.try_clone().unwrap())
            .stderr(terminal)
            .spawn()
            .unwrap();
        (Self { screen: File::from(controller), shown: String::new() }, child)
    }

    /// Waits until something is on the screen, and answers it.
    fn answer(&mut self, question: &str, answer: &str) {
        while !self.shown.contains(question) {
            let mut bytes = [0; 1024];
            let count = self.screen.read(&mut bytes).unwrap();
            self.shown.push_str(str::from_utf8(&bytes[..count]).unwrap());
        }
        self.screen.write_all(answer.as_bytes()).unwrap();
    }
}

#[test]
fn a_terminal_is_asked_twice_and_does_not_show_the_password() {
    let folder = tempfile::tempdir().unwrap();
    for (second, code) in [("mistyped\n", 1), ("tell nobody\n", 0)] {
        let (mut terminal, mut child) = Terminal::start(folder.path(), "user add alice");
        terminal.answer("new password for alice: ", "tell nobody\n");
        terminal.answer("once more: ", second);
        terminal.answer(if code == 0 { "alice is added" } else { "differ" }, "");
        assert_eq!(child.wait().unwrap().code(), Some(code), "{}", terminal.shown);
        assert!(!terminal.shown.contains("tell") && !terminal.shown.contains("mistyped"), "{}", terminal.shown);
    }
    assert!(users(folder.path()).starts_with("alice:"));
}

/// A server that runs until it is dropped.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    async fn start(folder: &Path) -> Self {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let configuration = format!(
            "[server]\nlisten = \"{address}\"\n[telemetry]\nmetrics_listen = \"off\"\n[access]\nanonymous = \"none\"\n\
             [[access.rule]]\nprincipals = [\"authenticated\"]\nactions = [\"pull\"]\n"
        );
        std::fs::write(folder.join("configuration.toml"), configuration).unwrap();
        let log = File::create(folder.join("log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_entrepot"))
            .current_dir(folder)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let server = Self { child, address };
        let deadline = Instant::now() + Duration::from_secs(30);
        while client().get(format!("http://{address}/v2/")).send().await.is_err() {
            assert!(Instant::now() < deadline, "it did not start");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        server
    }

    async fn login(&self, password: &str) -> StatusCode {
        let url = format!("http://{}/v2/", self.address);
        client().get(url).basic_auth("alice", Some(password)).send().await.unwrap().status()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until the log says it, at most two seconds.
async fn logged(folder: &Path, what: &str) -> String {
    let deadline = Instant::now() + Duration::from_secs(2);
    loop {
        let log = std::fs::read_to_string(folder.join("log")).unwrap();
        if log.contains(what) {
            return log;
        }
        assert!(Instant::now() < deadline, "not within two seconds: {what}\n{log}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a11_a12_a_changed_users_file_holds_within_two_seconds_and_a_bad_one_never() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    add(folder, "alice", "pa55-one");
    let server = Server::start(folder).await;
    assert_eq!(
        (server.login("pa55-one").await, server.login("pa55-two").await),
        (StatusCode::OK, StatusCode::UNAUTHORIZED)
    );

    told(folder, "user passwd alice --password-stdin", "pa55-two");
    logged(folder, "a watched file has changed").await;
    assert_eq!(
        (server.login("pa55-one").await, server.login("pa55-two").await),
        (StatusCode::UNAUTHORIZED, StatusCode::OK)
    );

    let good = users(folder);
    std::fs::write(folder.join("users.htpasswd"), format!("{good}bob:$apr1$x$yyyyyy\n")).unwrap();
    let log = logged(folder, "a watched file was refused").await;
    assert!(log.contains("line 2 has for bob an MD5 hash"), "{log}");
    assert_eq!(server.login("pa55-two").await, StatusCode::OK);
    std::fs::remove_file(folder.join("users.htpasswd")).unwrap();
    let log = logged(folder, "a watched file cannot be read").await;
    assert_eq!(server.login("pa55-two").await, StatusCode::OK);
    for secret in ["pa55-one", "pa55-two", "yyyyyy", "$argon2id$"] {
        assert!(!log.contains(secret), "{secret}: {log}");
    }
}
