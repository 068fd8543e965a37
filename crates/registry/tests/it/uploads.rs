//! Whose an upload is.

use entrepot_metadata::{BlobLink, UploadId};
use entrepot_oci::Algorithm;
use entrepot_registry::{Chunk, Error, Limits, Repository};

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
        (length > 0).then(|| (Ok(bytes::Bytes::copy_from_slice(&buffer[..length])), body))
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
