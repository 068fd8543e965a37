//! What a file comes to, and what is said about one that cannot be used.

use secrecy::ExposeSecret;

use super::keys::{Form, Key, TABLES, Table, names_in};
use super::*;

const THREE_KEYS: &str = "registry_storage = \"storage/registry\"\n\
                          temporary_registry_storage = \"storage/_tmp\"\n\
                          proxy_storage = \"storage/proxy\"\n";

fn environment(name: &str) -> Option<String> {
    match name {
        "TOKEN" => Some("from the environment".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    }
}

fn read_text(text: &str) -> Result<Configuration, Problems> {
    let folder = Path::new("/srv");
    let surroundings = Surroundings { working_folder: folder, environment: &environment };
    let source = Source::File(folder.join(FILE_NAME));
    Configuration::resolved(text, Some(Path::new(FILE_NAME)), folder, &surroundings, source)
}

fn refused(text: &str) -> String {
    read_text(text).map(|configuration| configuration.describe()).expect_err(text).to_string()
}

fn load(folder: &Path, named: Option<&str>) -> Result<Configuration, ConfigurationError> {
    Configuration::load(named.map(Path::new), &Surroundings { working_folder: folder, environment: &environment })
}

#[test]
fn three_keys_are_a_complete_configuration_and_no_file_means_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    let none = load(folder.path(), None).expect("no file is needed");
    let path = folder.path().join(FILE_NAME);
    assert_eq!(none.source, Source::Defaults { looked_for: path.clone() });

    std::fs::write(&path, THREE_KEYS).expect("a file");
    let three = load(folder.path(), None).expect("three keys are enough");
    assert_eq!(three.source, Source::File(path.clone()));
    let values =
        |configuration: &Configuration| configuration.describe().split_once('\n').map(|(_, rest)| rest.to_owned());
    assert_eq!(values(&none), values(&three));
    assert_eq!(three.registry_storage.folder(), Some(folder.path().join("storage/registry").as_path()));
    assert_eq!(three.temporary_registry_storage, folder.path().join("storage/_tmp"));
    assert_eq!(three.proxy_storage.folder(), Some(folder.path().join("storage/proxy").as_path()));

    std::fs::write(&path, "").expect("a file");
    assert_eq!(values(&load(folder.path(), None).expect("an empty file will do")), values(&none));
}

#[test]
fn paths_are_relative_to_the_file_that_names_them() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("etc")).expect("a folder");
    let text = "registry_storage = \"./own\"\nproxy_storage = \"/var/cache/entrepot\"\n";
    std::fs::write(folder.path().join("etc/registry.toml"), text).expect("a file");
    let configuration = load(folder.path(), Some("etc/registry.toml")).expect("a configuration");
    assert_eq!(configuration.registry_storage.folder(), Some(folder.path().join("etc/own").as_path()));
    assert_eq!(configuration.temporary_registry_storage, folder.path().join("etc/storage/_tmp"));
    assert_eq!(configuration.proxy_storage.folder(), Some(Path::new("/var/cache/entrepot")));
}

#[test]
fn a_file_that_was_named_must_be_there_and_any_file_must_be_readable() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(FILE_NAME);
    let missing = load(folder.path(), Some(FILE_NAME)).expect_err("it was named");
    assert!(matches!(missing, ConfigurationError::Unreadable { .. }), "{missing:?}");

    std::fs::create_dir(&path).expect("a folder of that name");
    let not_a_file = load(folder.path(), None).expect_err("it is there and cannot be read");
    assert_eq!(not_a_file.to_string(), format!("cannot read the configuration {}", path.display()));

    std::fs::remove_dir(&path).expect("it is empty");
    std::fs::write(&path, [0xff, 0xfe]).expect("a file");
    assert!(matches!(load(folder.path(), None), Err(ConfigurationError::Unreadable { .. })), "not text");
    std::fs::write(&path, "#".repeat(2 << 20)).expect("a file");
    assert!(matches!(load(folder.path(), None), Err(ConfigurationError::TooLarge { .. })), "not meant");
}

const EVERYTHING: &str = "
        registry_storage = \"/own\"
        temporary_registry_storage = \"/tmp/e\"
        proxy_storage = \"/cache\"
        [server]
        listen = \"0.0.0.0:80\"
        public_url = \"https://registry.corp/\"
        trusted_proxies = [\"10.0.0.0/8\", \"::1\"]
        connections_max = 12
        shutdown_timeout = \"90s\"
        upload_expiry = \"12h\"
        blob_size_max = \"10GiB\"
        [access]
        anonymous = \"full\"
        [proxy]
        hosts = \"listed\"
        [[proxy.upstream]]
        name = \"ghcr.io\"
        username = \"robot\"
        password = \"hunter2\"
        [[proxy.upstream]]
        name = \"corp\"
        url = \"http://10.0.0.7:5000\"
        aliases = [\"registry.corp_5000\", \"c\"]
        password_env = \"TOKEN\"
        trusted_hosts = [\"auth.corp\", \"auth.corp:8443\", \"[::1]:5000\"]
        [telemetry]
        log = \"json\"
        log_level = \"debug\"
        metrics_listen = \"off\"
    ";

const EVERYTHING_SHOWN: &str = "# from /srv/configuration.toml

registry_storage = \"/own\"
temporary_registry_storage = \"/tmp/e\"
proxy_storage = \"/cache\"

# metadata: SQLite inside each storage folder

[server]
listen = \"0.0.0.0:80\"
connections_max = 12
shutdown_timeout = \"90s\"
upload_expiry = \"12h\"
blob_size_max = \"10GiB\"
public_url = \"https://registry.corp\"
trusted_proxies = [\"10.0.0.0/8\", \"::1\"]

[access]
anonymous = \"full\"
# everybody may do everything, and nobody is asked who he is
users_file = \"/srv/users.htpasswd\"
token_lifetime = \"5m\"

[proxy]
hosts = \"listed\"
tag_fresh_for = \"1m\"
stale_for = \"forever\"
on_upstream_404 = \"keep\"
# root_mirror: none
# size_max: no limit
size_high = \"95%\"
size_low = \"85%\"
# unused_for: no limit
orphan_fills_max = 32

[[proxy.upstream]]
name = \"ghcr.io\"
url = \"https://ghcr.io\"
username = \"robot\"
password = \"***\"
requests_max = 128

[[proxy.upstream]]
name = \"corp\"
url = \"http://10.0.0.7:5000\"
aliases = [\"registry.corp_5000\", \"c\"]
password = \"***\"
trusted_hosts = [\"auth.corp\", \"auth.corp:8443\", \"[::1]:5000\"]
requests_max = 128

[telemetry]
log = \"json\"
log_level = \"debug\"
metrics_listen = \"off\"
";

#[test]
fn everything_that_is_written_is_heeded() {
    let configuration = read_text(EVERYTHING).expect("all of it is right");
    assert_eq!(configuration.describe(), EVERYTHING_SHOWN);
    let passwords: Vec<_> = configuration.proxy.upstreams.iter().map(|upstream| upstream.password.as_ref()).collect();
    assert_eq!(passwords.map_secret(), ["hunter2", "from the environment"]);
    assert!(!format!("{configuration:?}").contains("hunter2"));
}

trait MapSecret {
    fn map_secret(&self) -> Vec<&str>;
}

impl MapSecret for Vec<Option<&SecretString>> {
    fn map_secret(&self) -> Vec<&str> {
        self.iter().flatten().map(|secret| secret.expose_secret()).collect()
    }
}

#[test]
fn a_key_that_is_not_known_is_told_with_its_place_and_what_is_allowed_there() {
    let rows = [
        (
            "\n[server]\n  lisen = \"x\"",
            "configuration.toml:3:3: `server.lisen` is not a key; allowed here: listen, connections_max, shutdown_timeout, \
             upload_expiry, blob_size_max, public_url, trusted_proxies, tls; did you mean `server.listen`?",
        ),
        (
            "listen = \"127.0.0.1:1\"",
            "configuration.toml:1:1: `listen` is not a key; allowed here: registry_storage, temporary_registry_storage, \
             proxy_storage, storage, metadata, replica, server, access, proxy, telemetry; did you mean `server.listen`?",
        ),
        (
            "[proxy]\nupstreams = []",
            "configuration.toml:2:1: `proxy.upstreams` is not a key; allowed here: hosts, tag_fresh_for, stale_for, \
             on_upstream_404, root_mirror, size_max, size_high, size_low, unused_for, orphan_fills_max, upstream, \
             freshness, rule; did you mean `proxy.upstream`?",
        ),
        (
            "[access]\npassword = \"x\"",
            "configuration.toml:2:1: `access.password` is not a key; allowed here: anonymous, users_file, token_lifetime, \
             group, rule, immutable, oidc, identity; did you mean `proxy.upstream.password`?",
        ),
        (
            "[telemetry]\nlog_levl = \"x\"",
            "configuration.toml:2:1: `telemetry.log_levl` is not a key; allowed here: log, log_level, metrics_listen; \
             did you mean `telemetry.log_level`?",
        ),
    ];
    for (text, expected) in rows {
        assert_eq!(refused(text), expected, "{text}");
    }
}

#[test]
fn a_value_of_another_type_is_told_with_what_was_found_and_what_is_allowed() {
    let rows = [
        (
            "registry_storage = 5",
            "configuration.toml:1:20: `registry_storage` is the number 5; allowed: a folder, or s3://BUCKET/PREFIX, \
             gs://BUCKET/PREFIX or az://CONTAINER/PREFIX",
        ),
        (
            "temporary_registry_storage = 5",
            "configuration.toml:1:30: `temporary_registry_storage` is the number 5; allowed: a folder",
        ),
        (
            "proxy_storage = [\"a\"]",
            "configuration.toml:1:17: `proxy_storage` is a list of something else; allowed: a folder, or \
             s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX",
        ),
        (
            "[server]\nconnections_max = \"many\"",
            "configuration.toml:2:19: `server.connections_max` is \"many\"; allowed: a whole number from 1 to 1000000",
        ),
        (
            "[server]\nconnections_max = 99999999999999999999",
            "configuration.toml:2:19: `server.connections_max` is the number 99999999999999999999; allowed: a whole \
             number from 1 to 1000000",
        ),
        ("server = true", "configuration.toml:1:10: `server` is true; allowed: a table, begun with […]"),
        (
            "[proxy.upstream]\nname = \"a\"",
            "configuration.toml:1:1: `proxy.upstream` is a table; allowed: a list of tables, each begun with [[…]]",
        ),
        (
            "[[proxy.upstream]]\nname = \"a\"\npassword = 12345",
            "configuration.toml:3:12: `proxy.upstream.password` is a number; allowed: a text that is not empty",
        ),
        ("x = ", "configuration.toml:1:5: not valid TOML: string values must be quoted, expected literal string"),
    ];
    for (text, expected) in rows {
        assert_eq!(refused(text), expected, "{text}");
    }
}

#[test]
fn a_value_that_is_not_allowed_is_refused_and_says_what_is() {
    let rows = [
        ("registry_storage = \"\"", "`registry_storage` is \"\"; allowed: a folder"),
        ("[server]\nlisten = \":5000\"", "`server.listen` is \":5000\"; allowed: an IP address with a port"),
        ("[server]\nlisten = \"localhost:5000\"", "allowed: an IP address with a port"),
        ("[server]\nconnections_max = 0", "`server.connections_max` is the number 0; allowed: a whole number from 1"),
        ("[server]\nshutdown_timeout = \"30\"", "allowed: a duration, as in \"30s\" or \"5m\""),
        ("[server]\nupload_expiry = \"59s\"", "allowed: a duration from \"1m\" on"),
        ("[server]\nblob_size_max = \"0\"", "allowed: a size from \"1\" byte on"),
        ("[access]\nanonymous = \"all\"", "`access.anonymous` is \"all\"; allowed: \"none\", \"pull\" or \"full\""),
        ("[proxy]\nhosts = \"all\"", "`proxy.hosts` is \"all\"; allowed: \"public\" or \"listed\""),
        ("[telemetry]\nlog = \"xml\"", "`telemetry.log` is \"xml\"; allowed: \"text\" or \"json\""),
        ("[telemetry]\nlog_level = \"INFO\"", "allowed: \"error\", \"warn\", \"info\", \"debug\" or \"trace\""),
        ("[telemetry]\nmetrics_listen = \"no\"", "or \"off\""),
        ("[[proxy.upstream]]\nurl = \"https://a\"", "`proxy.upstream.name` is missing"),
        ("[[proxy.upstream]]\nname = \"A\"", "`proxy.upstream.name` is \"A\"; allowed: one component"),
        ("[[proxy.upstream]]\nname = \"a/b\"", "`proxy.upstream.name` is \"a/b\"; allowed: one component"),
        ("[[proxy.upstream]]\nname = \"a\"\naliases = [\"b:1\"]", "`proxy.upstream.aliases` is \"b:1\""),
        (
            "[[proxy.upstream]]\nname = \"a\"\nurl = \"a.example\"",
            "`proxy.upstream.url` is \"a.example\"; allowed: https://HOST",
        ),
        ("[[proxy.upstream]]\nname = \"a\"\nurl = \"ftp://a\"", "`proxy.upstream.url` is \"ftp://a\""),
        ("[[proxy.upstream]]\nname = \"a\"\nurl = \"https://a/v2\"", "`proxy.upstream.url` is \"https://a/v2\""),
        ("[[proxy.upstream]]\nname = \"a\"\nurl = \"https://a/?b\"", "`proxy.upstream.url` is \"https://a/?b\""),
        (
            "[[proxy.upstream]]\nname = \"a\"\nurl = \"https://u:hunter2@a\"",
            "`proxy.upstream.url` is a URL with a user in it",
        ),
        ("[[proxy.upstream]]\nname = \"a\"\nusername = \"u\"", "`proxy.upstream.username` needs a password"),
        ("[[proxy.upstream]]\nname = \"a\"\nusername = \"\"\npassword = \"p\"", "`proxy.upstream.username` is \"\""),
        ("[[proxy.upstream]]\nname = \"a\"\npassword = \"\"", "`proxy.upstream.password` is empty"),
        (
            "[[proxy.upstream]]\nname = \"a\"\npassword = \"hunter2\"\npassword_file = \"f\"",
            "`proxy.upstream.password_file` is written beside `password`",
        ),
        (
            "[[proxy.upstream]]\nname = \"a\"\npassword_env = \"NONE\"",
            "environment variable NONE, which is not set or is empty",
        ),
        (
            "[[proxy.upstream]]\nname = \"a\"\npassword_env = \"EMPTY\"",
            "environment variable EMPTY, which is not set or is empty",
        ),
        ("[[proxy.upstream]]\nname = \"a\"\npassword_file = \"/no\"", "names the file /no, which cannot be read"),
        (
            "[[proxy.upstream]]\nname = \"a\"\ntrusted_hosts = [\"https://b\"]",
            "`proxy.upstream.trusted_hosts` is \"https://b\"",
        ),
        ("[[proxy.upstream]]\nname = \"a\"\ntrusted_hosts = [\"b/c\"]", "`proxy.upstream.trusted_hosts` is \"b/c\""),
        ("[[proxy.upstream]]\nname = \"a\"\ntrusted_hosts = [\"\"]", "`proxy.upstream.trusted_hosts` is \"\""),
    ];
    for (text, expected) in rows {
        let problems = refused(text);
        assert!(problems.contains(expected), "{text:?} gives {problems:?}, not {expected:?}");
        assert!(problems.starts_with("configuration.toml:"), "{problems}");
        assert!(!problems.contains("hunter2"), "{problems}");
        assert_eq!(problems.lines().count(), 1, "{problems}");
    }
}

#[test]
fn values_that_cannot_be_together_are_refused() {
    let rows = [
        (
            "registry_storage = \"a\"\nproxy_storage = \"./a\"",
            "configuration.toml:2:17: `proxy_storage` is /srv/a, the same folder as `registry_storage`",
        ),
        (
            "proxy_storage = \"storage/_tmp\"",
            "configuration.toml:1:17: `temporary_registry_storage` is /srv/storage/_tmp, the same folder as `proxy_storage`",
        ),
        ("temporary_registry_storage = \"storage\"", "`registry_storage` is inside it"),
        (
            "[server]\nlisten = \"127.0.0.1:5001\"",
            "configuration.toml:2:10: `telemetry.metrics_listen` is 127.0.0.1:5001, where `server.listen` listens too",
        ),
        ("[access]\nanonymous = \"full\"\n[server]\nlisten = \"0.0.0.0:5001\"", "where `server.listen` listens too"),
        (
            "[[proxy.upstream]]\nname = \"a\"\n[[proxy.upstream]]\nname = \"a\"",
            "configuration.toml:4:8: `proxy.upstream.name` is \"a\", which is the name or an alias of the upstream in line 2 too",
        ),
        (
            "[[proxy.upstream]]\nname = \"a\"\naliases = [\"b\"]\n[[proxy.upstream]]\nname = \"b\"",
            "upstream in line 3 too",
        ),
        ("[[proxy.upstream]]\nname = \"a\"\naliases = [\"a\"]", "`proxy.upstream.aliases` is \"a\""),
        (
            "[[proxy.upstream]]\nname = \"docker.io\"\n[[proxy.upstream]]\nname = \"registry-1.docker.io\"",
            "docker.io, index.docker.io and registry-1.docker.io are one",
        ),
    ];
    for (text, expected) in rows {
        let problems = refused(text);
        assert!(problems.contains(expected), "{text:?} gives {problems:?}, not {expected:?}");
    }
    let hub = "[[proxy.upstream]]\nname = \"docker.io\"\naliases = [\"registry-1.docker.io\", \"hub\"]";
    let upstream = read_text(hub).expect("one upstream may have all names").proxy.upstreams.remove(0);
    assert_eq!(upstream.url.as_str(), "https://registry-1.docker.io/");
    read_text("[server]\nlisten = \"127.0.0.1:0\"\n[telemetry]\nmetrics_listen = \"127.0.0.1:0\"")
        .expect("two free ports");
}

#[test]
fn an_address_that_others_can_reach_needs_access_to_be_written_down() {
    for listen in ["0.0.0.0:5000", "[::]:5000", "192.0.2.1:5000"] {
        let problems = refused(&format!("[server]\nlisten = \"{listen}\""));
        assert!(
            problems
                .starts_with(&format!("configuration.toml:2:10: `server.listen` is {listen}, which other machines"))
        );
        assert!(problems.contains("[access]\n      anonymous = \"none\""), "{problems}");
        assert!(problems.contains("anonymous = \"full\""), "{problems}");
        read_text(&format!("access.anonymous = \"full\"\n[server]\nlisten = \"{listen}\""))
            .expect("it was written down");
    }
    for listen in ["127.0.0.1:5000", "127.1.2.3:5000", "[::1]:5000", "[::ffff:127.0.0.1]:5000"] {
        read_text(&format!("[server]\nlisten = \"{listen}\"")).expect("a loopback address");
    }
}

#[test]
fn all_problems_are_told_at_once() {
    let unknown = refused("a = 1\nb = 2\n[server]\nlisten = 3");
    assert_eq!(unknown.lines().count(), 3, "{unknown}");
    assert!(!unknown.contains("did you mean"), "a letter is near to nothing: {unknown}");
    let wrong = refused("[server]\nlisten = \"x\"\nupload_expiry = \"x\"\n[proxy]\nhosts = \"x\"");
    assert_eq!(wrong.lines().count(), 3, "{wrong}");
}

#[test]
fn a_password_file_has_one_line_and_is_found_beside_the_configuration() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = "[[proxy.upstream]]\nname = \"a\"\npassword_file = \"secret\"\n";
    std::fs::write(folder.path().join(FILE_NAME), text).expect("a file");
    let rows = [
        ("hunter2", Some("hunter2")),
        ("hunter2\n", Some("hunter2")),
        ("hunter2\r\n", Some("hunter2")),
        (" hunter2 ", Some(" hunter2 ")),
        ("", None),
        ("\n", None),
        ("one\ntwo\n", None),
    ];
    for (content, expected) in rows {
        std::fs::write(folder.path().join("secret"), content).expect("a file");
        let outcome = load(folder.path(), None);
        let password =
            outcome.as_ref().ok().and_then(|configuration| configuration.proxy.upstreams[0].password.as_ref());
        assert_eq!(password.map(ExposeSecret::expose_secret), expected, "{content:?}");
        assert_eq!(outcome.is_err(), expected.is_none(), "{content:?}");
    }
}

#[test]
fn the_report_says_where_everything_is_and_what_to_try() {
    let configuration = read_text(THREE_KEYS).expect("a configuration");
    let metrics = SocketAddr::from((Ipv4Addr::LOCALHOST, 5001));
    let report = configuration.report(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 5000)), Some(metrics));
    let expected = "  configuration  /srv/configuration.toml
  listening on   0.0.0.0:5000
  own images     /srv/storage/registry
  cache          /srv/storage/proxy
  unfinished     /srv/storage/_tmp
  metrics        http://127.0.0.1:5001/metrics

Try it:
  docker pull 127.0.0.1:5000/proxy/registry-1.docker.io/library/hello-world:latest
  docker tag 127.0.0.1:5000/proxy/registry-1.docker.io/library/hello-world:latest 127.0.0.1:5000/hello-world:latest
  docker push 127.0.0.1:5000/hello-world:latest
";
    let (first_line, rest) = report.split_once('\n').expect("lines");
    assert_eq!((first_line, rest), (concat!("Entrepot ", env!("CARGO_PKG_VERSION")), expected));

    let surroundings = Surroundings { working_folder: Path::new("/nowhere"), environment: &environment };
    let configuration = Configuration::load(None, &surroundings).expect("the defaults");
    let report = configuration.report(configuration.server.listen, None);
    assert!(report.contains("configuration  defaults, there is no /nowhere/configuration.toml\n"), "{report}");
    assert!(report.contains("metrics        off\n"), "{report}");
}

/// A file with the table of `key` and nothing in it but the key.
fn file_with(table: &str, line: &str) -> String {
    let heading = match TABLES.iter().find(|one| one.path == table) {
        Some(Table { path: "", .. }) | None => String::new(),
        Some(Table { path, is_list: true, .. }) => format!("[[{path}]]\n"),
        Some(Table { path, is_list: false, .. }) => format!("[{path}]\n"),
    };
    format!("{heading}{line}\n")
}

fn deserialized(text: &str) -> Result<Written, toml::de::Error> {
    toml::Deserializer::parse(text).and_then(Written::deserialize)
}

#[test]
fn the_table_and_the_structs_have_the_same_keys() {
    for key in keys::keys() {
        let text = file_with(key.table(), &format!("{} = {}", key.name(), key.example));
        deserialized(&text).expect(key.path);
        assert!(check::problems_in(&text, None).is_empty(), "{text}");
    }
    for table in TABLES {
        // The structs list what they know when they meet what they do not.
        let error = deserialized(&file_with(table.path, "no_such_key = 1")).expect_err(table.path);
        let (_, known) = error.message().split_once("expected ").expect("a list");
        let mut known: Vec<_> = known.split('`').skip(1).step_by(2).collect();
        let mut listed = names_in(table.path);
        known.sort_unstable();
        listed.sort_unstable();
        assert_eq!(known, listed, "[{}]", table.path);
    }
}

/// A configuration with every table of object storage, the database and replicas, as far as they have defaults.
const SHARED: &str = "registry_storage = \"s3://bucket/registry\"
proxy_storage = \"s3://bucket/proxy\"
[storage.redirect]
[metadata]
url = \"postgres://entrepot@db.corp/entrepot\"
";

/// What the examples of some tables mean nothing without.
fn before_examples(table: &str) -> &'static str {
    match table {
        "server" => "access.anonymous = \"pull\"\n",
        "storage.read_cache" => "registry_storage = \"s3://bucket\"\nmetadata.url = \"postgres://u@h/d\"\n",
        "storage.redirect.rule" => {
            "registry_storage = \"s3://bucket\"\nmetadata.url = \"postgres://u@h/d\"\n[storage.redirect]\nmode = \"rules\"\n"
        }
        "replica" => "metadata.url = \"postgres://u@h/d\"\n",
        _ => "",
    }
}

#[test]
fn the_examples_and_the_defaults_of_the_table_are_right() {
    // Files that are not here, variables that are not set, and what is there in place of something else; they have tests of their own.
    let is_for_itself = |key: &&Key| {
        let name = key.name();
        let starts = ["password_", "credential", "client_", "certificate", "key", "secret_access_key_", "access_key_"];
        let is_key_id = name == "access_key_id";
        starts.iter().any(|start| name.starts_with(start) && !is_key_id) || name == "ca" || name.ends_with("_env")
    };
    let examples = |table: &Table| {
        let keys = keys::keys().filter(|key| key.table() == table.path && !is_for_itself(key));
        let lines: Vec<_> = keys.map(|key| format!("{} = {}", key.name(), key.example)).collect();
        file_with(table.path, &lines.join("\n"))
    };
    // What is in the tables of access speaks of each other.
    let (access, others): (Vec<_>, Vec<_>) = TABLES.iter().partition(|table| table.path.starts_with("access"));
    let access: String = access.into_iter().map(examples).collect();
    read_text(&access).expect("examples can be copied");
    // Rules are asked in one mode alone, and it needs some: the two tables are one example.
    let redirect = "storage.redirect";
    for table in others.into_iter().filter(|table| table.path != "server.tls" && table.path != redirect) {
        read_text(&format!("{}{}", before_examples(table.path), examples(table))).expect("examples can be copied");
    }
    let defaults =
        format!("{}{}", read_text("").expect("the defaults").describe(), read_text(SHARED).expect(SHARED).describe());
    for key in keys::keys().filter(|key| key.default.starts_with('`') && key.form != Form::Secret) {
        let value = key.default.split('`').nth(1).expect("a value");
        let shown = match key.table() {
            "" => format!("{} = {}", key.name(), value.replacen('"', "\"/srv/", 1)),
            "proxy.upstream" | "proxy.rule" | "replica" => continue,
            table if table.starts_with("access") || table == "server.tls" => continue,
            // What others are is the same, and looked at in a test of their own.
            "storage.gcs" | "storage.azure" | "storage.redirect.rule" => continue,
            _ if key.name() == "public_endpoint" => continue,
            _ => format!("{} = {value}", key.name()),
        };
        assert!(defaults.contains(&shown), "{shown} is not in\n{defaults}");
    }
}

mod access;
mod metadata;
mod proxy;
mod replica;
mod server;
mod storage;
