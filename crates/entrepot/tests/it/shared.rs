//! Stores that replicas share, for every test that runs a registry: object storage and PostgreSQL.
//!
//! `ENTREPOT_TEST_STORES=shared` has the same tests run over them that otherwise run over folders.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::LazyLock;

use entrepot::config::{Configuration, Surroundings};
use entrepot_testkit::stores::{Bucket, Garage, Postgres};

// Each registry has some connections of its own, and many run at once.
static POSTGRES: LazyLock<Postgres> = LazyLock::new(|| Postgres::with().setting("max_connections", "400").start());
static GARAGE: LazyLock<Garage> = LazyLock::new(|| Garage::start(1));

/// A bucket and a database of their own.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    bucket: Bucket,
    database: String,
    /// What else the configuration says of them.
    tables: String,
    /// How long both have to answer.
    patience: &'static str,
}

impl Shared {
    /// One, if the run is about them.
    #[expect(clippy::disallowed_methods, reason = "a variable of the tests is none of the program")]
    pub(crate) fn if_wanted() -> Option<Self> {
        std::env::var("ENTREPOT_TEST_STORES").is_ok_and(|stores| stores == "shared").then(Self::new)
    }

    /// One, whatever the run is about.
    pub(crate) fn new() -> Self {
        Self { bucket: GARAGE.bucket(), database: POSTGRES.database(), tables: String::new(), patience: "30s" }
    }

    /// Where the object storage and the database really listen.
    pub(crate) fn addresses() -> [SocketAddr; 2] {
        [GARAGE.port(0), POSTGRES.port()].map(|port| ([127, 0, 0, 1], port).into())
    }

    /// The same, by way of other ports: such as those of proxies that can be cut.
    pub(crate) fn at(&self, [bucket, database]: [u16; 2]) -> Self {
        let (url, name) = self.database.rsplit_once('/').unwrap();
        assert!(url.ends_with(&POSTGRES.port().to_string()), "{url}");
        Self { bucket: self.bucket.at(bucket), database: POSTGRES.url_at(database, name), ..self.clone() }
    }

    /// The same, with less time to answer than usual.
    pub(crate) fn impatient(self) -> Self {
        Self { patience: "10s", ..self }
    }

    /// The same, with these tables in the configuration.
    pub(crate) fn with(&self, tables: &str) -> Self {
        Self { tables: tables.to_owned(), ..self.clone() }
    }

    /// A new, empty database, for what keeps its bytes in folders.
    pub(crate) fn database() -> String {
        POSTGRES.database()
    }

    /// What a configuration says of them.
    pub(crate) fn configuration(&self) -> String {
        let Self { bucket, database, tables, patience } = self;
        let Bucket { endpoint, region, name, access_key_id, secret_access_key } = bucket;
        format!(
            "registry_storage = \"s3://{name}/registry\"\ntemporary_registry_storage = \"tmp\"\n\
             proxy_storage = \"s3://{name}/proxy\"\n\
             [storage.s3]\nendpoint = \"{endpoint}\"\nregion = \"{region}\"\n\
             access_key_id = \"{access_key_id}\"\nsecret_access_key = \"{secret_access_key}\"\npart_size = \"5MiB\"\n\
             timeout = \"{patience}\"\n\
             [metadata]\nurl = \"{database}\"\nconnections_max = 4\n\
             statement_timeout = \"{patience}\"\n{tables}"
        )
    }

    /// The configuration of a registry that has `folder` to itself.
    pub(crate) fn configured(&self, folder: &Path) -> Configuration {
        std::fs::write(folder.join("configuration.toml"), self.configuration()).unwrap();
        let surroundings = Surroundings { working_folder: folder, environment: &|_| None };
        Configuration::load(None, &surroundings).unwrap()
    }
}
