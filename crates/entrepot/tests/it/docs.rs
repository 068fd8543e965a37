//! What the README and the pages tell people to write and to run works, and the pages that repeat the code are those of the code.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use clap::{CommandFactory, Parser, ValueEnum};
use entrepot::config::{Configuration, Surroundings};
use entrepot::{ClientConfigArguments, ClientKind, Command, CommandLine, Outcome, Screen};
use entrepot_oci::ErrorCode;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The blocks of a language in the README.
fn blocks(language: &str) -> Vec<String> {
    blocks_of(&std::fs::read_to_string(root().join("README.md")).unwrap(), language)
}

fn blocks_of(page: &str, language: &str) -> Vec<String> {
    let opening = format!("```{language}\n");
    page.split(&opening).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

/// The README and the pages below `docs/`.
fn pages() -> Vec<PathBuf> {
    let mut pages = vec![root().join("README.md")];
    for folder in ["docs", "docs/clients"] {
        let entries = std::fs::read_dir(root().join(folder)).unwrap();
        pages.extend(entries.map(|entry| entry.unwrap().path()).filter(|path| path.extension() == Some("md".as_ref())));
    }
    pages.sort();
    pages
}

/// Compares a page with what the code makes of it, or writes that where it was asked for.
fn must_be(path: &Path, page: &str) {
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, page).unwrap();
    }
    let found = std::fs::read_to_string(path).unwrap_or_default();
    assert!(found == page, "{} is out of date: run the tests with UPDATE_DOCS=1", path.display());
}

#[test]
fn every_configuration_in_the_readme_and_the_page_about_buckets_is_accepted() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("registry.corp.password"), "secret\n").unwrap();
    let surroundings = Surroundings { working_folder: folder.path(), environment: &|_| None };
    let readme = blocks("toml");
    assert_eq!(readme.len(), 4);
    let page = std::fs::read_to_string(root().join("docs/object-storage.md")).unwrap();
    let page = blocks_of(&page, "toml");
    assert_eq!(page.len(), 1);
    for block in readme.into_iter().chain(page) {
        let file = folder.path().join("configuration.toml");
        std::fs::write(&file, &block).unwrap();
        let configuration = Configuration::load(None, &surroundings);
        assert!(configuration.is_ok(), "{block}\n{}", configuration.unwrap_err());
    }
}

#[test]
fn every_configuration_in_the_recipes_is_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let pem = |name: &str, kind: &str| {
        let text = format!("-----BEGIN {kind}-----\n");
        std::fs::write(folder.path().join(name), text).unwrap();
    };
    pem("registry.example.org.pem", "CERTIFICATE");
    pem("registry.example.org.key", "PRIVATE KEY");
    let surroundings = Surroundings { working_folder: folder.path(), environment: &|_| None };
    for recipe in ["ci", "home-server", "team"] {
        let page = std::fs::read_to_string(root().join(format!("docs/recipes/{recipe}.md"))).unwrap();
        let blocks = blocks_of(&page, "toml");
        assert!(!blocks.is_empty(), "{recipe}");
        let block = blocks[0].replace("/etc/ssl/private/", "").replace("/etc/ssl/", "");
        std::fs::write(folder.path().join("configuration.toml"), &block).unwrap();
        let configuration = Configuration::load(None, &surroundings);
        assert!(configuration.is_ok(), "{block}\n{}", configuration.unwrap_err());
    }
}

#[test]
fn the_three_keys_of_the_readme_are_the_defaults() {
    let folder = tempfile::tempdir().unwrap();
    let surroundings = Surroundings { working_folder: folder.path(), environment: &|_| None };
    let folders = |configuration: Configuration| {
        (configuration.registry_storage, configuration.temporary_registry_storage, configuration.proxy_storage)
    };
    let defaults = folders(Configuration::load(None, &surroundings).unwrap());
    std::fs::write(folder.path().join("configuration.toml"), &blocks("toml")[0]).unwrap();
    assert_eq!(folders(Configuration::load(None, &surroundings).unwrap()), defaults);
}

#[test]
fn the_test_command_of_the_readme_is_what_the_judge_calls() {
    let command = "tests/run";
    assert!(blocks("sh").iter().any(|block| block.trim() == command));
    assert!(std::fs::read_to_string(root().join(".ci/run")).unwrap().contains(command));
}

#[test]
fn every_command_in_the_readme_and_the_pages_exists() {
    let mut commands = 0;
    for path in pages() {
        let page = std::fs::read_to_string(&path).unwrap();
        for block in blocks_of(&page, "sh") {
            for line in block.lines().filter(|line| line.split_whitespace().next() == Some("entrepot")) {
                let words = line.split_once(" #").map_or(line, |(words, _comment)| words);
                let parsed = CommandLine::try_parse_from(words.split_whitespace());
                assert!(parsed.is_ok(), "{}: {line}\n{}", path.display(), parsed.unwrap_err());
                commands += 1;
            }
        }
    }
    assert!(commands > 10, "{commands}");
}

#[tokio::test]
async fn the_pages_of_the_clients_have_the_files_that_the_command_writes() {
    for client in ClientKind::value_variants() {
        let name = client.to_possible_value().unwrap().get_name().to_owned();
        let path = root().join(format!("docs/clients/{name}.md"));
        let page = std::fs::read_to_string(&path).unwrap();
        let (opening, end) = (format!("<!-- entrepot client-config {name} -->\n"), "<!-- end -->");
        let (before, rest) = page.split_once(&opening).expect(&name);
        let (_, after) = rest.split_once(end).expect(&name);
        // The page of docker speaks of one setting of the server.
        let setting = if *client == ClientKind::Docker { "[proxy]\nroot_mirror = \"docker.io\"\n" } else { "" };
        assert!(before.contains(setting), "{name}");
        must_be(&path, &format!("{before}{opening}\n{}{end}{after}", files(*client, setting).await));
    }
}

/// The files of a client, each in a block below its path.
async fn files(client: ClientKind, setting: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("configuration.toml"), setting).unwrap();
    let surroundings = Surroundings { working_folder: folder.path(), environment: &|_| None };
    let configuration = Configuration::load(None, &surroundings).unwrap();
    let written = folder.path().join("written");
    let server = Some("registry.example:5000".parse().unwrap());
    let command = Command::ClientConfig(ClientConfigArguments { client, server, write: Some(written.clone()) });
    let mut out = Vec::new();
    let mut screen = Screen { out: &mut out, is_terminal: false };
    assert_eq!(entrepot::run(&command, &configuration, &mut screen).await.unwrap(), Outcome::Well);
    let mut text = String::new();
    for path in String::from_utf8(out).unwrap().lines() {
        let content = std::fs::read_to_string(path).unwrap();
        let there = path.strip_prefix(written.to_str().unwrap()).unwrap();
        let language = match there.rsplit_once('.').unwrap().1 {
            "conf" => "toml",
            extension => extension,
        };
        write!(text, "`{there}`\n\n```{language}\n{content}```\n\n").unwrap();
    }
    text
}

#[test]
fn every_test_that_the_page_of_threats_names_exists() {
    let mut code = String::new();
    read_rust(&root().join("crates"), &mut code);
    let page = std::fs::read_to_string(root().join("docs/security.md")).unwrap();
    // Names of tests are sentences, and nothing else in the page is as long.
    let is_sentence = |text: &&str| {
        text.matches('_').count() > 2 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    let named: Vec<&str> = page.split('`').skip(1).step_by(2).filter(is_sentence).collect();
    assert!(named.len() > 100, "{}", named.len());
    for name in named {
        assert!(code.contains(&format!("fn {name}()")), "docs/security.md names {name}, which is no test");
    }
}

/// All of the code below a folder.
fn read_rust(folder: &Path, code: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let path = entry.path();
        if entry.file_type().unwrap().is_dir() {
            read_rust(&path, code);
        } else if path.extension() == Some("rs".as_ref()) {
            code.push_str(&std::fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn the_page_of_error_codes_is_that_of_the_code() {
    let mut page = "\
# Error codes

A failed request is answered with `{\"errors\":[{\"code\":…,\"message\":…,\"detail\":…}]}`. The message says what happened, to which name, and what
to do next, and ends with the id of the request, as `X-Request-Id` does: it finds the line of the log that has the cause. An answer to HEAD
has no body: its status says it all.

The status is the usual one of the code. Another one is more exact at times: 413 for content that is too large, 416 for a chunk that does
not continue its upload, 502 and 504 for an upstream that failed or was silent, 507 for a full disk, 508 for caches that ask each other in a circle.

| code | status | meaning |
| --- | --- | --- |
"
    .to_owned();
    for code in ErrorCode::ALL {
        writeln!(page, "| `{code}` | {} | {} |", code.status(), code.meaning()).unwrap();
    }
    must_be(&root().join("docs/errors.md"), &page);
}

#[test]
fn the_page_of_the_command_line_is_what_help_says() {
    let mut page = "\
# Command line

What `entrepot help` and `entrepot COMMAND --help` say. The commands about the cache are answered by the server that runs, over
the socket in its `registry_storage` (with object storage in its `temporary_registry_storage`) that its user alone can open, or by the one at `--server`, which is shown the token in the environment variable
`ENTREPOT_TOKEN`; when none runs, they open the storage folders themselves. A command ends with 0 when
all is well, and with 1 when it failed or found a failure.
"
    .to_owned();
    // The width would be that of the terminal otherwise.
    let mut program = <CommandLine as CommandFactory>::command().term_width(100);
    program.build();
    write_help(&mut page, &mut program, "##");
    must_be(&root().join("docs/command-line.md"), &page);
}

/// The help of a command, then that of the commands in it.
fn write_help(page: &mut String, command: &mut clap::Command, heading: &str) {
    let name = command.get_bin_name().unwrap_or_else(|| command.get_name()).to_owned();
    let help = command.render_long_help().to_string();
    let help: String = help.lines().flat_map(|line| [line.trim_end(), "\n"]).collect();
    write!(page, "\n{heading} `{name}`\n\n```text\n{}\n```\n", help.trim_end()).unwrap();
    for inner in command.get_subcommands_mut().filter(|inner| inner.get_name() != "help") {
        write_help(page, inner, "##");
    }
}
