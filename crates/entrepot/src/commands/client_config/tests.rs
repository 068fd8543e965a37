//! Each file for a small configuration, word for word: real clients read them.

use crate::config::Surroundings;

use super::*;

fn configuration(text: &str) -> Configuration {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("configuration.toml"), text).expect("a file");
    let surroundings = Surroundings { working_folder: folder.path(), environment: &|_| None };
    Configuration::load(None, &surroundings).expect(text)
}

const LISTED: &str = "\
[proxy]
hosts = \"listed\"
[[proxy.upstream]]
name = \"hub\"
aliases = [\"docker.io\"]
[[proxy.upstream]]
name = \"corp\"
url = \"http://registry.corp:5000\"
";

fn made(text: &str, server: Option<&str>, client: ClientKind) -> Vec<ClientFile> {
    let configuration = configuration(text);
    let own = ClientAddress::of(&configuration.server);
    let named = server.map(|server| server.parse::<ClientAddress>().expect(server));
    files(client, &subject(&configuration, named.as_ref().unwrap_or(&own), server.is_none()))
}

fn contents(text: &str, server: Option<&str>, client: ClientKind) -> Vec<(String, String)> {
    made(text, server, client).into_iter().map(|file| (file.path, file.content)).collect()
}

fn only(text: &str, server: Option<&str>, client: ClientKind) -> String {
    let mut files = contents(text, server, client);
    assert_eq!(files.len(), 1);
    files.remove(0).1
}

#[test]
fn docker_has_docker_hub_alone_at_a_path_or_at_the_root() {
    let by_path = "{\n  \"registry-mirrors\": [\"http://10.0.0.7:5000/proxy/hub\"],\n  \"insecure-registries\": [\"10.0.0.7:5000\"]\n}\n";
    assert_eq!(only(LISTED, Some("10.0.0.7:5000"), ClientKind::Docker), by_path);
    for name in ["docker.io", "hub"] {
        let text = LISTED.replace("[proxy]\n", &format!("[proxy]\nroot_mirror = \"{name}\"\n"));
        let at_root = by_path.replace("/proxy/hub", "");
        assert_eq!(only(&text, Some("10.0.0.7:5000"), ClientKind::Docker), at_root);
    }
    let secure = "{\n  \"registry-mirrors\": [\"https://registry.corp/proxy/docker.io\"]\n}\n";
    assert_eq!(only("", Some("https://registry.corp"), ClientKind::Docker), secure);
    let unlisted = only("[proxy]\nhosts = \"listed\"", None, ClientKind::Docker);
    assert_eq!(unlisted, "{\n  \"insecure-registries\": [\"127.0.0.1:5000\"]\n}\n");
    for text in [by_path, secure, &unlisted] {
        serde_json::from_str::<serde_json::Value>(text).expect("JSON");
    }
}

#[test]
fn containerd_has_one_file_for_all_and_one_for_each_listed_registry() {
    let files = contents(LISTED, Some("10.0.0.7:5000"), ClientKind::Containerd);
    let expected = [
        (
            "/etc/containerd/certs.d/_default/hosts.toml",
            "[host.\"http://10.0.0.7:5000\"]\n  capabilities = [\"pull\", \"resolve\"]\n",
        ),
        (
            "/etc/containerd/certs.d/docker.io/hosts.toml",
            "server = \"https://registry-1.docker.io\"\n\n[host.\"http://10.0.0.7:5000/v2/proxy/hub\"]\n  \
             capabilities = [\"pull\", \"resolve\"]\n  override_path = true\n",
        ),
        (
            "/etc/containerd/certs.d/registry.corp_5000_/hosts.toml",
            "server = \"http://registry.corp:5000\"\n\n[host.\"http://10.0.0.7:5000/v2/proxy/corp\"]\n  \
             capabilities = [\"pull\", \"resolve\"]\n  override_path = true\n",
        ),
    ];
    assert_eq!(files, expected.map(|(path, content)| (path.to_owned(), content.to_owned())));
    assert_eq!(contents("", None, ClientKind::Containerd).len(), 1, "public registries need no file of their own");
}

#[test]
fn podman_and_cri_o_have_an_entry_for_each_registry() {
    let expected = "\
# This server itself, for own images.
[[registry]]
location = \"10.0.0.7:5000\"
insecure = true

[[registry]]
prefix = \"docker.io\"
location = \"docker.io\"

[[registry.mirror]]
location = \"10.0.0.7:5000/proxy/hub\"
insecure = true

[[registry]]
prefix = \"registry.corp:5000\"
location = \"registry.corp:5000\"

[[registry.mirror]]
location = \"10.0.0.7:5000/proxy/corp\"
insecure = true
";
    for client in [ClientKind::Podman, ClientKind::CriO] {
        assert_eq!(only(LISTED, Some("10.0.0.7:5000"), client), expected);
        let secure = only("", Some("https://registry.corp"), client);
        assert!(!secure.contains("insecure"), "{secure}");
        for host in WELL_KNOWN {
            assert!(secure.contains(&format!("location = \"registry.corp/proxy/{host}\"\n")), "{secure}");
        }
    }
}

#[test]
fn k3s_has_an_entry_for_all_and_one_for_each_listed_registry() {
    let expected = "\
mirrors:
  \"docker.io\":
    endpoint:
      - \"http://10.0.0.7:5000/v2/proxy/hub\"
  \"registry.corp:5000\":
    endpoint:
      - \"http://10.0.0.7:5000/v2/proxy/corp\"
  \"*\":
    endpoint:
      - \"http://10.0.0.7:5000\"
";
    assert_eq!(only(LISTED, Some("10.0.0.7:5000"), ClientKind::K3s), expected);
}

#[test]
fn buildkit_has_an_entry_for_each_registry_and_one_for_plain_http() {
    let expected = "\
[registry.\"docker.io\"]
  mirrors = [\"10.0.0.7:5000/proxy/hub\"]

[registry.\"registry.corp:5000\"]
  mirrors = [\"10.0.0.7:5000/proxy/corp\"]

[registry.\"10.0.0.7:5000\"]
  http = true
";
    assert_eq!(only(LISTED, Some("10.0.0.7:5000"), ClientKind::Buildkit), expected);
    assert!(!only("", Some("https://registry.corp"), ClientKind::Buildkit).contains("http ="));
}

#[test]
fn a_registry_is_listed_under_every_host_that_images_name_it_by() {
    let text = "[[proxy.upstream]]\nname = \"ghcr.io\"\naliases = [\"g\", \"ghcr.example.com\"]\n";
    let configuration = configuration(text);
    let address = ClientAddress::of(&configuration.server);
    let upstreams = subject(&configuration, &address, true).upstreams;
    let hosts: Vec<_> = upstreams.iter().map(|upstream| (upstream.host.as_str(), upstream.name.as_str())).collect();
    assert_eq!(hosts[..3], [("ghcr.io", "ghcr.io"), ("ghcr.example.com", "ghcr.io"), ("docker.io", "docker.io")]);
    assert_eq!(hosts.iter().filter(|(host, _)| *host == "ghcr.io").count(), 1);
}

#[test]
fn every_file_says_where_it_goes_and_what_is_a_comment_may_be_pasted() {
    for client in [ClientKind::Containerd, ClientKind::Podman, ClientKind::CriO, ClientKind::Buildkit] {
        for file in made(LISTED, None, client) {
            file.written().parse::<toml::Table>().expect("TOML with its comments");
            assert!(file.notes.contains("on this machine only"), "{}", file.notes);
        }
    }
    let everywhere = format!("access.anonymous = \"full\"\n[server]\nlisten = \"0.0.0.0:5000\"\n{LISTED}");
    let docker = made(&everywhere, None, ClientKind::Docker).remove(0);
    assert!(docker.content.contains("127.0.0.1:5000") && docker.notes.contains("--server HOST:PORT"), "{docker:?}");
    assert_eq!(docker.written(), docker.content, "JSON has no comments");
}

#[test]
fn a_file_that_is_there_already_is_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let files = made(LISTED, None, ClientKind::Docker);
    let mut out = Vec::new();
    let mut screen = Screen { out: &mut out, is_terminal: false };
    write_files(folder.path(), &files, &mut screen).expect("nothing is there");
    let path = folder.path().join("etc/docker/daemon.json");
    assert_eq!(std::fs::read_to_string(&path).expect("a file"), files[0].content);
    std::fs::write(&path, "{}").expect("a file");
    let error = write_files(folder.path(), &files, &mut screen).expect_err("it is there");
    assert!(error.to_string().contains("left alone"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).expect("a file"), "{}");
}
