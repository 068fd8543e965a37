//! Everything in the file, for a store that it is moved to.
//!
//! A thread of its own reads with a connection of its own, in one transaction, so that all pages are one state.

use std::path::PathBuf;

use bytes::Bytes;
use entrepot_metadata::moving::{Moved, MovedManifest, MovedReference, MovedReferrer};
use entrepot_metadata::{BlobLink, Error, Page, Timestamp};
use futures_core::stream::BoxStream;
use rusqlite::{Connection, Row};
use tokio::sync::mpsc;

use crate::failure::Failure;
use crate::limits::{MOVED_BYTES_MAX, MOVED_PAGES_AHEAD, MOVED_ROWS_MAX};
use crate::{credentials, open, pins, query, signing_keys};

/// Every row, in pages.
pub(crate) fn rows(path: PathBuf) -> BoxStream<'static, Result<Vec<Moved>, Error>> {
    let (sender, receiver) = mpsc::channel(MOVED_PAGES_AHEAD);
    // It ends with the last page, or when nobody takes the next one.
    drop(tokio::task::spawn_blocking(move || {
        let mut pages = Pages { sender, page: Vec::new(), bytes: 0 };
        if let Err(Stopped::Failed(failure)) = read(&path, &mut pages) {
            drop(pages.sender.blocking_send(Err(failure.into())));
        }
    }));
    Box::pin(futures_util::stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|page| (page, receiver))
    }))
}

/// Why reading ended early.
enum Stopped {
    Failed(Failure),
    /// Nobody takes the pages any more.
    Unwanted,
}

impl<E: Into<Failure>> From<E> for Stopped {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// The page that is being filled.
struct Pages {
    sender: mpsc::Sender<Result<Vec<Moved>, Error>>,
    page: Vec<Moved>,
    bytes: usize,
}

impl Pages {
    fn add(&mut self, row: Moved) -> Result<(), Stopped> {
        if let Moved::Manifest(manifest) = &row {
            self.bytes += manifest.bytes.len();
        }
        self.page.push(row);
        if self.page.len() >= MOVED_ROWS_MAX || self.bytes >= MOVED_BYTES_MAX { self.send() } else { Ok(()) }
    }

    fn send(&mut self) -> Result<(), Stopped> {
        self.bytes = 0;
        let page = std::mem::take(&mut self.page);
        if page.is_empty() {
            return Ok(());
        }
        self.sender.blocking_send(Ok(page)).map_err(|_| Stopped::Unwanted)
    }
}

fn read(path: &std::path::Path, pages: &mut Pages) -> Result<(), Stopped> {
    const REPOSITORIES: &str = "SELECT name, created_at FROM repositories WHERE id > 0 ORDER BY id";
    const BLOBS: &str = "SELECT digest, size FROM blobs WHERE digest > '' ORDER BY digest";
    const LINKS: &str = "SELECT repository, digest, size, linked_at, used_at FROM blob_links
        WHERE repository > '' ORDER BY repository, digest";
    const TAGS: &str = "SELECT repositories.name, tags.name, manifests.digest, confirmed_at FROM tags
        JOIN repositories ON repositories.id = tags.repository JOIN manifests ON manifests.id = manifest
        WHERE tags.repository > 0 ORDER BY tags.repository, tags.name";
    let connection = open::reader(path)?;
    let connection = connection.unchecked_transaction()?;
    each(&connection, REPOSITORIES, pages, |row| {
        Ok(Moved::Repository { name: query::parsed(row, 0, "repositories.name")?, created_at: time(row, 1)? })
    })?;
    each(&connection, BLOBS, pages, |row| Ok(Moved::Blob(blob(row, 0)?)))?;
    each(&connection, LINKS, pages, |row| {
        let repository = query::parsed(row, 0, "blob_links.repository")?;
        Ok(Moved::Link { repository, blob: blob(row, 1)?, linked_at: time(row, 3)?, used_at: time(row, 4)? })
    })?;
    read_manifests(&connection, pages)?;
    each(&connection, TAGS, pages, |row| {
        Ok(Moved::Tag {
            repository: query::parsed(row, 0, "repositories.name")?,
            tag: query::parsed(row, 1, "tags.name")?,
            digest: query::parsed(row, 2, "manifests.digest")?,
            confirmed_at: time(row, 3)?,
        })
    })?;
    for pin in pins::list(&connection, usize::MAX)? {
        pages.add(Moved::Pin(pin))?;
    }
    let mut page = Page { after: None, limit: MOVED_ROWS_MAX };
    loop {
        let rows = credentials::list(&connection, None, &page)?;
        let Some(last) = rows.last() else { break };
        page.after = Some(last.id.clone());
        for row in rows {
            pages.add(Moved::Credential(row))?;
        }
    }
    for key in signing_keys::list(&connection)?.into_iter().rev() {
        pages.add(Moved::SigningKey(key))?;
    }
    pages.send()
}

/// Adds every row of a statement.
fn each(
    connection: &Connection,
    sql: &'static str,
    pages: &mut Pages,
    read: impl Fn(&Row<'_>) -> Result<Moved, Failure>,
) -> Result<(), Stopped> {
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        pages.add(read(row)?)?;
    }
    Ok(())
}

/// In the order in which they came, which is that of their rows.
fn read_manifests(connection: &Connection, pages: &mut Pages) -> Result<(), Stopped> {
    const SQL: &str =
        "SELECT manifests.id, name, manifests.digest, media_type, bytes, pushed_at, used_at FROM manifests
        JOIN repositories ON repositories.id = repository
        JOIN manifest_contents ON manifest_contents.id = content
        WHERE manifests.id > 0 ORDER BY manifests.id";
    const REFERENCES: &str = "SELECT target, kind, size FROM manifest_references WHERE manifest = ?1";
    const REFERRER: &str = "SELECT subject, artifact_type, annotations FROM referrers WHERE manifest = ?1";
    let mut statement = connection.prepare(SQL)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let manifest: i64 = row.get(0)?;
        let references = query::all(connection, REFERENCES, [manifest], |row| {
            let target = query::parsed(row, 0, "manifest_references.target")?;
            Ok(MovedReference { target, kind: row.get(1)?, size: query::size(row, 2)? })
        })?;
        let referrer = query::first(connection, REFERRER, [manifest], |row| {
            let subject = query::parsed(row, 0, "referrers.subject")?;
            Ok(MovedReferrer { subject, artifact_type: row.get(1)?, annotations: row.get(2)? })
        })?;
        pages.add(Moved::Manifest(Box::new(MovedManifest {
            repository: query::parsed(row, 1, "repositories.name")?,
            digest: query::parsed(row, 2, "manifests.digest")?,
            media_type: query::parsed(row, 3, "manifests.media_type")?,
            bytes: Bytes::from(row.get::<_, Vec<u8>>(4)?),
            pushed_at: time(row, 5)?,
            used_at: time(row, 6)?,
            references,
            referrer,
        })))?;
    }
    Ok(())
}

fn blob(row: &Row<'_>, index: usize) -> Result<BlobLink, Failure> {
    Ok(BlobLink { digest: query::parsed(row, index, "blobs.digest")?, size: query::size(row, index + 1)? })
}

fn time(row: &Row<'_>, index: usize) -> Result<Timestamp, Failure> {
    Ok(Timestamp::from_milliseconds(row.get(index)?))
}
