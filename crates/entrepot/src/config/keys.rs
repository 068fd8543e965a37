//! Every key of the configuration: one table, from which errors, the check for unknown keys and the documentation come.

use std::fmt::Write as _;

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

/// The page of the documentation that lists every key.
pub fn documentation() -> String {
    let mut page = String::from(
        "# Configuration\n\n\
         A file `configuration.toml` in the working folder, or the one that `--config FILE` names. This is a complete one:\n\n\
         ```toml\n\
         registry_storage = \"storage/registry\"\n\
         temporary_registry_storage = \"storage/_tmp\"\n\
         proxy_storage = \"storage/proxy\"\n\
         ```\n\n\
         Without any file the server starts on exactly these values and says so. Relative paths are relative to the folder of \
         the file, or to the working folder when there is none.\n\n\
         Durations are a number with `s`, `m`, `h` or `d`; sizes are a number of bytes, or one with `KiB`, `MiB`, `GiB`, `TiB`, \
         `KB`, `MB`, `GB` or `TB`. What is not listed here is refused at the start, with its file, line and column, and so is \
         what cannot be. `entrepot check` reads the configuration and prints what it comes to.\n",
    );
    for table in TABLES {
        let heading = match (table.path, table.is_list) {
            ("", _) => "Storage".to_owned(),
            (path, true) => format!("`[[{path}]]`"),
            (path, false) => format!("`[{path}]`"),
        };
        // Writing to a string cannot fail.
        let _ = write!(page, "\n## {heading}\n\n{}\n", table.meaning);
        for key in KEYS.iter().filter(|key| key.table() == table.path) {
            let _ = write!(
                page,
                "\n### `{}`\n\n{}\n\n- allowed: {}\n- default: {}\n- example: `{} = {}`\n",
                key.path,
                key.meaning,
                key.allowed,
                key.default,
                key.name(),
                key.example
            );
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_documentation_on_disk_is_the_one_that_the_table_gives() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
        let expected = documentation();
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("the folder of the documentation");
            std::fs::write(&path, &expected).expect("the page is written");
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(found == expected, "{} is out of date: run the tests with UPDATE_DOCS=1", path.display());
    }

    #[test]
    fn every_key_is_in_a_table_and_no_path_is_there_twice() {
        for (index, one) in KEYS.iter().enumerate() {
            assert!(table(one.table()).is_some(), "{}", one.path);
            assert!(KEYS[..index].iter().all(|other| other.path != one.path), "{}", one.path);
        }
    }
}
