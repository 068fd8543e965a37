//! Every key of the configuration: one table, from which errors, the check for unknown keys and the documentation come.

/// How a value is written in TOML.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// `"text"`
    Text,
    /// Like `Text`, but what it says is never repeated.
    Secret,
    /// `5`
    Integer,
    /// `["text", …]`
    Texts,
    /// `true`
    Flag,
}

/// One key.
#[derive(Debug)]
pub(crate) struct Key {
    /// The name with that of its table: `server.listen`.
    pub(crate) path: &'static str,
    pub(crate) form: Form,
    /// What may be written, to be read after "allowed:".
    pub(crate) allowed: &'static str,
    /// What holds when the key is not there.
    pub(crate) default: &'static str,
    /// What it does, in a sentence or two.
    pub(crate) meaning: &'static str,
    /// A value as it would stand in a file.
    pub(crate) example: &'static str,
}

/// One table. The keys before all tables are in a table without a name.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) path: &'static str,
    /// Written as `[[path]]`, any number of times.
    pub(crate) is_list: bool,
    pub(crate) meaning: &'static str,
}

/// Every table, in the order of the documentation.
pub(crate) const TABLES: &[Table] = &[
    Table {
        path: "",
        is_list: false,
        meaning: "Where things are stored. These three keys are a complete configuration.",
    },
    Table { path: "server", is_list: false, meaning: "How clients reach the registry, and what they may cost." },
    Table { path: "access", is_list: false, meaning: "Who may do what." },
    Table { path: "proxy", is_list: false, meaning: "Pulling through from other registries." },
    Table {
        path: "proxy.upstream",
        is_list: true,
        meaning: "A registry to pull through from: one with an account, a short name or a private address. Public \
                  registries need no entry.",
    },
    Table {
        path: "proxy.freshness",
        is_list: true,
        meaning: "An exception to how long tags are believed. The first one that matches counts; what it does not say is as \
                  for the upstream. In patterns `*` and `?` stand for characters between two slashes, `**` for any number of \
                  components, `[…]` for one of some characters, `{a,b}` for one of some texts.",
    },
    Table {
        path: "proxy.rule",
        is_list: true,
        meaning: "What may be pulled through. The rules are asked in their order, before the upstream is; everything that a \
                  rule names has to match, and the first one that matches decides. Without any that matches, everything may.",
    },
    Table { path: "telemetry", is_list: false, meaning: "What the operator sees." },
];

/// Every key, in the order of the documentation.
pub(crate) const KEYS: &[Key] = &[
    Key {
        path: "registry_storage",
        form: Form::Text,
        allowed: "a folder",
        default: "`\"storage/registry\"`",
        meaning: "Your own images, laid out as the reference registry lays them out.",
        example: "\"storage/registry\"",
    },
    Key {
        path: "temporary_registry_storage",
        form: Form::Text,
        allowed: "a folder",
        default: "`\"storage/_tmp\"`",
        meaning: "Uploads and fetches that are not finished. Best on the file system of the other two; swept at the start.",
        example: "\"storage/_tmp\"",
    },
    Key {
        path: "proxy_storage",
        form: Form::Text,
        allowed: "a folder",
        default: "`\"storage/proxy\"`",
        meaning: "The cache of other registries' images.",
        example: "\"storage/proxy\"",
    },
    Key {
        path: "server.listen",
        form: Form::Text,
        allowed: "an IP address with a port, as in \"127.0.0.1:5000\", \"0.0.0.0:5000\" or \"[::]:5000\"",
        default: "`\"127.0.0.1:5000\"`",
        meaning: "Where clients connect. An address that other machines can reach needs `access.anonymous` to be written down.",
        example: "\"127.0.0.1:5000\"",
    },
    Key {
        path: "server.connections_max",
        form: Form::Integer,
        allowed: "a whole number from 1 to 1000000",
        default: "`10000`",
        meaning: "Connections served at once. Beyond it a few more get answers to health checks and 503 to everything else, \
                  then clients wait.",
        example: "10000",
    },
    Key {
        path: "server.shutdown_timeout",
        form: Form::Text,
        allowed: "a duration, as in \"30s\" or \"5m\"",
        default: "`\"30s\"`",
        meaning: "How long requests may go on after the process was told to stop.",
        example: "\"30s\"",
    },
    Key {
        path: "server.upload_expiry",
        form: Form::Text,
        allowed: "a duration from \"1m\" on, as in \"12h\" or \"7d\"",
        default: "`\"7d\"`",
        meaning: "An upload that nobody continued for this long is given up and its bytes are freed.",
        example: "\"7d\"",
    },
    Key {
        path: "server.blob_size_max",
        form: Form::Text,
        allowed: "a size from \"1\" byte on, as in \"512MiB\" or \"10GiB\"",
        default: "no limit",
        meaning: "The largest blob that can be pushed. Manifests are limited to 4 MiB in any case.",
        example: "\"10GiB\"",
    },
    Key {
        path: "access.anonymous",
        form: Form::Text,
        allowed: "\"full\"; \"none\" and \"pull\" will come with user accounts",
        default: "`\"full\"` on a loopback address, to be written down on any other",
        meaning: "What callers without credentials may do. `\"full\"`: everything, also push and delete.",
        example: "\"full\"",
    },
    Key {
        path: "proxy.hosts",
        form: Form::Text,
        allowed: "\"public\" or \"listed\"",
        default: "`\"public\"`",
        meaning: "Which registries may be named in a path. `\"public\"`: the listed ones and any host whose addresses are all \
                  public. `\"listed\"`: the listed ones alone.",
        example: "\"public\"",
    },
    Key {
        path: "proxy.tag_fresh_for",
        form: Form::Text,
        allowed: "a duration, as in \"5m\", or \"forever\"",
        default: "`\"1m\"`",
        meaning: "How long the last answer of an upstream about a tag is believed without asking again. All clients of that time share one question; \"0s\" asks for every pull.",
        example: "\"5m\"",
    },
    Key {
        path: "proxy.stale_for",
        form: Form::Text,
        allowed: "a duration, as in \"5m\", or \"forever\"",
        default: "`\"forever\"`",
        meaning: "How long after its last answer a tag may still be served when the upstream cannot be asked. Such answers carry a `Warning`.",
        example: "\"7d\"",
    },
    Key {
        path: "proxy.on_upstream_404",
        form: Form::Text,
        allowed: "\"keep\" or \"forget\"",
        default: "`\"keep\"`",
        meaning: "What it means for a cached tag that the upstream has it no more: it is kept and served with a `Warning`, or it is forgotten.",
        example: "\"forget\"",
    },
    Key {
        path: "proxy.root_mirror",
        form: Form::Text,
        allowed: "the name of a listed upstream, or with `proxy.hosts = \"public\"` that of a public host such as \"docker.io\"",
        default: "none",
        meaning: "The registry whose names are answered without a prefix where no own repository has them: what `registry-mirrors` of docker needs.",
        example: "\"docker.io\"",
    },
    Key {
        path: "proxy.size_max",
        form: Form::Text,
        allowed: "a size from \"1\" byte on, as in \"500GiB\" or \"2TiB\"",
        default: "no limit",
        meaning: "How much the cache may hold. What was not pulled for the longest time goes first; own images are never touched.",
        example: "\"500GiB\"",
    },
    Key {
        path: "proxy.size_high",
        form: Form::Text,
        allowed: "a part of `size_max` from \"1%\" to \"100%\", above `size_low`",
        default: "`\"95%\"`",
        meaning: "How full the cache may become before room is made.",
        example: "\"95%\"",
    },
    Key {
        path: "proxy.size_low",
        form: Form::Text,
        allowed: "a part of `size_max` from \"0%\" to \"99%\", below `size_high`",
        default: "`\"85%\"`",
        meaning: "How full the cache is when enough room was made.",
        example: "\"85%\"",
    },
    Key {
        path: "proxy.unused_for",
        form: Form::Text,
        allowed: "a duration from \"1m\" on, as in \"90d\"",
        default: "no limit",
        meaning: "What was not pulled for this long goes, however much room there is.",
        example: "\"90d\"",
    },
    Key {
        path: "proxy.orphan_fills_max",
        form: Form::Integer,
        allowed: "a whole number from 0 to 10000",
        default: "`32`",
        meaning: "Fetches that may go on after the last client has left them; one more ends.",
        example: "32",
    },
    Key {
        path: "proxy.upstream.name",
        form: Form::Text,
        allowed: "one component of a repository name: lower-case letters and digits, separated inside by \".\", \"_\", \"__\" or \"-\"",
        default: "required",
        meaning: "What stands behind `proxy/` in a path, usually the host: `ghcr.io`.",
        example: "\"ghcr.io\"",
    },
    Key {
        path: "proxy.upstream.url",
        form: Form::Text,
        allowed: "https://HOST or https://HOST:PORT, or http likewise, without user, path or query",
        default: "`https://` and the name",
        meaning: "Where the registry is.",
        example: "\"https://ghcr.io\"",
    },
    Key {
        path: "proxy.upstream.aliases",
        form: Form::Texts,
        allowed: "a list of further names",
        default: "none",
        meaning: "Further names in paths, which lead to the same cache.",
        example: "[\"github\"]",
    },
    Key {
        path: "proxy.upstream.username",
        form: Form::Text,
        allowed: "a text that is not empty",
        default: "none",
        meaning: "The account to pull with. Needs one of the three kinds of password.",
        example: "\"robot\"",
    },
    Key {
        path: "proxy.upstream.password",
        form: Form::Secret,
        allowed: "a text that is not empty",
        default: "none",
        meaning: "The password or token of the account. Better kept in a file or in the environment.",
        example: "\"secret\"",
    },
    Key {
        path: "proxy.upstream.password_file",
        form: Form::Text,
        allowed: "a file that can be read, with one line",
        default: "none",
        meaning: "A file with the password or token of the account.",
        example: "\"/run/secrets/ghcr\"",
    },
    Key {
        path: "proxy.upstream.password_env",
        form: Form::Text,
        allowed: "the name of an environment variable that is set",
        default: "none",
        meaning: "The environment variable with the password or token of the account.",
        example: "\"GHCR_TOKEN\"",
    },
    Key {
        path: "proxy.upstream.trusted_hosts",
        form: Form::Texts,
        allowed: "a list of hosts, each HOST or HOST:PORT",
        default: "none",
        meaning: "Where redirects and token servers of this registry may lead although they are on another domain or on a \
                  private address. As token servers they are given the account.",
        example: "[\"auth.example.com\"]",
    },
    Key {
        path: "proxy.upstream.credential_helper",
        form: Form::Texts,
        allowed: "a list with a program and its arguments",
        default: "none",
        meaning: "A program that gives the account, in place of `username` and a password: it is run with `get` as its last argument, reads the host of the registry and answers as the credential helpers of docker do.",
        example: "[\"docker-credential-ecr-login\"]",
    },
    Key {
        path: "proxy.upstream.credential_lifetime",
        form: Form::Text,
        allowed: "a duration from \"1s\" on, as in \"30m\" or \"11h\"",
        default: "`\"30m\"`, where there is a `credential_helper`",
        meaning: "How long an answer of the helper is used before it is asked again.",
        example: "\"11h\"",
    },
    Key {
        path: "proxy.upstream.ca",
        form: Form::Text,
        allowed: "a file with certificates in PEM",
        default: "none",
        meaning: "Certificates that are trusted for this registry, beside those of the system.",
        example: "\"/etc/ssl/corp.pem\"",
    },
    Key {
        path: "proxy.upstream.client_certificate",
        form: Form::Text,
        allowed: "a file with a certificate in PEM",
        default: "none",
        meaning: "The certificate that the registry is shown, with the chain behind it. Needs `client_key`.",
        example: "\"/etc/ssl/client.pem\"",
    },
    Key {
        path: "proxy.upstream.client_key",
        form: Form::Text,
        allowed: "a file with a private key in PEM",
        default: "none",
        meaning: "The key of `client_certificate`.",
        example: "\"/run/secrets/client.key\"",
    },
    Key {
        path: "proxy.upstream.http_proxy",
        form: Form::Secret,
        allowed: "http://HOST:PORT or http://USER:PASSWORD@HOST:PORT",
        default: "none",
        meaning: "The HTTP proxy that everything of this registry goes through, also what is asked over https. A user in it is never shown.",
        example: "\"http://proxy.corp:3128\"",
    },
    Key {
        path: "proxy.upstream.mirrors",
        form: Form::Texts,
        allowed: "a list with names of other listed upstreams, or of https://HOST or https://HOST/PATH, or http likewise, without user or query",
        default: "none",
        meaning: "Other places that serve the same registry, in the order in which they are asked for content by digest, before the registry itself. They are asked for tags when it cannot be.",
        example: "[\"https://mirror.gcr.io\"]",
    },
    Key {
        path: "proxy.upstream.requests_max",
        form: Form::Integer,
        allowed: "a whole number from 1 to 10000",
        default: "`128`",
        meaning: "The most requests to the registry at once, downloads included; further ones wait.",
        example: "16",
    },
    Key {
        path: "proxy.upstream.tag_fresh_for",
        form: Form::Text,
        allowed: "a duration, as in \"5m\", or \"forever\"",
        default: "as in `[proxy]`",
        meaning: "As `proxy.tag_fresh_for`, for this registry.",
        example: "\"1h\"",
    },
    Key {
        path: "proxy.upstream.stale_for",
        form: Form::Text,
        allowed: "a duration, as in \"5m\", or \"forever\"",
        default: "as in `[proxy]`",
        meaning: "As `proxy.stale_for`, for this registry.",
        example: "\"forever\"",
    },
    Key {
        path: "proxy.upstream.on_upstream_404",
        form: Form::Text,
        allowed: "\"keep\" or \"forget\"",
        default: "as in `[proxy]`",
        meaning: "As `proxy.on_upstream_404`, for this registry.",
        example: "\"keep\"",
    },
    Key {
        path: "proxy.freshness.upstreams",
        form: Form::Texts,
        allowed: "a list of patterns",
        default: "every upstream",
        meaning: "The names of the upstreams that it is for.",
        example: "[\"docker.io\", \"ghcr.io\"]",
    },
    Key {
        path: "proxy.freshness.repositories",
        form: Form::Texts,
        allowed: "a list of patterns",
        default: "every repository",
        meaning: "The repositories that it is for, as the upstream calls them.",
        example: "[\"library/*\", \"org/**\"]",
    },
    Key {
        path: "proxy.freshness.tags",
        form: Form::Texts,
        allowed: "a list of patterns",
        default: "every tag",
        meaning: "The tags that it is for.",
        example: "[\"v[0-9]*\", \"*-release\"]",
    },
    Key {
        path: "proxy.freshness.fresh_for",
        form: Form::Text,
        allowed: "a duration, as in \"5m\", or \"forever\"",
        default: "as for the upstream",
        meaning: "As `proxy.tag_fresh_for`, for these tags. \"forever\" is for tags that never move.",
        example: "\"forever\"",
    },
    Key {
        path: "proxy.freshness.stale_for",
        form: Form::Text,
        allowed: "a duration, as in \"5m\", or \"forever\"",
        default: "as for the upstream",
        meaning: "As `proxy.stale_for`, for these tags.",
        example: "\"7d\"",
    },
    Key {
        path: "proxy.freshness.on_upstream_404",
        form: Form::Text,
        allowed: "\"keep\" or \"forget\"",
        default: "as for the upstream",
        meaning: "As `proxy.on_upstream_404`, for these tags.",
        example: "\"keep\"",
    },
    Key {
        path: "proxy.rule.name",
        form: Form::Text,
        allowed: "a text of 1 to 100 characters on one line, that no other rule has",
        default: "required",
        meaning: "What refusals and the log call the rule.",
        example: "\"no-latest\"",
    },
    Key {
        path: "proxy.rule.action",
        form: Form::Text,
        allowed: "\"allow\" or \"deny\"",
        default: "required",
        meaning: "What happens to what matches.",
        example: "\"deny\"",
    },
    Key {
        path: "proxy.rule.log_only",
        form: Form::Flag,
        allowed: "true or false",
        default: "`false`",
        meaning: "The rule decides nothing: that it matched is logged and counted, and the next one is asked.",
        example: "true",
    },
    Key {
        path: "proxy.rule.upstreams",
        form: Form::Texts,
        allowed: "a list of patterns",
        default: "every upstream",
        meaning: "The names of the upstreams that it is for.",
        example: "[\"docker.io\"]",
    },
    Key {
        path: "proxy.rule.repositories",
        form: Form::Texts,
        allowed: "a list of patterns",
        default: "every repository",
        meaning: "The repositories that it is for, as the upstream calls them.",
        example: "[\"library/**\"]",
    },
    Key {
        path: "proxy.rule.tags",
        form: Form::Texts,
        allowed: "a list of patterns",
        default: "every tag and every digest",
        meaning: "The tags that it is for.",
        example: "[\"latest\"]",
    },
    Key {
        path: "proxy.rule.media_types",
        form: Form::Texts,
        allowed: "a list of patterns",
        default: "every type",
        meaning: "The types of manifests and blobs that it is for.",
        example: "[\"application/vnd.docker.**\"]",
    },
    Key {
        path: "proxy.rule.larger_than",
        form: Form::Text,
        allowed: "a size, as in \"512MiB\" or \"10GiB\"",
        default: "any size",
        meaning: "Only what is larger: a manifest with everything that it names, or a blob.",
        example: "\"10GiB\"",
    },
    Key {
        path: "proxy.rule.younger_than",
        form: Form::Text,
        allowed: "a duration from \"1s\" on, as in \"12h\" or \"3d\"",
        default: "any age",
        meaning: "Only images that were made less long ago.",
        example: "\"3d\"",
    },
    Key {
        path: "telemetry.log",
        form: Form::Text,
        allowed: "\"text\" or \"json\"",
        default: "`\"text\"`",
        meaning: "How the log is written: lines for people, or one JSON object a line.",
        example: "\"text\"",
    },
    Key {
        path: "telemetry.log_level",
        form: Form::Text,
        allowed: "\"error\", \"warn\", \"info\", \"debug\" or \"trace\"",
        default: "`\"info\"`",
        meaning: "The least important lines that are written. The line about each request is at `info`.",
        example: "\"info\"",
    },
    Key {
        path: "telemetry.metrics_listen",
        form: Form::Text,
        allowed: "an IP address with a port, as in \"127.0.0.1:5001\", or \"off\"",
        default: "`\"127.0.0.1:5001\"`",
        meaning: "Where Prometheus finds `/metrics`. There is no access control there.",
        example: "\"127.0.0.1:5001\"",
    },
];

impl Key {
    /// The name without that of its table.
    pub(crate) fn name(&self) -> &'static str {
        self.path.rsplit_once('.').map_or(self.path, |(_, name)| name)
    }

    /// The table that the key is in.
    pub(crate) fn table(&self) -> &'static str {
        self.path.rsplit_once('.').map_or("", |(table, _)| table)
    }
}

/// The key of this path.
pub(crate) fn key(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

/// The table of this path.
pub(crate) fn table(path: &str) -> Option<&'static Table> {
    TABLES.iter().find(|table| table.path == path)
}

/// What may be written in a table: its keys, then the tables in it.
pub(crate) fn names_in(table: &str) -> Vec<&'static str> {
    let keys = KEYS.iter().filter(|key| key.table() == table).map(Key::name);
    let tables = TABLES.iter().filter(|inner| !inner.path.is_empty()).filter_map(|inner| {
        let (outer, name) = inner.path.rsplit_once('.').unwrap_or(("", inner.path));
        (outer == table).then_some(name)
    });
    keys.chain(tables).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_in_a_table_and_no_path_is_there_twice() {
        for (index, one) in KEYS.iter().enumerate() {
            assert!(table(one.table()).is_some(), "{}", one.path);
            assert!(KEYS[..index].iter().all(|other| other.path != one.path), "{}", one.path);
        }
    }
}
