//! Starting as a new user does: what works without words, and what is refused in clear ones.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Runs the program where it must end by itself.
fn ended(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_entrepot"))
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn refused(folder: &Path, configuration: &str) -> String {
    std::fs::write(folder.join("configuration.toml"), configuration).unwrap();
    let output = ended(folder, &[]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    text
}

#[test]
fn check_tells_what_the_three_keys_come_to() {
    let folder = tempfile::tempdir().unwrap();
    let three_keys = "registry_storage = \"storage/registry\"\ntemporary_registry_storage = \"storage/_tmp\"\n\
                      proxy_storage = \"storage/proxy\"\n";
    std::fs::write(folder.path().join("configuration.toml"), three_keys).unwrap();
    let told = String::from_utf8(ended(folder.path(), &["check", "--offline"]).stdout).unwrap();
    let canonical = folder.path().canonicalize().unwrap();
    for part in ["registry", "_tmp", "proxy"] {
        assert!(told.contains(canonical.join("storage").join(part).to_str().unwrap()), "{told}");
    }
    // Without a file it is the same, but for where it was read from.
    std::fs::remove_file(folder.path().join("configuration.toml")).unwrap();
    let defaults = String::from_utf8(ended(folder.path(), &["check", "--offline"]).stdout).unwrap();
    assert!(defaults.contains(canonical.join("storage/registry").to_str().unwrap()), "{defaults}");
}

#[test]
fn a_wrong_configuration_is_refused_with_place_key_and_cure() {
    let folder = tempfile::tempdir().unwrap();
    let rows = [
        ("registry_storge = \"x\"\n", ["configuration.toml:1", "registry_storge", "registry_storage"]),
        ("proxy_storage = 5\n", ["configuration.toml:1", "proxy_storage", "folder"]),
        ("[server]\nlisten = \"0.0.0.0:5000\"\n", ["configuration.toml:2", "[access]", "anonymous = \"full\""]),
        ("[server]\nlisten = \"here\"\n", ["configuration.toml:2", "server.listen", "here"]),
        ("[[proxy.upstream]]\nname = \"a\"\nurl = \"https://a.example/x\"\n", ["configuration.toml:3", "url", "path"]),
    ];
    for (configuration, needles) in rows {
        let told = refused(folder.path(), configuration);
        for needle in needles {
            assert!(told.contains(needle), "{configuration:?} is refused without {needle:?}: {told}");
        }
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "a refused start leaves nothing behind");
}

#[test]
fn a_port_in_use_and_a_folder_that_is_none_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let told = refused(folder.path(), &format!("[server]\nlisten = \"{address}\"\n"));
    assert!(told.contains(&address.to_string()) && told.contains("server.listen"), "{told}");
    let elsewhere = "[server]\nlisten = \"127.0.0.1:0\"\n[telemetry]\nmetrics_listen = \"off\"\n";
    std::fs::write(folder.path().join("file"), "").unwrap();
    let told = refused(folder.path(), &format!("registry_storage = \"file/registry\"\n{elsewhere}"));
    assert!(told.contains("file/registry") && told.contains("registry_storage"), "{told}");
    let told = refused(folder.path(), &format!("registry_storage = \"same\"\nproxy_storage = \"same\"\n{elsewhere}"));
    assert!(told.contains("same") && told.contains("proxy_storage"), "{told}");
}
