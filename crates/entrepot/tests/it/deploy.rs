//! What `deploy/` holds is what the program takes: every configuration by the program's own parser, every port, time and name beside the
//! one that it has to agree with, every metric of the board. `deploy/check` does what needs tools that are not everywhere.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use entrepot::AccessBlueprint;
use entrepot::config::{Configuration, Surroundings};
use entrepot_access::{Anonymous, Rules};
use entrepot_testkit::{FakeUpstream, Image};
use entrepot_upstream::UpstreamConfig;
use toml::{Table, Value};
use yaml_rust2::{Yaml, YamlLoader};

use crate::support::{Running, Setup};

/// Where a replica learns how the others reach it.
const ADDRESS_VARIABLE: &str = "ENTREPOT_REPLICA_ADDRESS";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn yaml(path: &str) -> Yaml {
    let mut documents = YamlLoader::load_from_str(&read(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    assert_eq!(documents.len(), 1, "{path}");
    documents.remove(0)
}

/// The files below a folder of the repository, as paths from its root.
fn files(folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root().join(folder)).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{folder}/{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The chart's templates, which are no YAML before they are rendered.
fn templates() -> Vec<String> {
    files("deploy/helm/entrepot/templates")
}

/// A configuration somewhere in `deploy/` or in a page about it.
struct Written {
    place: String,
    text: String,
}

impl Written {
    /// Whether it is for replicas that share a bucket and a database.
    fn is_shared(&self) -> bool {
        self.text.contains("s3://") || self.text.contains("postgres://")
    }

    fn table(&self) -> Table {
        self.text.parse().unwrap_or_else(|error| panic!("{}: {error}", self.place))
    }

    /// What the program makes of it, with every secret that it names beside it.
    fn load(&self) -> Configuration {
        let folder = tempfile::tempdir().unwrap();
        let mut text = self.text.clone();
        for secrets in ["/run/secrets/", "/etc/entrepot/secrets/"] {
            text = text.replace(secrets, "");
        }
        for secret in ["s3", "postgres"] {
            std::fs::write(folder.path().join(secret), "secret\n").unwrap();
        }
        std::fs::write(folder.path().join("configuration.toml"), &text).unwrap();
        // What each replica has of its own; compose.yaml and the chart give it.
        let environment = |name: &str| (name == ADDRESS_VARIABLE).then(|| "http://10.0.0.7:5001".to_owned());
        let surroundings = Surroundings { working_folder: folder.path(), environment: &environment };
        Configuration::load(None, &surroundings).unwrap_or_else(|error| panic!("{}: {error}\n{text}", self.place))
    }
}

/// Every configuration that there is: files of that name, values of that name, and whole ones in the pages.
fn configurations() -> Vec<Written> {
    let mut found = Vec::new();
    for path in files("deploy") {
        if path.ends_with("/configuration.toml") {
            found.push(Written { text: read(&path), place: path });
        } else if path.contains("/values") {
            let text = yaml(&path)["configuration"].as_str().unwrap_or_else(|| panic!("{path}")).to_owned();
            found.push(Written { text, place: path });
        }
    }
    for page in ["docs/deploy.md", "docs/scaling.md"] {
        for block in read(page).split("```toml\n").skip(1) {
            let text = block.split("```").next().unwrap().to_owned();
            found.push(Written { text, place: page.to_owned() });
        }
    }
    found
}

#[test]
fn every_configuration_for_one_process_is_accepted() {
    let alone: Vec<Written> = configurations().into_iter().filter(|written| !written.is_shared()).collect();
    let places: Vec<&str> = alone.iter().map(|written| written.place.as_str()).collect();
    for place in ["docker/configuration.toml", "systemd/configuration.toml", "helm/entrepot/values.yaml"] {
        assert!(places.iter().any(|found| found.ends_with(place)), "{places:?}");
    }
    for written in &alone {
        written.load();
    }
}

#[test]
fn every_configuration_for_many_replicas_is_accepted() {
    let shared: Vec<Written> = configurations().into_iter().filter(Written::is_shared).collect();
    let places: Vec<&str> = shared.iter().map(|written| written.place.as_str()).collect();
    for place in ["compose/configuration.toml", "helm/entrepot/values-replicas.yaml", "docs/deploy.md"] {
        assert!(places.iter().any(|found| found.ends_with(place)), "{places:?}");
    }
    for written in &shared {
        written.load();
    }
}

/// What replicas have in common has to be said; what each has of its own must not be.
#[test]
fn configurations_for_many_replicas_say_what_replicas_need_and_hold_no_secret() {
    for written in configurations().iter().filter(|written| written.is_shared()) {
        let (place, table) = (&written.place, written.table());
        for storage in ["registry_storage", "proxy_storage"] {
            assert!(text(&table, &[storage]).starts_with("s3://"), "{place}: {storage}");
        }
        assert!(!text(&table, &["temporary_registry_storage"]).contains("://"), "{place}");
        assert!(text(&table, &["metadata", "url"]).starts_with("postgres://"), "{place}");
        assert!(table["replica"].as_table().unwrap().contains_key("listen"), "{place}");
        assert!(!table["replica"].as_table().unwrap().contains_key("address"), "{place}: each replica has its own");
        for secret in [["metadata", "password"], ["storage", "secret_access_key"]] {
            assert!(!written.text.contains(&format!("\n{} =", secret[1])), "{place}: {secret:?} belongs into a file");
        }
        // Two listeners cannot share a port, and that of the metrics would be the replicas'.
        let [http, internal, metrics] = ports(&table);
        assert!(internal.is_some() && metrics.is_some(), "{place}");
        assert_eq!(BTreeSet::from([http, internal, metrics]).len(), 3, "{place}");
    }
}

fn text<'t>(table: &'t Table, path: &[&str]) -> &'t str {
    let (last, tables) = path.split_last().unwrap();
    let table = tables.iter().fold(table, |table, name| table[*name].as_table().unwrap());
    table[*last].as_str().unwrap()
}

/// The ports of the registry, of the internal listener, and of the metrics, as far as they are written.
fn ports(table: &Table) -> [Option<u16>; 3] {
    [("server", "listen"), ("replica", "listen"), ("telemetry", "metrics_listen")].map(|(section, key)| {
        let address = table.get(section)?.as_table()?.get(key).and_then(Value::as_str)?;
        Some(address.rsplit_once(':').unwrap().1.parse().unwrap())
    })
}

/// The seconds of `server.shutdown_timeout`, and the ten in which the program ends what outlives requests.
fn ending_seconds(written: &Written) -> i64 {
    let table = written.table();
    text(&table, &["server", "shutdown_timeout"]).strip_suffix('s').unwrap().parse::<i64>().unwrap() + 10
}

fn configuration_of(place: &str) -> Written {
    configurations().into_iter().find(|written| written.place == place).unwrap()
}

#[test]
fn whoever_stops_the_program_waits_until_it_has_ended() {
    let unit = read("deploy/systemd/entrepot.service");
    let stop = unit.lines().find_map(|line| line.strip_prefix("TimeoutStopSec=")?.strip_suffix('s')).unwrap();
    let ending = ending_seconds(&configuration_of("deploy/systemd/configuration.toml"));
    assert!(stop.parse::<i64>().unwrap() > ending, "{stop} {ending}");

    let compose = yaml("deploy/compose/compose.yaml");
    let stop = compose["x-replica"]["stop_grace_period"].as_str().unwrap().strip_suffix('s').unwrap();
    let ending = ending_seconds(&configuration_of("deploy/compose/configuration.toml"));
    assert!(stop.parse::<i64>().unwrap() > ending, "{stop} {ending}");

    let base = yaml("deploy/helm/entrepot/values.yaml");
    for place in ["deploy/helm/entrepot/values.yaml", "deploy/helm/entrepot/values-replicas.yaml"] {
        let own = yaml(place);
        let value = |name: &str| own[name].as_i64().or_else(|| base[name].as_i64()).unwrap();
        let ending = ending_seconds(&configuration_of(place));
        assert!(value("terminationGraceSeconds") > value("preStopSeconds") + ending, "{place} {ending}");
    }
}

#[test]
fn the_ports_of_a_configuration_are_those_that_lead_to_it() {
    let values = yaml("deploy/helm/entrepot/values.yaml");
    let port = |name: &str| values["ports"][name].as_i64().and_then(|port| u16::try_from(port).ok());
    for place in ["deploy/helm/entrepot/values.yaml", "deploy/helm/entrepot/values-replicas.yaml"] {
        let [http, internal, metrics] = ports(&configuration_of(place).table());
        assert_eq!((http, metrics), (port("http"), port("metrics")), "{place}");
        assert!(internal.is_none() || internal == port("internal"), "{place}");
    }
    let [http, internal, _] = ports(&configuration_of("deploy/compose/configuration.toml").table());
    let (http, internal) = (http.unwrap(), internal.unwrap());
    let (balancer, compose) = (read("deploy/compose/haproxy.cfg"), yaml("deploy/compose/compose.yaml"));
    for number in 1..=3 {
        assert!(balancer.contains(&format!("server entrepot-{number} entrepot-{number}:{http}\n")), "{number}");
        let replica = &compose["services"][format!("entrepot-{number}").as_str()];
        let address = replica["environment"][ADDRESS_VARIABLE].as_str().unwrap();
        assert_eq!(address, format!("http://entrepot-{number}:{internal}"));
    }
    let [http, ..] = ports(&configuration_of("deploy/docker/configuration.toml").table());
    assert!(read("deploy/Dockerfile").contains(&format!("\nEXPOSE {}\n", http.unwrap())));
}

#[test]
fn the_balancer_believes_no_client_and_the_replicas_believe_the_balancer() {
    let balancer = read("deploy/compose/haproxy.cfg");
    for header in ["X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host"] {
        assert!(balancer.contains(&format!("http-request set-header {header} ")), "{header}");
    }
    assert!(balancer.contains("uri /readyz"));
    assert!(!balancer.contains("cookie ") && !balancer.contains("balance source"), "no request sticks to a replica");
    let networks = yaml("deploy/compose/compose.yaml");
    let network = networks["networks"]["inside"]["ipam"]["config"][0]["subnet"].as_str().unwrap();
    let table = configuration_of("deploy/compose/configuration.toml").table();
    assert_eq!(table["server"]["trusted_proxies"].as_array().unwrap()[0].as_str(), Some(network));
}

#[test]
fn every_image_has_a_version_and_every_secret_is_a_file_that_is_made() {
    let compose = yaml("deploy/compose/compose.yaml");
    let (prepare, ignored) = (read("deploy/compose/prepare"), read("deploy/compose/.gitignore"));
    let services = compose["services"].as_hash().unwrap();
    assert_eq!(services.len(), 6);
    for (name, service) in services {
        let name = name.as_str().unwrap();
        // YAML's own way to share is not resolved by the parser.
        let is_replica = name.starts_with("entrepot-");
        let service = if is_replica { &compose["x-replica"] } else { service };
        must_have_a_version(service["image"].as_str().unwrap_or_else(|| panic!("{name}")));
        for (variable, value) in service["environment"].as_hash().into_iter().flatten() {
            let variable = variable.as_str().unwrap();
            let is_secret = ["PASSWORD", "SECRET", "TOKEN"].iter().any(|word| variable.contains(word));
            assert!(!is_secret || variable.ends_with("_FILE"), "{name}: {variable} = {value:?}");
        }
        if is_replica || name == "balancer" {
            assert_eq!(service["read_only"].as_bool(), Some(true), "{name}");
        }
        if !is_replica {
            assert!(!service["healthcheck"]["test"].is_badvalue(), "{name}");
        }
    }
    for (name, secret) in compose["secrets"].as_hash().unwrap() {
        let name = name.as_str().unwrap();
        assert_eq!(secret["file"].as_str(), Some(format!("./secrets/{name}").as_str()));
        assert!(prepare.contains(&format!("\nsecret {name} ")), "prepare does not make {name}");
    }
    assert_eq!(ignored, "/secrets\n");
    let dockerfile = read("deploy/Dockerfile");
    let stages: Vec<&str> = dockerfile.lines().filter_map(|line| line.strip_prefix("FROM ")).collect();
    let [build, "scratch"] = stages[..] else { panic!("{stages:?}") };
    must_have_a_version(build.strip_suffix(" AS build").unwrap());
    for line in ["USER 65532:65532", "STOPSIGNAL SIGTERM", "VOLUME /var/lib/entrepot", "HEALTHCHECK "] {
        assert!(dockerfile.contains(&format!("\n{line}")), "{line}");
    }
}

fn must_have_a_version(image: &str) {
    let version = image.rsplit_once(':').unwrap_or_else(|| panic!("{image} has no tag")).1;
    assert!(version.matches('.').count() >= 1 && version != "latest", "{image}");
    assert!(version.bytes().any(|byte| byte.is_ascii_digit()), "{image}");
}

/// What the program would have to be told a second time is told once: the Dockerfile's toolchain is the workspace's.
#[test]
fn the_image_is_built_with_the_toolchain_of_the_workspace() {
    let workspace: Table = read("Cargo.toml").parse().unwrap();
    let version = text(&workspace, &["workspace", "package", "rust-version"]);
    assert!(read("deploy/Dockerfile").contains(&format!("FROM rust:{version}.")), "{version}");
    let release = text(&workspace, &["workspace", "package", "version"]);
    let chart = yaml("deploy/helm/entrepot/Chart.yaml");
    assert_eq!(chart["appVersion"].as_str(), Some(release));
    let compose = yaml("deploy/compose/compose.yaml");
    assert_eq!(compose["x-replica"]["image"].as_str(), Some(format!("entrepot:{release}").as_str()));
}

#[test]
fn the_templates_use_the_values_that_there_are_and_all_of_them() {
    let values = yaml("deploy/helm/entrepot/values.yaml");
    let mut used = BTreeSet::new();
    for path in templates() {
        let template = read(&path);
        for rest in template.split(".Values.").skip(1) {
            let name = rest.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '.').next().unwrap();
            let name = name.trim_end_matches('.');
            let value = name.split('.').fold(&values, |value, part| &value[part]);
            assert!(!value.is_badvalue(), "{path} uses {name}, which values.yaml does not have");
            used.insert(name.to_owned());
        }
    }
    let unused = |path: &str| !used.iter().any(|name| path == name || path.starts_with(&format!("{name}.")));
    for path in paths(&values, "") {
        assert!(!unused(&path), "no template uses {path}");
    }
    for path in paths(&yaml("deploy/helm/entrepot/values-replicas.yaml"), "") {
        assert!(!unused(&path), "values-replicas.yaml sets {path}, which no template uses");
    }
}

/// The names of the values, as far down as tables go.
fn paths(value: &Yaml, before: &str) -> Vec<String> {
    let Some(table) = value.as_hash().filter(|table| !table.is_empty()) else { return vec![before.to_owned()] };
    let inside = |name: &Yaml| {
        let name = name.as_str().unwrap();
        if before.is_empty() { name.to_owned() } else { format!("{before}.{name}") }
    };
    table.iter().flat_map(|(name, value)| paths(value, &inside(name))).collect()
}

#[test]
fn pods_have_no_rights_and_a_rollout_leaves_no_gap() {
    let pod = read("deploy/helm/entrepot/templates/_pod.tpl");
    assert!(pod.contains(&format!("- name: {ADDRESS_VARIABLE}\n")));
    for line in [
        "runAsNonRoot: true",
        "readOnlyRootFilesystem: true",
        "allowPrivilegeEscalation: false",
        "drop: [ALL]",
        "type: RuntimeDefault",
        "automountServiceAccountToken: false",
        "path: /readyz",
        "topologySpreadConstraints:",
        "fieldPath: status.podIP",
        "terminationGracePeriodSeconds: {{ .Values.terminationGraceSeconds }}",
    ] {
        assert!(pod.contains(line), "{line}");
    }
    assert!(read("deploy/helm/entrepot/templates/deployment.yaml").contains("maxUnavailable: 0"));
    for path in templates() {
        let template = read(&path);
        let actions = || template.split("{{").skip(1).map(|rest| rest.trim_start_matches('-').trim_start());
        let is_opening =
            |action: &&str| ["if ", "with ", "range ", "define "].iter().any(|word| action.starts_with(word));
        let opened = actions().filter(is_opening).count();
        let closed = actions().filter(|action| action.starts_with("end")).count();
        assert_eq!(opened, closed, "{path} has a block that is not closed");
    }
}

#[test]
fn the_unit_keeps_the_program_in_its_folder_and_lets_it_start_again() {
    let unit = read("deploy/systemd/entrepot.service");
    for line in [
        "User=entrepot",
        "StateDirectory=entrepot",
        "ProtectSystem=strict",
        "NoNewPrivileges=yes",
        "LimitNOFILE=262144",
        "Restart=on-failure",
        "KillSignal=SIGTERM",
    ] {
        assert!(unit.lines().any(|found| found == line), "{line}");
    }
    // Everything that the configuration writes to lies in the one folder that the unit may write to.
    let table = configuration_of("deploy/systemd/configuration.toml").table();
    for path in ["registry_storage", "temporary_registry_storage", "proxy_storage"] {
        assert!(text(&table, &[path]).starts_with("/var/lib/entrepot/"), "{path}");
    }
    assert!(text(&table, &["access", "users_file"]).starts_with("/var/lib/entrepot/"));
}

/// The series of a server that has answered something of everything, each with the labels that it was seen with.
async fn series() -> BTreeMap<String, String> {
    let upstream = FakeUpstream::start().await;
    Image::new(1, &[10]).load_into(&upstream, "team/app", "1");
    let config = UpstreamConfig::new("upstream.test", upstream.url().parse().unwrap());
    let access = AccessBlueprint {
        service: "registry".to_owned(),
        rules: Rules::new(Anonymous::Pull, Vec::new(), Vec::new()),
        users: None,
        issuers: Vec::new(),
        token_lifetime: Duration::from_mins(5),
    };
    let setup = Setup { upstreams: vec![config], access: Some(access), ..Setup::default() };
    let registry = Running::with(setup).await;
    let url = registry.url("/v2/proxy/upstream.test/team/app/manifests/1");
    assert!(registry.client.get(url).send().await.unwrap().status().is_success());
    let mut series = BTreeMap::new();
    for line in registry.metrics().await.lines() {
        if let Some(described) = line.strip_prefix("# TYPE ") {
            let (name, kind) = described.split_once(' ').unwrap();
            let endings: &[&str] = match kind {
                "counter" => &["_total"],
                "histogram" => &["_bucket", "_sum", "_count"],
                "info" => &["_info"],
                _ => &[""],
            };
            series.extend(endings.iter().map(|ending| (format!("{name}{ending}"), String::new())));
        } else if let Some((name, labels)) = line.split_once('{')
            && let Some(seen) = series.get_mut(name)
        {
            seen.push_str(labels);
        }
    }
    series
}

#[tokio::test]
async fn the_board_shows_series_and_labels_that_there_are() {
    let series = series().await;
    let board: serde_json::Value = serde_json::from_str(&read("deploy/grafana/entrepot.json")).unwrap();
    let panels = board["panels"].as_array().unwrap();
    let mut numbers = BTreeSet::new();
    let mut shown = BTreeSet::new();
    for panel in panels {
        assert!(numbers.insert(panel["id"].as_u64().unwrap()), "two panels have one number");
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expression = target["expr"].as_str().unwrap();
            let words = expression.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
            for name in words.filter(|word| word.starts_with("entrepot_")) {
                let labels = series.get(name).unwrap_or_else(|| panic!("there is no {name}: {expression}"));
                for label in grouped_by(expression) {
                    // What no upstream told is there without a value, and so without a label.
                    let is_unseen = labels.is_empty() && label == "upstream";
                    assert!(is_unseen || labels.contains(&format!("{label}=\"")), "{name} has no {label}: {labels}");
                }
                shown.insert(name.to_owned());
            }
        }
    }
    assert!(shown.len() > 30, "{shown:?}");
}

/// The labels in the `by (…)` of an expression.
fn grouped_by(expression: &str) -> Vec<&str> {
    let lists = expression.split("by (").skip(1).map(|rest| rest.split(')').next().unwrap());
    lists.flat_map(|list| list.split(',')).map(str::trim).collect()
}

#[test]
fn the_page_about_scaling_has_what_the_model_prints() {
    let output = Command::new(root().join("bench/model/run")).arg("--check").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
