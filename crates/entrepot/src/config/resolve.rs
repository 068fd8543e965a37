//! From what is written to what holds: defaults filled in, values parsed, paths made absolute, contradictions refused.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use entrepot_access::Anonymous;
use toml::Spanned;

use super::check::repeat;
use super::error::{Place, Problem, ProblemKind, Problems};
use super::server::is_local;
use super::value::parse_duration;
use super::written::{Text, Written, WrittenTelemetry};
use super::{Configuration, LogFormat, LogLevel, Source, Surroundings, TOKEN_VARIABLE, TelemetryConfiguration};
use super::{access, keys, metadata, object_storage, proxy, replica, server, storage};

/// Collects problems while values are read; a value with a problem becomes its default, and in the end nothing is started.
pub(crate) struct Resolver<'r> {
    pub(crate) text: &'r str,
    pub(crate) file: Option<&'r Path>,
    /// What relative paths are relative to.
    pub(crate) folder: &'r Path,
    pub(crate) surroundings: &'r Surroundings<'r>,
    pub(crate) problems: Vec<Problem>,
    /// The keys of secrets that are in the file themselves.
    pub(crate) secrets_in_file: Vec<&'static str>,
}

/// Everything that holds, or everything that is wrong.
pub(crate) fn resolve(
    mut resolver: Resolver<'_>,
    written: &Written,
    source: Source,
) -> Result<Configuration, Problems> {
    let proxy = proxy::proxy(&mut resolver, &written.proxy);
    // Who callers are may depend on the upstreams that know their own users.
    let access = written.access.as_ref().map(|access| access::access(&mut resolver, access, &proxy.upstreams));
    let registry_storage =
        storage::location(&mut resolver, "registry_storage", &written.registry_storage, "storage/registry");
    let path = "temporary_registry_storage";
    let temporary_registry_storage =
        storage::folder(&mut resolver, path, &written.temporary_registry_storage, "storage/_tmp");
    let proxy_storage = storage::location(&mut resolver, "proxy_storage", &written.proxy_storage, "storage/proxy");
    let storage = object_storage::object_storage(&mut resolver, &written.storage, [&registry_storage, &proxy_storage]);
    let metadata = metadata::metadata(&mut resolver, written.metadata.as_ref());
    let has_metadata = written.metadata.is_some();
    let replica = replica::replica(&mut resolver, written.replica.as_ref(), &metadata, has_metadata);
    let mut configuration = Configuration {
        source,
        registry_storage,
        temporary_registry_storage,
        proxy_storage,
        storage,
        metadata,
        replica,
        server: server::server(&mut resolver, &written.server),
        access,
        proxy,
        telemetry: resolver.telemetry(&written.telemetry),
        token: (resolver.surroundings.environment)(TOKEN_VARIABLE).filter(|token| !token.is_empty()).map(Into::into),
        secrets_in_file: Vec::new(),
    };
    storage::check(&mut resolver, &configuration, written);
    resolver.check_addresses(&configuration, written);
    resolver.check_access(&configuration, written);
    configuration.secrets_in_file = resolver.secrets_in_file;
    Problems::check(resolver.problems)?;
    Ok(configuration)
}

impl Resolver<'_> {
    pub(crate) fn place(&self, byte: usize) -> Place {
        Place::new(self.file, self.text, byte)
    }

    /// The place of the first of the values that is written; where a default is in the way, that is the other one.
    pub(crate) fn place_of(&self, values: [&Text; 2]) -> Place {
        let written = values.into_iter().flatten().next();
        self.place(written.map_or(0, |value| value.span().start))
    }

    pub(crate) fn add(&mut self, place: Place, key: &str, kind: ProblemKind) {
        self.problems.push(Problem { place, key: key.to_owned(), kind });
    }

    pub(crate) fn refuse(&mut self, path: &'static str, written: &Spanned<String>) {
        let kind = ProblemKind::WrongValue { found: repeat(written.get_ref()), allowed: allowed(path) };
        self.add(self.place(written.span().start), path, kind);
    }

    /// The parsed value; the default when there is none or it cannot be parsed, which is noted.
    pub(crate) fn parsed<T>(
        &mut self,
        path: &'static str,
        written: &Text,
        default: T,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> T {
        let Some(written) = written else {
            return default;
        };
        parse(written.get_ref()).unwrap_or_else(|| {
            self.refuse(path, written);
            default
        })
    }

    /// The number; the default when there is none or it is out of its range, which is noted.
    pub(crate) fn number(
        &mut self,
        path: &'static str,
        written: Option<&Spanned<i64>>,
        range: RangeInclusive<i64>,
        default: usize,
    ) -> usize {
        let Some(written) = written else {
            return default;
        };
        let number = *written.get_ref();
        let value = usize::try_from(number).ok().filter(|_| range.contains(&number));
        value.unwrap_or_else(|| {
            let kind = ProblemKind::WrongValue { found: format!("the number {number}"), allowed: allowed(path) };
            self.add(self.place(written.span().start), path, kind);
            default
        })
    }

    /// Notes that a key is not there. `start` is where its table begins.
    pub(crate) fn missing(&mut self, path: &'static str, start: usize) {
        self.add(self.place(start), path, ProblemKind::Missing { allowed: allowed(path) });
    }

    /// Notes a name that another thing of its kind has. `lines` are those that were met so far.
    pub(crate) fn take_name(
        &mut self,
        path: &'static str,
        what: &'static str,
        written: &Spanned<String>,
        lines: &mut HashMap<String, usize>,
    ) {
        let name = written.get_ref();
        let place = self.place(written.span().start);
        if let Some(line) = lines.get(name) {
            self.add(place, path, ProblemKind::DuplicateName { name: name.clone(), what, line: *line });
        } else {
            lines.insert(name.clone(), place.line);
        }
    }

    fn telemetry(&mut self, written: &WrittenTelemetry) -> TelemetryConfiguration {
        let default = TelemetryConfiguration::default();
        let metrics_listen = |text: &str| match text {
            "off" => Some(None),
            address => address.parse().ok().map(Some),
        };
        TelemetryConfiguration {
            log: self.parsed("telemetry.log", &written.log, default.log, LogFormat::parse),
            log_level: self.parsed("telemetry.log_level", &written.log_level, default.log_level, LogLevel::parse),
            metrics_listen: self.parsed(
                "telemetry.metrics_listen",
                &written.metrics_listen,
                default.metrics_listen,
                metrics_listen,
            ),
        }
    }

    /// Nobody is let in by having forgotten to say who may come.
    fn check_access(&mut self, configuration: &Configuration, written: &Written) {
        let server = &configuration.server;
        let is_open = configuration.access.as_ref().is_none_or(|access| access.anonymous == Anonymous::Full);
        for upstream in written.proxy.upstream.iter().map(Spanned::get_ref) {
            if let Some(credentials) = upstream.credentials.as_ref().filter(|_| is_open) {
                let place = self.place(credentials.span().start);
                self.add(place, "proxy.upstream.credentials", ProblemKind::CallerWithoutAccess);
            }
        }
        if configuration.access.is_some() {
            return;
        }
        let port = server.listen.port();
        let (path, place, found) = if !server.listen.ip().to_canonical().is_loopback() {
            let found = format!("{}, which other machines can reach", server.listen);
            ("server.listen", self.place_of([&written.server.listen, &None]), found)
        } else if let Some(url) = server.public_url.as_ref().filter(|url| !is_local(url)) {
            let found = format!("{url}, by which other machines reach the server");
            ("server.public_url", self.place_of([&written.server.public_url, &None]), found)
        } else if let Some(proxy) = written.server.trusted_proxies.first() {
            let found = "a list of proxies, by which other machines reach the server".to_owned();
            ("server.trusted_proxies", self.place(proxy.span().start), found)
        } else {
            return;
        };
        self.add(place, path, ProblemKind::OpenWithoutAccess { found, port });
    }

    /// Each listener needs an address of its own.
    fn check_addresses(&mut self, configuration: &Configuration, written: &Written) {
        let replica = written.replica.as_ref().and_then(|replica| replica.get_ref().listen.clone());
        let listeners = [
            ("server.listen", Some(configuration.server.listen), &written.server.listen),
            ("telemetry.metrics_listen", configuration.telemetry.metrics_listen, &written.telemetry.metrics_listen),
            ("replica.listen", configuration.replica.as_ref().map(|replica| replica.listen), &replica),
        ];
        for (index, (key, address, text)) in listeners.iter().enumerate() {
            let others = listeners.iter().take(index);
            let other = others
                .filter(|(_, other, _)| other.zip(*address).is_some_and(|(other, address)| overlap(other, address)));
            for (other, _, other_text) in other {
                let Some(address) = *address else { continue };
                let place = self.place_of([text, other_text]);
                self.add(place, key, ProblemKind::SameAddress { address, other });
            }
        }
    }
}

/// Reads durations that are not shorter than `least`.
pub(crate) fn duration_from(least: Duration) -> impl Fn(&str) -> Option<Duration> {
    move |text| parse_duration(text).filter(|value| *value >= least)
}

/// Whether two listeners would be in each other's way. Port 0 is a free one at each start.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let covers = |one: SocketAddr, other: SocketAddr| one.ip().is_unspecified() || one.ip() == other.ip();
    one.port() == other.port() && one.port() != 0 && (covers(one, other) || covers(other, one))
}

/// What may be written for a key of the table.
pub(crate) fn allowed(path: &str) -> &'static str {
    keys::key(path).map_or("", |key| key.allowed)
}
