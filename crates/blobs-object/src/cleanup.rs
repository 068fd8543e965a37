//! What a stage leaves at the store, and how it goes.
//!
//! An upload that was begun is ended, unless a pointer names what came of it. What is listed is removed; what a list does not show yet stays
//! until the next sweep, and nothing else is decided by it.

use std::collections::BTreeMap;
use std::sync::Arc;

use entrepot_blobs::{Error, StageId};
use entrepot_oci::Digest;
use object_store::path::Path;
use serde::{Deserialize, Serialize};

use crate::failure::senseless;
use crate::layout::Kind;
use crate::store::Shared;

/// An upload in parts that was begun.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct MultipartMarker {
    /// Relative to the prefix.
    pub(crate) key: String,
    /// What the store calls the upload.
    pub(crate) id: String,
}

/// An upload that is about to be completed: from now on there may be an object at `key`, and a pointer of `digest` that names it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PublishingMarker {
    /// Relative to the prefix.
    pub(crate) key: String,
    pub(crate) digest: Digest,
}

/// An object that is no blob any more, and that somebody may be reading.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ObjectMarker {
    /// Relative to the prefix.
    pub(crate) key: String,
}

/// Removes everything that the stage has left, of one incarnation or of all, and returns whether there was something.
pub(crate) async fn sweep(shared: &Shared, stage: &StageId, incarnation: Option<&str>) -> Result<bool, Error> {
    let mut left: BTreeMap<String, Vec<Kind>> = BTreeMap::new();
    for object in shared.bucket.list(&shared.layout.stage(stage)).await? {
        if let Some((_, of, kind)) = shared.layout.parse_of_stage(&object.key)
            && incarnation.is_none_or(|incarnation| incarnation == of)
        {
            left.entry(of).or_default().push(kind);
        }
    }
    if let Some(incarnation) = incarnation {
        // Ours, so we know better than a list.
        left.entry(incarnation.to_owned()).or_default().push(Kind::Multipart);
    }
    let is_some = left.keys().any(|of| incarnation.is_some() || !shared.stages.is_ending(of));
    for (incarnation, kinds) in left {
        sweep_incarnation(shared, stage, &incarnation, kinds).await?;
    }
    Ok(is_some)
}

async fn sweep_incarnation(
    shared: &Shared,
    stage: &StageId,
    incarnation: &str,
    mut kinds: Vec<Kind>,
) -> Result<(), Error> {
    let key = |kind: &Kind| shared.layout.of_stage(stage, incarnation, kind);
    if kinds.contains(&Kind::Multipart)
        && let Some(marker) = read::<MultipartMarker>(shared, &key(&Kind::Multipart)).await?
    {
        let publishing = read(shared, &key(&Kind::Publishing)).await?;
        end_upload(shared, &marker, publishing.as_ref()).await?;
        kinds.push(Kind::Publishing);
    }
    if kinds.contains(&Kind::Object)
        && let Some(marker) = read::<ObjectMarker>(shared, &key(&Kind::Object)).await?
    {
        shared.bucket.delete(&shared.layout.absolute(&marker.key)).await?;
    }
    remove(shared, stage, incarnation, kinds).await
}

/// Ends an upload, and removes what came of it unless it is a blob.
async fn end_upload(
    shared: &Shared,
    marker: &MultipartMarker,
    publishing: Option<&PublishingMarker>,
) -> Result<(), Error> {
    let key = shared.layout.absolute(&marker.key);
    if let Some(publishing) = publishing {
        let pointer = shared.locations.pointer(&publishing.digest).await?;
        if pointer.is_some_and(|pointer| pointer.key == marker.key) {
            // The process ended between the pointer and the removal of its markers: nothing but these is left over.
            return Ok(());
        }
        // Nobody has been told of it: the pointer comes first.
        shared.bucket.delete(&key).await?;
    }
    // An upload to the key of a blob is given up, and whatever blob is there stays: it is verified, whoever completed it.
    shared.bucket.abort_multipart(&key, &marker.id).await
}

/// Removes the objects of an incarnation that need no more thought.
async fn remove(shared: &Shared, stage: &StageId, incarnation: &str, mut kinds: Vec<Kind>) -> Result<(), Error> {
    // The marker of the upload goes before the one that says what it was for: after a crash between the two there is no upload to be
    // ended. The other way round, what a pointer names would look as if nobody had completed it.
    kinds.sort_by_key(|kind| *kind == Kind::Publishing);
    kinds.dedup();
    for kind in kinds {
        shared.bucket.delete(&shared.layout.of_stage(stage, incarnation, &kind)).await?;
    }
    Ok(())
}

/// How a stage came to its end.
#[derive(Clone, Debug)]
pub(crate) enum End {
    /// What it held is a blob. The objects that are known to be left are told; there may be more where it was kept before.
    Published { left: Vec<Kind>, was_kept: bool },
    /// It was given up.
    Discarded,
}

/// Removes what an incarnation has left, after its end. A failure leaves it to the sweep.
pub(crate) async fn end(shared: &Shared, stage: &StageId, incarnation: &str, end: End) {
    let ended = match end {
        End::Discarded => sweep(shared, stage, Some(incarnation)).await.map(|_| ()),
        End::Published { left, was_kept } => forget(shared, stage, incarnation, left, was_kept).await,
    };
    shared.stages.end(incarnation);
    if let Err(error) = ended {
        left_over(shared, stage, &error);
    }
}

async fn forget(
    shared: &Shared,
    stage: &StageId,
    incarnation: &str,
    mut kinds: Vec<Kind>,
    was_kept: bool,
) -> Result<(), Error> {
    if was_kept {
        for object in shared.bucket.list(&shared.layout.stage(stage)).await? {
            if let Some((_, of, kind)) = shared.layout.parse_of_stage(&object.key)
                && of == incarnation
                && !kinds.contains(&kind)
            {
                kinds.push(kind);
            }
        }
    }
    remove(shared, stage, incarnation, kinds).await
}

/// Removes what keeps the bytes of a deleted blob, when the last reader is done.
pub(crate) fn in_background(shared: &Arc<Shared>, remains: StageId) {
    let swept = Arc::clone(shared);
    shared.in_background(async move {
        if let Err(error) = sweep(&swept, &remains, None).await {
            left_over(&swept, &remains, &error);
        }
    });
}

fn left_over(shared: &Shared, stage: &StageId, error: &Error) {
    shared.metrics.leftovers.inc();
    tracing::warn!(
        %stage,
        error = error as &dyn std::error::Error,
        "what is left of a stage could not be removed from the store: it stays until it is swept"
    );
}

/// Writes a marker.
pub(crate) async fn write(shared: &Shared, key: &Path, marker: &(impl Serialize + Sync)) -> Result<(), Error> {
    let bytes = serde_json::to_vec(marker).map_err(|error| senseless("write", key, error.to_string()))?;
    shared.bucket.put(key, bytes.into()).await
}

async fn read<T: for<'de> Deserialize<'de>>(shared: &Shared, key: &Path) -> Result<Option<T>, Error> {
    let Some(bytes) = shared.bucket.get(key).await? else { return Ok(None) };
    let marker = serde_json::from_slice(&bytes);
    marker.map(Some).map_err(|error| senseless("read", key, format!("it is no marker: {error}")))
}
