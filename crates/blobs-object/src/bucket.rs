//! A bucket, as the store uses it: a few requests, each of which fails in words.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use entrepot_blobs::{Error, SignedUrl};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::signer::Signer;
use object_store::{CopyOptions, GetOptions, GetRange, ObjectStore, PutMode, PutOptions, PutPayload};

use crate::failure::{failed, is_without_bucket, senseless};
use crate::limits::SMALL_OBJECT_BYTES_MAX;

/// One bucket. Clones are the same.
#[derive(Clone)]
pub(crate) struct Bucket {
    objects: Arc<dyn ObjectStore>,
    multipart: Arc<dyn MultipartStore>,
    signer: Option<Arc<dyn Signer>>,
    /// The same for all that are one bucket.
    identity: Arc<str>,
    conditional_put: bool,
}

/// An object of a list.
#[derive(Clone, Debug)]
pub(crate) struct Listed {
    pub(crate) key: Path,
    pub(crate) size: u64,
    pub(crate) modified: SystemTime,
}

impl Bucket {
    pub(crate) fn new<S: ObjectStore + MultipartStore>(
        store: Arc<S>,
        signer: Option<Arc<dyn Signer>>,
        identity: String,
        conditional_put: bool,
    ) -> Self {
        Self { objects: Arc::clone(&store) as _, multipart: store, signer, identity: identity.into(), conditional_put }
    }

    /// Whether both are one bucket, so that one can copy from the other.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.identity == other.identity
    }

    /// The size of an object as a quick question finds it. That it finds nothing is not the last word.
    pub(crate) async fn head(&self, key: &Path) -> Result<Option<u64>, Error> {
        let options = GetOptions { head: true, ..GetOptions::default() };
        let answer = self.objects.get_opts(key, options).await.map(|object| object.meta.size);
        present("look at", key, answer)
    }

    /// The size of an object as whoever begins to read it finds it: what a question about it alone did not see, a store that answers
    /// such questions from somewhere else may still have.
    pub(crate) async fn size_of_readable(&self, key: &Path) -> Result<Option<u64>, Error> {
        let answer = self.objects.get_opts(key, GetOptions::default()).await.map(|object| object.meta.size);
        present("read", key, answer)
    }

    /// A small object, whole.
    pub(crate) async fn get(&self, key: &Path) -> Result<Option<Bytes>, Error> {
        let answer = self.objects.get_opts(key, GetOptions::default()).await;
        let Some(object) = present("read", key, answer)? else { return Ok(None) };
        if object.meta.size > SMALL_OBJECT_BYTES_MAX {
            return Err(senseless("read", key, format!("it has {} bytes, which is not ours", object.meta.size)));
        }
        object.bytes().await.map(Some).map_err(|error| failed("read", key, &error))
    }

    /// The bytes of an object from `first` on and before `end`; `None` when it is not there.
    pub(crate) async fn read(
        &self,
        key: &Path,
        first: u64,
        end: u64,
    ) -> Result<Option<BoxStream<'static, object_store::Result<Bytes>>>, Error> {
        let options = GetOptions { range: Some(GetRange::Bounded(first..end)), ..GetOptions::default() };
        let answer = self.objects.get_opts(key, options).await;
        Ok(present("read", key, answer)?.map(object_store::GetResult::into_stream))
    }

    /// Writes an object, in place of whatever is there.
    pub(crate) async fn put(&self, key: &Path, payload: PutPayload) -> Result<(), Error> {
        let written = self.objects.put_opts(key, payload, PutOptions::default()).await;
        written.map(|_| ()).map_err(|error| failed("write", key, &error))
    }

    /// Writes an object where there is none; `false` when there is one, which may be what an earlier attempt of the same request wrote.
    /// Where the store cannot be asked for that, whatever is there is replaced.
    pub(crate) async fn put_new(&self, key: &Path, payload: PutPayload) -> Result<bool, Error> {
        if !self.conditional_put {
            return self.put(key, payload).await.map(|()| true);
        }
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self.objects.put_opts(key, payload, options).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => Ok(false),
            Err(error) => Err(failed("write", key, &error)),
        }
    }

    /// Removes an object; succeeds when it is gone already.
    pub(crate) async fn delete(&self, key: &Path) -> Result<(), Error> {
        let mut deleted = self.objects.delete_stream(futures_util::stream::iter([Ok(key.clone())]).boxed());
        while let Some(deleted) = deleted.next().await {
            present("remove", key, deleted)?;
        }
        Ok(())
    }

    /// Copies an object within the bucket; `false` when it is not there.
    pub(crate) async fn copy(&self, from: &Path, to: &Path) -> Result<bool, Error> {
        let copied = self.objects.copy_opts(from, to, CopyOptions::default()).await;
        Ok(present("copy", from, copied)?.is_some())
    }

    /// What is below `prefix`, as far as the store tells: something that was written a moment ago may be missing.
    pub(crate) async fn list(&self, prefix: &Path) -> Result<Vec<Listed>, Error> {
        let listed = self.objects.list(Some(prefix)).map_ok(|object| Listed {
            key: object.location,
            size: object.size,
            modified: object.last_modified.into(),
        });
        listed.try_collect().await.map_err(|error| failed("list", prefix, &error))
    }

    pub(crate) async fn create_multipart(&self, key: &Path) -> Result<String, Error> {
        let created = self.multipart.create_multipart(key).await;
        created.map_err(|error| failed("begin an upload to", key, &error))
    }

    /// Uploads a part and returns what the store calls it; `None` when the upload is not there, so somebody has ended it.
    pub(crate) async fn put_part(
        &self,
        key: &Path,
        id: &str,
        index: u32,
        payload: PutPayload,
    ) -> Result<Option<String>, Error> {
        let part = self.multipart.put_part(key, &id.to_owned(), index as usize, payload).await;
        Ok(present("upload a part of", key, part)?.map(|part| part.content_id))
    }

    /// Makes one object of its parts; `false` when the upload is not there, which may mean that an earlier attempt was heard.
    pub(crate) async fn complete_multipart(&self, key: &Path, id: &str, parts: Vec<String>) -> Result<bool, Error> {
        let parts = parts.into_iter().map(|content_id| PartId { content_id }).collect();
        let completed = self.multipart.complete_multipart(key, &id.to_owned(), parts).await;
        Ok(present("complete the upload of", key, completed)?.is_some())
    }

    /// Forgets an upload and its parts; succeeds when it is gone already.
    pub(crate) async fn abort_multipart(&self, key: &Path, id: &str) -> Result<(), Error> {
        let aborted = self.multipart.abort_multipart(key, &id.to_owned()).await;
        present("give up the upload of", key, aborted).map(|_| ())
    }

    pub(crate) async fn sign(&self, key: &Path, lasts: Duration) -> Result<Option<SignedUrl>, Error> {
        let Some(signer) = &self.signer else { return Ok(None) };
        let url = signer.signed_url(http::Method::GET, key, lasts).await;
        url.map(|url| Some(SignedUrl::new(url.into()))).map_err(|error| failed("sign a URL of", key, &error))
    }
}

impl fmt::Debug for Bucket {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Bucket").field(&self.identity).finish()
    }
}

/// Absence is not an error, unless it is the bucket that is absent.
fn present<T>(operation: &'static str, key: &Path, answer: object_store::Result<T>) -> Result<Option<T>, Error> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error @ object_store::Error::NotFound { .. }) if !is_without_bucket(&error) => Ok(None),
        Err(error) => Err(failed(operation, key, &error)),
    }
}
