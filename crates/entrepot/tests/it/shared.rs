//! Stores that replicas share, for every test that runs a registry: object storage and PostgreSQL.
//!
//! `ENTREPOT_TEST_STORES=shared` has the same tests run over them that otherwise run over folders.

use std::path::Path;
use std::sync::LazyLock;

use entrepot::Places;
use entrepot::config::{Configuration, Surroundings};
use entrepot_testkit::stores::{Bucket, Garage, Postgres};

// Each registry has some connections of its own, and many run at once.
static POSTGRES: LazyLock<Postgres> = LazyLock::new(|| Postgres::with().setting("max_connections", "400").start());
static GARAGE: LazyLock<Garage> = LazyLock::new(|| Garage::start(1));

/// A bucket and a database of their own.
#[derive(Debug)]
pub(crate) struct Shared {
    bucket: Bucket,
    database: String,
}

impl Shared {
    /// One, if the run is about them.
    #[expect(clippy::disallowed_methods, reason = "a variable of the tests is none of the program")]
    pub(crate) fn if_wanted() -> Option<Self> {
        std::env::var("ENTREPOT_TEST_STORES").is_ok_and(|stores| stores == "shared").then(Self::new)
    }

    /// One, whatever the run is about.
    pub(crate) fn new() -> Self {
        Self { bucket: GARAGE.bucket(), database: POSTGRES.database() }
    }

    /// What a configuration says of them.
    pub(crate) fn configuration(&self) -> String {
        let Self { bucket, database } = self;
        let Bucket { endpoint, region, name, access_key_id, secret_access_key } = bucket;
        format!(
            "registry_storage = \"s3://{name}/registry\"\ntemporary_registry_storage = \"tmp\"\n\
             proxy_storage = \"s3://{name}/proxy\"\n\
             [storage.s3]\nendpoint = \"{endpoint}\"\nregion = \"{region}\"\n\
             access_key_id = \"{access_key_id}\"\nsecret_access_key = \"{secret_access_key}\"\npart_size = \"5MiB\"\n\
             [metadata]\nurl = \"{database}\"\nconnections_max = 4\n"
        )
    }

    /// Where a registry finds them that has `folder` to itself.
    pub(crate) fn places(&self, folder: &Path) -> Places {
        std::fs::write(folder.join("configuration.toml"), self.configuration()).unwrap();
        let surroundings = Surroundings { working_folder: folder, environment: &|_| None };
        Places::from(&Configuration::load(None, &surroundings).unwrap())
    }
}
