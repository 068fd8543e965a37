//! `[server]`: how clients reach the registry.

use std::os::unix::fs::PermissionsExt;

use super::*;

fn problem(text: &str, expected: &str) {
    let problems = refused(text);
    assert!(problems.contains(expected), "{text}\ngives {problems:?}, not {expected:?}");
    assert_eq!(problems.lines().count(), 1, "{problems}");
}

#[test]
fn a_public_url_is_scheme_host_and_port() {
    for (written, url) in [
        ("https://registry.corp", "https://registry.corp"),
        ("https://registry.corp:8443/", "https://registry.corp:8443"),
        ("http://localhost:5000", "http://localhost:5000"),
        ("https://registry.corp:443", "https://registry.corp"),
    ] {
        let text = format!("access.anonymous = \"pull\"\nserver.public_url = {written:?}");
        assert_eq!(read_text(&text).expect(written).server.public_url.as_deref(), Some(url));
    }
    for url in ["registry.corp", "https://a/registry", "https://a?b", "https://a#b", "ftp://a", ""] {
        problem(
            &format!("[server]\npublic_url = {url:?}"),
            &format!("configuration.toml:2:14: `server.public_url` is {url:?}; allowed: https://HOST"),
        );
    }
    problem("server.public_url = \"https://u:hunter2@a\"", "`server.public_url` is a URL with a user in it");
}

#[test]
fn a14_proxies_are_addresses_or_networks() {
    let list = |proxy: &str| format!("access.anonymous = \"pull\"\nserver.trusted_proxies = [{proxy:?}]");
    for proxy in ["10.0.0.7", "10.0.0.0/8", "10.0.0.7/32", "::1", "fd00::/8", "::ffff:10.0.0.7", "::/0", "0.0.0.0/0"] {
        assert_eq!(read_text(&list(proxy)).expect(proxy).server.trusted_proxies, [proxy]);
    }
    for proxy in ["", "*", "proxy.corp", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/+8", "10.0.0.0/-1", "10/8"] {
        problem(&list(proxy), &format!("`server.trusted_proxies` is {proxy:?}; allowed: a list of IP addresses"));
    }
}

#[test]
fn whoever_says_that_others_reach_the_server_says_what_they_may() {
    for text in [
        "server.public_url = \"https://registry.corp\"",
        "server.trusted_proxies = [\"127.0.0.1\"]",
        "server.listen = \"192.0.2.1:5000\"",
    ] {
        let problems = refused(text);
        assert!(problems.contains("reach") && problems.contains("nothing says who may do what there"), "{problems}");
        assert!(problems.contains("entrepot user add"), "{problems}");
        read_text(&format!("{text}\n[access]")).expect("it is written down");
    }
    read_text("server.public_url = \"http://localhost:5000\"").expect("nobody else reaches that");
}

/// A folder with the files that TLS needs, which hold what they should at a glance.
fn tls_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("a file");
    write("cert.pem", "-----BEGIN CERTIFICATE-----\n");
    write("key.pem", "-----BEGIN EC PRIVATE KEY-----\nhunter2\n");
    folder
}

fn read_in(folder: &tempfile::TempDir, text: &str) -> Result<Configuration, String> {
    std::fs::write(folder.path().join(FILE_NAME), text).expect("a file");
    load(folder.path(), None).map_err(|error| error.to_string())
}

#[test]
fn tls_needs_a_certificate_and_a_key_and_takes_client_certificates() {
    let folder = tls_folder();
    let tls = "[server.tls]\ncertificate = \"cert.pem\"\nkey = \"key.pem\"\n";
    let plain = read_in(&folder, tls).expect("it is whole");
    let files = plain.server.tls.as_ref().expect("a table");
    assert_eq!(files.certificate, folder.path().join("cert.pem"));
    assert_eq!((&files.client_ca, files.client_certificates), (&None, ClientCertificates::Optional));
    let shown = plain.describe();
    assert!(shown.contains("\n[server.tls]\ncertificate = \"/") && shown.contains("# client_ca: none"), "{shown}");
    assert!(!format!("{shown}{plain:?}").contains("hunter2"));

    let asked = read_in(&folder, &format!("{tls}client_ca = \"cert.pem\"\nclient_certificates = \"required\""));
    let asked = asked.expect("it is whole").server.tls.expect("a table");
    assert_eq!(asked.client_ca, Some(folder.path().join("cert.pem")));
    assert_eq!(asked.client_certificates, ClientCertificates::Required);

    let rows = [
        ("certificate = \"cert.pem\"", "`server.tls.key` is missing; allowed: a file with a private key in PEM"),
        ("key = \"key.pem\"", "`server.tls.certificate` is missing"),
        ("certificate = \"key.pem\"\nkey = \"key.pem\"", "`server.tls.certificate` names the file"),
        ("certificate = \"cert.pem\"\nkey = \"cert.pem\"", "which holds no private key in PEM"),
        ("certificate = \"none\"\nkey = \"key.pem\"", "which cannot be read"),
        (
            "certificate = \"cert.pem\"\nkey = \"key.pem\"\nclient_certificates = \"required\"",
            "`server.tls.client_certificates` needs `client_ca` beside it",
        ),
        (
            "certificate = \"cert.pem\"\nkey = \"key.pem\"\nclient_ca = \"cert.pem\"\nclient_certificates = \"maybe\"",
            "`server.tls.client_certificates` is \"maybe\"; allowed: \"optional\" or \"required\"",
        ),
    ];
    for (lines, expected) in rows {
        let problems = read_in(&folder, &format!("[server.tls]\n{lines}")).expect_err(lines);
        assert!(problems.contains(expected), "{lines}\n{problems}");
        assert_eq!(problems.lines().count(), 1, "{problems}");
    }
}

#[test]
fn a_key_that_everybody_can_read_is_warned_about() {
    let folder = tls_folder();
    let text = "access.anonymous = \"full\"\n[server.tls]\ncertificate = \"cert.pem\"\nkey = \"key.pem\"\n";
    for (mode, is_warned) in [(0o600, false), (0o640, false), (0o644, true)] {
        let key = folder.path().join("key.pem");
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).expect("it is ours");
        let warnings = read_in(&folder, text).expect("a configuration").warnings();
        assert_eq!(
            warnings.iter().map(|warning| warning.key).collect::<Vec<_>>(),
            vec!["server.tls.key"; usize::from(is_warned)]
        );
    }
}

#[test]
fn clients_are_told_the_public_url_and_whether_there_is_tls() {
    let url = |text: &str| crate::ClientAddress::of(&read_text(text).expect(text).server).url();
    assert_eq!(url(""), "http://127.0.0.1:5000");
    assert_eq!(
        url("access.anonymous = \"pull\"\nserver.public_url = \"https://registry.corp\""),
        "https://registry.corp"
    );
    let folder = tls_folder();
    let tls = read_in(&folder, "[server.tls]\ncertificate = \"cert.pem\"\nkey = \"key.pem\"\n").expect("it is whole");
    assert_eq!(crate::ClientAddress::of(&tls.server).url(), "https://127.0.0.1:5000");
}

#[test]
fn a_token_comes_from_the_environment_and_is_never_shown() {
    let environment = |name: &str| (name == TOKEN_VARIABLE).then(|| "hunter2".to_owned());
    let surroundings = Surroundings { working_folder: Path::new("/nowhere"), environment: &environment };
    let configuration = Configuration::load(None, &surroundings).expect("the defaults");
    assert!(configuration.token.is_some());
    assert!(!format!("{configuration:?}{}", configuration.describe()).contains("hunter2"));
}
