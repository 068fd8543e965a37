//! `[replica]`: how replicas reach each other.

use super::*;

const DATABASE: &str = "metadata.url = \"postgres://u@localhost/d\"\nregistry_storage = \"s3://bucket/a\"\n";

fn read_with(lines: &str, variable: Option<(&str, &str)>) -> Result<Configuration, String> {
    let text = format!("{DATABASE}[replica]\n{lines}");
    let environment = |name: &str| variable.filter(|(known, _)| *known == name).map(|(_, value)| value.to_owned());
    let folder = Path::new("/srv");
    let surroundings = Surroundings { working_folder: folder, environment: &environment };
    let source = Source::File(folder.join(FILE_NAME));
    Configuration::resolved(&text, Some(Path::new(FILE_NAME)), folder, &surroundings, source)
        .map_err(|problems| problems.to_string())
}

fn url(lines: &str, variable: Option<(&str, &str)>) -> String {
    let configuration = read_with(lines, variable).unwrap_or_else(|problems| panic!("{lines}\n{problems}"));
    let replica = configuration.replica.as_ref().expect(lines);
    replica.url(replica.listen)
}

fn problem(lines: &str, variable: Option<(&str, &str)>, expected: &str) {
    let problems = read_with(lines, variable).map(|configuration| configuration.describe()).expect_err(lines);
    assert!(problems.contains(expected), "{lines}\ngives {problems:?}, not {expected:?}");
    assert_eq!(problems.lines().count(), 1, "{problems}");
    assert!(!problems.contains("hunter2"), "{problems}");
}

#[test]
fn without_an_address_to_listen_on_there_is_no_internal_listener() {
    assert_eq!(read_with("", None).expect("an empty table").replica, None);
    assert_eq!(read_text("").expect("the defaults").replica, None);
    for (lines, key) in [("address = \"http://a:1\"", "address"), ("address_env = \"POD_IP\"", "address_env")] {
        problem(lines, None, &format!("`replica.{key}` needs `listen` beside it"));
    }
}

#[test]
fn others_find_a_replica_where_it_listens_or_where_it_is_said() {
    let listen = "listen = \"10.0.0.7:5002\"\n";
    let everywhere = "listen = \"0.0.0.0:5002\"\n";
    assert_eq!(url(listen, None), "http://10.0.0.7:5002");
    assert_eq!(url("listen = \"[fd00::7]:5002\"", None), "http://[fd00::7]:5002");
    assert_eq!(url(&format!("{everywhere}address = \"https://a.corp/\""), None), "https://a.corp");
    // What is written holds, whatever is in the environment.
    let default = |value| Some(("ENTREPOT_REPLICA_ADDRESS", value));
    assert_eq!(url(&format!("{everywhere}address = \"http://a.corp:1\""), default("b")), "http://a.corp:1");
    for (value, expected) in [
        ("http://entrepot-1:5001", "http://entrepot-1:5001"),
        ("https://entrepot-1/", "https://entrepot-1"),
        ("10.1.2.3", "http://10.1.2.3:5002"),
        ("fd00::7", "http://[fd00::7]:5002"),
        ("entrepot-1.entrepot", "http://entrepot-1.entrepot:5002"),
        ("entrepot-1:6000", "http://entrepot-1:6000"),
        ("[fd00::7]:6000", "http://[fd00::7]:6000"),
    ] {
        assert_eq!(url(everywhere, default(value)), expected);
        assert_eq!(url(listen, default(value)), expected);
        assert_eq!(url(&format!("{everywhere}address_env = \"POD_IP\""), Some(("POD_IP", value))), expected);
    }
    let shown = read_with(everywhere, default("10.1.2.3")).expect("it is whole").describe();
    assert!(shown.contains("\n[replica]\nlisten = \"0.0.0.0:5002\"\naddress = \"http://10.1.2.3:5002\"\n"), "{shown}");
}

#[test]
fn a_port_that_is_left_to_the_system_is_told_when_it_is_known() {
    let bound = SocketAddr::from((Ipv4Addr::LOCALHOST, 40_000));
    let replica =
        |variable| read_with("listen = \"127.0.0.1:0\"", variable).expect("it is whole").replica.expect("a table");
    assert_eq!(replica(None).url(bound), "http://127.0.0.1:40000");
    assert_eq!(replica(Some(("ENTREPOT_REPLICA_ADDRESS", "a.corp"))).url(bound), "http://a.corp:40000");
}

#[test]
fn an_address_that_others_cannot_use_is_refused() {
    for listen in ["0.0.0.0:5002", "[::]:5002"] {
        for variable in [None, Some(("ENTREPOT_REPLICA_ADDRESS", ""))] {
            problem(
                &format!("listen = {listen:?}"),
                variable,
                &format!(
                    "configuration.toml:4:10: `replica.listen` is {listen}, which is no address that other replicas can connect to: write \
                     `replica.address`, or set the environment variable ENTREPOT_REPLICA_ADDRESS to this replica's URL or address"
                ),
            );
        }
    }
    let rows = [
        ("listen = \"a.corp:1\"", "`replica.listen` is \"a.corp:1\"; allowed: an IP address with a port"),
        ("listen = \"10.0.0.7:1\"\naddress = \"a.corp\"", "`replica.address` is \"a.corp\"; allowed: https://HOST"),
        ("listen = \"10.0.0.7:1\"\naddress = \"http://u:hunter2@a\"", "`replica.address` is a URL with a user in it"),
        (
            "listen = \"10.0.0.7:1\"\naddress = \"http://a\"\naddress_env = \"POD_IP\"",
            "`replica.address_env` is written beside `address`: one of the two is enough",
        ),
        (
            "listen = \"10.0.0.7:1\"\naddress_env = \"POD_IP\"",
            "configuration.toml:5:15: `replica.address_env` names the environment variable POD_IP, which is not set or is empty",
        ),
    ];
    for (lines, expected) in rows {
        problem(lines, None, expected);
    }
    for value in ["http://a/b", "a b", "a:b", "a/b", "ftp://a", ":5002"] {
        let expected = format!(
            "`replica.address_env` names the environment variable ENTREPOT_REPLICA_ADDRESS, which is {value:?}; allowed in it: a host, \
             HOST:PORT, or a URL"
        );
        problem("listen = \"0.0.0.0:5002\"", Some(("ENTREPOT_REPLICA_ADDRESS", value)), &expected);
    }
    problem(
        "listen = \"0.0.0.0:5002\"",
        Some(("ENTREPOT_REPLICA_ADDRESS", "http://u:hunter2@a")),
        "which is a URL with a user in it",
    );
}

#[test]
fn replicas_share_a_database_and_have_a_listener_of_their_own() {
    let problems = refused("[replica]\nlisten = \"10.0.0.7:5002\"");
    let expected = "configuration.toml:1:1: `replica` needs metadata that replicas share: write [metadata] with url = \"postgres://…\"";
    assert_eq!(problems, expected);
    // A URL that is refused is told once.
    assert_eq!(refused("metadata.url = \"x\"\n[replica]\nlisten = \"10.0.0.7:5002\"").lines().count(), 1);
    for (lines, other) in [
        ("listen = \"127.0.0.1:5000\"", "server.listen"),
        ("listen = \"127.0.0.1:5001\"", "telemetry.metrics_listen"),
        ("listen = \"0.0.0.0:5000\"\naddress = \"http://a:5000\"", "server.listen"),
    ] {
        problem(
            lines,
            None,
            &format!(
                "configuration.toml:4:10: `replica.listen` is {}, where `{other}` listens too",
                lines.split('"').nth(1).expect("an address")
            ),
        );
    }
    read_with("listen = \"127.0.0.1:0\"", None).expect("a free port");
}

#[test]
fn replicas_need_a_bucket_and_no_read_cache() {
    let keys =
        |configuration: &Configuration| configuration.warnings().iter().map(|warning| warning.key).collect::<Vec<_>>();
    assert!(keys(&read_with("listen = \"127.0.0.1:5002\"", None).expect("it is whole")).is_empty());
    let folder = read_text("metadata.url = \"postgres://u@localhost/d\"\n[replica]\nlisten = \"127.0.0.1:5002\"")
        .expect("it can be");
    assert_eq!(keys(&folder), ["replica"]);
}
