//! `entrepot migrate-metadata`: from the SQLite databases of storage folders into the database of the configuration.
//!
//! The databases are read and stay as they are, so that the way back is the old configuration. Nobody may write them meanwhile: what holds
//! their folders for a server is held by this command as long as it runs.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use entrepot_metadata::moving::{MovedCounts, move_metadata};
use entrepot_metadata_sqlite::SqliteStore;

use super::{CommandError, Outcome, Screen};
use crate::assemble::AssembleError;
use crate::cli::MigrateArguments;
use crate::config::{Configuration, PostgresConfiguration, StorageLocation};
use crate::database::{self, DatabaseError};
use crate::stores::{DATABASE_FILE, lock};

/// Why metadata cannot be moved.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The configuration names no database to write to.
    #[error("there is nowhere to move metadata to: write [metadata] with url = \"postgres://…\" in the configuration")]
    NoTarget,
    /// No database was named, and none is where folders have them.
    #[error(
        "there is no metadata to move: name the databases of the folders that were used until now with --registry-database and \
         --proxy-database; they are called {DATABASE_FILE}"
    )]
    NothingToMove,
    /// The database that was named is not there, or cannot be looked at.
    #[error("{} cannot be read as {option}", path.display())]
    Unreadable {
        /// How it was named, or the key of the folder that it is in.
        option: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The cache keeps its metadata to itself.
    #[error(
        "the metadata of proxy_storage stays in its folder, {}, because the own images are in a bucket: leave out --proxy-database",
        folder.display()
    )]
    CacheOfItsOwn {
        /// The folder.
        folder: PathBuf,
    },
    /// A server uses one of the folders.
    #[error("metadata is not moved while a server can change it")]
    InUse(#[source] AssembleError),
    /// The old database cannot be opened.
    #[error("{} cannot be opened", path.display())]
    Source {
        /// The database.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: Box<entrepot_metadata_sqlite::OpenError>,
    },
    /// The new database cannot be opened.
    #[error("there is nowhere to move metadata to")]
    Destination(#[source] DatabaseError),
    /// Nothing was moved.
    #[error("{} was not moved into the schema {schema}", path.display())]
    Move {
        /// The old database.
        path: PathBuf,
        /// The schema.
        schema: String,
        /// Why.
        #[source]
        source: Box<entrepot_metadata::moving::MoveError>,
    },
}

/// A database to be moved.
#[derive(Debug, PartialEq, Eq)]
struct Move {
    /// How it was named, or the key of the folder that it is in.
    option: &'static str,
    database: PathBuf,
    schema: String,
}

/// `entrepot migrate-metadata`
pub(super) async fn migrate(
    configuration: &Configuration,
    arguments: &MigrateArguments,
    screen: &mut Screen<'_>,
) -> Result<Outcome, CommandError> {
    let postgres = configuration.metadata.postgres().ok_or(MigrateError::NoTarget)?;
    let moves = moves(configuration, postgres, arguments)?;
    let _locks = hold(configuration, &moves)?;
    for Move { database, schema, .. } in &moves {
        let MovedCounts { repositories, blobs, manifests, tags, .. } = transfer(database, postgres, schema).await?;
        writeln!(
            screen.out,
            "{}: now in {schema}: repositories {repositories}, manifests {manifests}, tags {tags}, blobs {blobs}",
            database.display()
        )?;
    }
    Ok(Outcome::Well)
}

/// What is to be moved where: the databases that were named, otherwise those in the folders of the configuration.
fn moves(
    configuration: &Configuration,
    postgres: &PostgresConfiguration,
    arguments: &MigrateArguments,
) -> Result<Vec<Move>, MigrateError> {
    let is_shared = configuration.proxy_metadata().postgres().is_some();
    if let (Some(_), Some(folder), false) = (&arguments.proxy_database, configuration.proxy_storage.folder(), is_shared)
    {
        return Err(MigrateError::CacheOfItsOwn { folder: folder.to_owned() });
    }
    let registry = (
        ("--registry-database", "registry_storage"),
        arguments.registry_database.as_deref(),
        &configuration.registry_storage,
        postgres.registry_schema(),
    );
    let proxy = (
        ("--proxy-database", "proxy_storage"),
        arguments.proxy_database.as_deref(),
        &configuration.proxy_storage,
        postgres.proxy_schema(),
    );
    let mut moves = Vec::new();
    for ((option, key), named, location, schema) in [registry].into_iter().chain(is_shared.then_some(proxy)) {
        moves.extend(database((option, key), named, location)?.map(|(option, database)| Move {
            option,
            database,
            schema,
        }));
    }
    if moves.is_empty() { Err(MigrateError::NothingToMove) } else { Ok(moves) }
}

/// The database of one store with how it was named, if there is one. One that was named has to be there.
fn database(
    (option, key): (&'static str, &'static str),
    named: Option<&Path>,
    location: &StorageLocation,
) -> Result<Option<(&'static str, PathBuf)>, MigrateError> {
    let (option, path) = match (named, location) {
        (Some(path), _) => (option, path.to_owned()),
        (None, StorageLocation::Folder(folder)) => (key, folder.join(DATABASE_FILE)),
        (None, StorageLocation::Object(_)) => return Ok(None),
    };
    match std::fs::metadata(&path) {
        Ok(metadata) if metadata.is_file() => Ok(Some((option, path))),
        Ok(_) => Err(MigrateError::Unreadable { option, path, source: io::ErrorKind::IsADirectory.into() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound && named.is_none() => Ok(None),
        Err(source) => Err(MigrateError::Unreadable { option, path, source }),
    }
}

/// Keeps servers from the folders of the databases, and from starting with the new configuration.
fn hold(configuration: &Configuration, moves: &[Move]) -> Result<Vec<File>, MigrateError> {
    let mut folders = vec![configuration.process_folder()];
    for Move { option, database, .. } in moves {
        let parent = database.parent().filter(|parent| !parent.as_os_str().is_empty());
        let folder = parent.unwrap_or(Path::new("."));
        if folders.iter().all(|(_, other)| !is_same(other, folder)) {
            folders.push((option, folder));
        }
    }
    folders.into_iter().map(|(role, folder)| lock(role, folder).map_err(MigrateError::InUse)).collect()
}

/// Whether two paths are one folder, however they are written: taking it twice would be refused as if by a server.
fn is_same(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    real(one) == real(other)
}

/// Moves everything that one database has into an empty schema, in one transaction, and says how much that was.
async fn transfer(path: &Path, postgres: &PostgresConfiguration, schema: &str) -> Result<MovedCounts, MigrateError> {
    let path = path.to_owned();
    let source = match SqliteStore::open(&path) {
        Ok(source) => source,
        Err(source) => return Err(MigrateError::Source { path, source: Box::new(source) }),
    };
    let destination = database::connect(postgres, schema.to_owned()).await.map_err(MigrateError::Destination)?;
    let moved = move_metadata(&source, &destination, &|_| ()).await;
    moved.map_err(|source| MigrateError::Move { path, schema: schema.to_owned(), source: Box::new(source) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Surroundings;

    /// The configuration of this text, in a folder with two databases where folders have them.
    fn configured(text: &str) -> (tempfile::TempDir, Configuration) {
        let folder = tempfile::tempdir().unwrap();
        for store in ["registry", "proxy"] {
            let store = folder.path().join("storage").join(store);
            std::fs::create_dir_all(&store).unwrap();
            std::fs::write(store.join(DATABASE_FILE), "").unwrap();
        }
        std::fs::write(folder.path().join("configuration.toml"), text).unwrap();
        let surroundings = Surroundings { working_folder: folder.path(), environment: &|_| None };
        let configuration = Configuration::load(None, &surroundings).unwrap();
        (folder, configuration)
    }

    fn planned(configuration: &Configuration, arguments: &MigrateArguments) -> Result<Vec<Move>, MigrateError> {
        moves(configuration, configuration.metadata.postgres().unwrap(), arguments)
    }

    const URL: &str = "metadata.url = \"postgres://u@localhost/d\"\n";

    #[test]
    fn the_databases_of_the_folders_are_moved_each_into_its_schema() {
        let (folder, configuration) = configured(URL);
        let moves = planned(&configuration, &MigrateArguments::default()).unwrap();
        let found: Vec<_> = moves.iter().map(|one| (one.database.clone(), one.schema.as_str())).collect();
        let path = |store: &str| folder.path().join("storage").join(store).join(DATABASE_FILE);
        assert_eq!(found, [(path("registry"), "entrepot_registry"), (path("proxy"), "entrepot_proxy")]);
        std::fs::remove_file(path("proxy")).unwrap();
        assert_eq!(planned(&configuration, &MigrateArguments::default()).unwrap().len(), 1);
        std::fs::remove_file(path("registry")).unwrap();
        assert!(matches!(planned(&configuration, &MigrateArguments::default()), Err(MigrateError::NothingToMove)));
    }

    #[test]
    fn with_buckets_the_databases_are_named_and_have_to_be_there() {
        let (folder, configuration) =
            configured(&format!("registry_storage = \"s3://bucket/a\"\nproxy_storage = \"s3://bucket/b\"\n{URL}"));
        assert!(matches!(planned(&configuration, &MigrateArguments::default()), Err(MigrateError::NothingToMove)));
        let old = folder.path().join("storage/registry").join(DATABASE_FILE);
        let named = |path: PathBuf| MigrateArguments { registry_database: Some(path), proxy_database: None };
        let moves = planned(&configuration, &named(old.clone())).unwrap();
        assert_eq!((moves.len(), &moves[0].database), (1, &old));
        for path in ["storage/registry", "none"] {
            let error = planned(&configuration, &named(folder.path().join(path))).unwrap_err();
            assert!(error.to_string().ends_with("cannot be read as --registry-database"), "{error}");
        }
    }

    #[test]
    fn a_cache_of_its_own_stays_where_it_is() {
        let (folder, configuration) = configured(&format!("registry_storage = \"s3://bucket/a\"\n{URL}"));
        let old = |store: &str| folder.path().join("storage").join(store).join(DATABASE_FILE);
        let both = MigrateArguments { registry_database: Some(old("registry")), proxy_database: Some(old("proxy")) };
        assert!(matches!(planned(&configuration, &both), Err(MigrateError::CacheOfItsOwn { .. })));
        let own = MigrateArguments { proxy_database: None, ..both };
        assert_eq!(planned(&configuration, &own).unwrap().len(), 1);
    }

    #[test]
    fn nothing_is_moved_while_a_server_uses_one_of_the_folders() {
        let (folder, configuration) = configured(URL);
        let moves = planned(&configuration, &MigrateArguments::default()).unwrap();
        for store in ["registry", "proxy"] {
            let server = lock("a_store", &folder.path().join("storage").join(store)).unwrap();
            assert!(matches!(hold(&configuration, &moves), Err(MigrateError::InUse(AssembleError::InUse { .. }))));
            drop(server);
        }
        let held = hold(&configuration, &moves).unwrap();
        assert_eq!(held.len(), 2);
        assert!(matches!(
            lock("registry_storage", &folder.path().join("storage/registry")),
            Err(AssembleError::InUse { .. })
        ));
    }
}
