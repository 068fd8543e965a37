//! Whose an upload is.

use bytes::Bytes;
use entrepot_metadata::{BlobLink, UploadId};
use entrepot_oci::Algorithm;
use entrepot_registry::{Chunk, Error, Limits, Repository, Source};

use super::{HOUR, House, source};

/// What a session is told to whoever asks in each of the four ways, as far as it goes.
async fn refusals(repository: &Repository, id: &str) -> [Error; 4] {
    let digest = Algorithm::Sha256.digest(b"mine");
    [
        repository.upload_status(id).await.unwrap_err(),
        repository.append_to_upload(id, Chunk::default(), source("theirs")).await.unwrap_err(),
        repository.finish_upload(id, &digest, Chunk::default(), source("")).await.unwrap_err(),
        repository.cancel_upload(id).await.unwrap_err(),
    ]
}

#[tokio::test]
async fn b3_an_upload_of_somebody_else_is_like_one_that_never_was() {
    let house = House::new(Limits::default());
    let alice = house.seen_by("alice", "team/app");
    let upload = alice.start_upload(Algorithm::Sha256).await.unwrap();
    let id = upload.id.as_str();
    alice.append_to_upload(id, Chunk::default(), source("mi")).await.unwrap();

    let never = UploadId::from_random(7);
    let others =
        [("bob", "team/app"), ("", "team/app"), ("alice ", "team/app"), ("Alice", "team/app"), ("alice", "team")];
    for (actor, name) in others {
        let stranger = house.seen_by(actor, name);
        let unknown = refusals(&stranger, never.as_str()).await;
        for (error, unknown) in refusals(&stranger, id).await.into_iter().zip(unknown) {
            assert!(matches!(&error, Error::UploadUnknown { .. }), "{actor}: {error:?}");
            // Word for word, but for what was asked.
            assert_eq!(error.to_string(), unknown.to_string().replace(never.as_str(), id), "{actor}");
        }
    }

    // Nothing of it has changed, and its owner goes on with another request.
    let again = house.seen_by("alice", "team/app");
    assert_eq!(again.upload_status(id).await.unwrap().received, 2);
    let digest = Algorithm::Sha256.digest(b"mine");
    again.finish_upload(id, &digest, Chunk::default(), source("ne")).await.unwrap();
    assert_eq!(again.blob_size(&digest).await.unwrap().0, 4);
}

#[tokio::test]
async fn b3_an_upload_that_is_being_written_to_tells_strangers_nothing() {
    let house = House::new(Limits::default());
    let alice = house.seen_by("alice", "team/app");
    let upload = alice.start_upload(Algorithm::Sha256).await.unwrap();
    // A body that stays open holds the session.
    let (mut sender, body) = tokio::io::duplex(64);
    let body = futures_util::StreamExt::boxed(futures_util::stream::unfold(body, |mut body| async move {
        let mut buffer = [0; 64];
        let length = tokio::io::AsyncReadExt::read(&mut body, &mut buffer).await.unwrap();
        (length > 0).then(|| (Ok(Bytes::copy_from_slice(&buffer[..length])), body))
    }));
    let writing = alice.append_to_upload(upload.id.as_str(), Chunk::default(), body);
    let strangers = async {
        tokio::io::AsyncWriteExt::write_all(&mut sender, b"x").await.unwrap();
        while alice.upload_status(upload.id.as_str()).await.unwrap().received == 0 {
            tokio::task::yield_now().await;
        }
        let busy = alice.cancel_upload(upload.id.as_str()).await;
        assert!(matches!(busy, Err(Error::UploadBusy { .. })), "its owner sees who has it: {busy:?}");
        for error in refusals(&house.seen_by("bob", "team/app"), upload.id.as_str()).await {
            assert!(matches!(&error, Error::UploadUnknown { .. }), "{error:?}");
        }
        drop(sender);
    };
    let (written, ()) = tokio::join!(writing, strangers);
    written.unwrap();
}

/// A body that says how long it is.
const fn announced(length: u64) -> Chunk {
    Chunk { range: None, length: Some(length) }
}

/// A body that ends in a failure.
fn broken(bytes: &'static str) -> Source {
    let frames = [Ok(Bytes::from(bytes)), Err("the client has gone".into())];
    futures_util::StreamExt::boxed(futures_util::stream::iter(frames))
}

#[tokio::test]
async fn a_small_blob_that_breaks_off_can_be_sent_again_and_leaves_nothing() {
    let house = House::new(Limits::default());
    let (repository, digest) = (house.repository(), Algorithm::Sha256.digest(b"small"));
    let id = repository.start_upload(Algorithm::Sha256).await.unwrap().id;
    for attempt in 0..2 {
        let failed = repository.finish_upload(id.as_str(), &digest, announced(5), broken("sma")).await;
        assert!(matches!(failed, Err(Error::SourceBroken { received: 3, .. })), "{attempt}: {failed:?}");
        assert_eq!(repository.upload_status(id.as_str()).await.unwrap().received, 0);
        let failed = repository.push_blob(&digest, Some(5), broken("sma")).await;
        assert!(matches!(failed, Err(Error::SourceBroken { received: 3, .. })), "{attempt}: {failed:?}");
    }
    assert!(house.own.blobs.staged().await.unwrap().is_empty());
    assert!(repository.blob_size(&digest).await.is_err());
    repository.finish_upload(id.as_str(), &digest, announced(5), source("small")).await.unwrap();
    assert_eq!(repository.blob_size(&digest).await.unwrap().0, 5);
    assert!(matches!(repository.upload_status(id.as_str()).await, Err(Error::UploadUnknown { .. })));
}

#[tokio::test]
async fn a_small_blob_of_another_digest_ends_its_session() {
    let house = House::new(Limits::default());
    let (repository, wanted) = (house.repository(), Algorithm::Sha256.digest(b"wanted"));
    let id = repository.start_upload(Algorithm::Sha256).await.unwrap().id;
    let failed = repository.finish_upload(id.as_str(), &wanted, announced(5), source("small")).await;
    assert!(matches!(failed, Err(Error::DigestMismatch { .. })), "{failed:?}");
    assert!(matches!(repository.upload_status(id.as_str()).await, Err(Error::UploadUnknown { .. })));
    let failed = repository.push_blob(&wanted, Some(5), source("small")).await;
    assert!(matches!(failed, Err(Error::DigestMismatch { .. })), "{failed:?}");
    for digest in [wanted, Algorithm::Sha256.digest(b"small")] {
        assert_eq!(house.own.blobs.size(&digest).await.unwrap(), None);
    }
}

#[tokio::test]
async fn the_end_of_a_small_blob_goes_behind_what_is_staged() {
    let house = House::new(Limits::default());
    let (repository, digest) = (house.repository(), Algorithm::Sha256.digest(b"small"));
    let id = repository.start_upload(Algorithm::Sha256).await.unwrap().id;
    repository.append_to_upload(id.as_str(), announced(2), source("sm")).await.unwrap();
    repository.finish_upload(id.as_str(), &digest, announced(3), source("all")).await.unwrap();
    assert_eq!(repository.blob_size(&digest).await.unwrap().0, 5);
}

#[tokio::test]
async fn a_small_blob_that_is_being_received_has_its_session_alone() {
    let house = House::new(Limits::default());
    let (repository, digest) = (house.repository(), Algorithm::Sha256.digest(b"small"));
    let id = repository.start_upload(Algorithm::Sha256).await.unwrap().id;
    let (begun, mut has_begun) = tokio::sync::mpsc::channel(1);
    let (finish, finished) = tokio::sync::oneshot::channel();
    let body = futures_util::stream::once(async move {
        begun.send(()).await.unwrap();
        finished.await.unwrap();
        Ok(Bytes::from("small"))
    });
    let receiving = repository.finish_upload(id.as_str(), &digest, announced(5), futures_util::StreamExt::boxed(body));
    let others = async {
        has_begun.recv().await.unwrap();
        assert_eq!(repository.upload_status(id.as_str()).await.unwrap().received, 0);
        let busy = repository.append_to_upload(id.as_str(), Chunk::default(), source("x")).await;
        assert!(matches!(busy, Err(Error::UploadBusy { .. })), "{busy:?}");
        finish.send(()).unwrap();
    };
    let (received, ()) = tokio::join!(receiving, others);
    received.unwrap();
}

#[tokio::test]
async fn a_begun_session_that_the_sweep_ended_is_known_no_more() {
    let house = House::new(Limits { upload_expiry: HOUR, ..Limits::default() });
    let (repository, digest) = (house.repository(), Algorithm::Sha256.digest(b"small"));
    let id = repository.start_upload(Algorithm::Sha256).await.unwrap().id;
    house.clock.advance(2 * HOUR);
    assert_eq!(house.registry.sweep(false).await.unwrap().uploads, 1);
    let failed = repository.finish_upload(id.as_str(), &digest, announced(5), source("small")).await;
    assert!(matches!(failed, Err(Error::UploadUnknown { .. })), "{failed:?}");
}

#[tokio::test]
async fn b3_uploads_without_an_owner_are_nobodys_who_has_a_name() {
    let house = House::new(Limits::default());
    let upload = house.repository().start_upload(Algorithm::Sha256).await.unwrap();
    for error in refusals(&house.seen_by("alice", "team/app"), upload.id.as_str()).await {
        assert!(matches!(&error, Error::UploadUnknown { .. }), "{error:?}");
    }
    house.repository().cancel_upload(upload.id.as_str()).await.unwrap();
}

#[tokio::test]
async fn the_sweep_ends_uploads_whoever_began_them() {
    let house = House::new(Limits { upload_expiry: HOUR, ..Limits::default() });
    for actor in ["alice", "bob", ""] {
        house.seen_by(actor, "team/app").start_upload(Algorithm::Sha256).await.unwrap();
    }
    house.clock.advance(2 * HOUR);
    assert_eq!(house.registry.sweep(false).await.unwrap().uploads, 3);
}

#[tokio::test]
async fn a_blob_belongs_to_its_repository_and_not_to_who_pushed_it() {
    let house = House::new(Limits::default());
    let digest = Algorithm::Sha256.digest(b"shared");
    house.seen_by("alice", "team/app").push_blob(&digest, None, source("shared")).await.unwrap();
    assert_eq!(house.seen_by("bob", "team/app").blob_size(&digest).await.unwrap().0, 6);
    let link = house.own.metadata.blob(&"team/app".parse().unwrap(), &digest).await.unwrap();
    assert_eq!(link, Some(BlobLink { digest, size: 6 }));
}
