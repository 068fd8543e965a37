//! Why a command could not be carried out.

use std::io;
use std::path::PathBuf;

use super::api::ApiError;
use super::migrate::MigrateError;
use super::users::UserError;
use crate::serve::ServeError;

/// Why a command could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The server could not be started.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// Nobody could be asked, or the question was refused.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// A user cannot be changed as it was told.
    #[error(transparent)]
    User(#[from] UserError),
    /// Metadata cannot be moved.
    #[error(transparent)]
    Migrate(#[from] MigrateError),
    /// What the command has to tell cannot be written.
    #[error("cannot write what there is to tell")]
    Write(#[from] io::Error),
    /// A file for a client cannot be written.
    #[error("{} cannot be written: a file that is there already is left alone", path.display())]
    ClientFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}
