//! Every key of the configuration: one table, from which errors, the check for unknown keys and the documentation come.

mod access;
mod metadata;
mod proxy;
mod server;
mod storage;
mod upstream;

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
    /// `{ name = "text", … }`
    TextTable,
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
    Table {
        path: "storage",
        is_list: false,
        meaning: "What is to be known about object storage: `registry_storage = \"s3://bucket/registry\"` and the like.",
    },
    Table {
        path: "storage.s3",
        is_list: false,
        meaning: "S3 and what is compatible with it, for `s3://`. Without this table: AWS in us-east-1, with what the \
                  surroundings give as an account.",
    },
    Table { path: "storage.gcs", is_list: false, meaning: "Google Cloud Storage, for `gs://`." },
    Table { path: "storage.azure", is_list: false, meaning: "Azure Blob Storage, for `az://`." },
    Table {
        path: "storage.read_cache",
        is_list: false,
        meaning: "A cache of the bucket's content on the local disk, for reads. Only with object storage.",
    },
    Table {
        path: "storage.redirect",
        is_list: false,
        meaning: "Whether clients are sent to the bucket for blobs. Only with object storage.",
    },
    Table {
        path: "storage.redirect.rule",
        is_list: true,
        meaning: "Whether some clients are, with `mode = \"rules\"`. The rules are asked in their order; everything that a rule \
                  names has to match, and the first one that matches decides. Where none matches, there is no redirect.",
    },
    Table {
        path: "metadata",
        is_list: false,
        meaning: "A PostgreSQL database that keeps who has what, for any number of replicas. Without this table it is kept in an \
                  SQLite database inside each storage folder.",
    },
    Table {
        path: "replica",
        is_list: false,
        meaning: "How the replicas of one registry reach each other, to read what another one is just fetching. Only with \
                  `metadata.url`. Without an internal listener a replica fetches for itself.",
    },
    Table { path: "server", is_list: false, meaning: "How clients reach the registry, and what they may cost." },
    Table {
        path: "server.tls",
        is_list: false,
        meaning: "TLS for clients. Without this table the server speaks plain HTTP.",
    },
    Table {
        path: "access",
        is_list: false,
        meaning: "Who may do what. Without this table everybody may everything, and then the server listens on a loopback \
                  address only. With it nothing is allowed that is not written here.",
    },
    Table { path: "access.group", is_list: true, meaning: "A name for several principals, for rules." },
    Table {
        path: "access.rule",
        is_list: true,
        meaning: "Something that is allowed: to these principals, in these repositories, these actions. What no rule allows is \
                  denied. In patterns `*` and `?` stand for characters between two slashes, `**` for any number of components, \
                  `[…]` for one of some characters, `{a,b}` for one of some texts.",
    },
    Table {
        path: "access.immutable",
        is_list: true,
        meaning: "Tags that never move and are never deleted, whoever asks. They can be made once.",
    },
    Table {
        path: "access.oidc",
        is_list: true,
        meaning: "An identity provider whose tokens are believed: that of a CI system, a cluster or a company.",
    },
    Table {
        path: "access.identity",
        is_list: true,
        meaning: "Who somebody is whom an identity provider knows. The first one that matches counts, and a token that matches \
                  none is refused. A provider without any is known by the `sub` of its tokens: `oidc:NAME:SUB`.",
    },
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

/// Every key, group by group: those that most files have come first, since what is spelled wrong is looked for in this order.
const GROUPS: &[&[Key]] =
    &[STORAGE, server::KEYS, access::KEYS, proxy::KEYS, upstream::KEYS, TELEMETRY, storage::KEYS, metadata::KEYS];

const STORAGE: &[Key] = &[
    Key {
        path: "registry_storage",
        form: Form::Text,
        allowed: "a folder, or s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX",
        default: "`\"storage/registry\"`",
        meaning: "Your own images, laid out as the reference registry lays them out. A bucket needs `metadata.url`.",
        example: "\"storage/registry\"",
    },
    Key {
        path: "temporary_registry_storage",
        form: Form::Text,
        allowed: "a folder",
        default: "`\"storage/_tmp\"`",
        meaning: "Uploads and fetches that are not finished. Best on the file system of the other two; swept at the start. Each replica has its own.",
        example: "\"storage/_tmp\"",
    },
    Key {
        path: "proxy_storage",
        form: Form::Text,
        allowed: "a folder, or s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX",
        default: "`\"storage/proxy\"`",
        meaning: "The cache of other registries' images. In a folder beside own images in a bucket it is that of one replica, with an \
                  SQLite database of its own.",
        example: "\"storage/proxy\"",
    },
];

const TELEMETRY: &[Key] = &[
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

/// Every key; those of one table in the order of the documentation.
pub(crate) fn keys() -> impl Iterator<Item = &'static Key> {
    GROUPS.iter().copied().flatten()
}

/// The key of this path.
pub(crate) fn key(path: &str) -> Option<&'static Key> {
    keys().find(|key| key.path == path)
}

/// The table of this path.
pub(crate) fn table(path: &str) -> Option<&'static Table> {
    TABLES.iter().find(|table| table.path == path)
}

/// What may be written in a table: its keys, then the tables in it.
pub(crate) fn names_in(table: &str) -> Vec<&'static str> {
    let keys = keys().filter(|key| key.table() == table).map(Key::name);
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
        for (index, one) in keys().enumerate() {
            assert!(table(one.table()).is_some(), "{}", one.path);
            assert!(keys().take(index).all(|other| other.path != one.path), "{}", one.path);
        }
    }
}
