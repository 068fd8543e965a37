//! Work on the blocking pool: everything that may wait for a disk.

use std::ops::Deref;

use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

use crate::Error;

/// Runs `work` on the blocking pool. Dropped meanwhile, the work still comes to its end.
pub(crate) async fn run<T: Send + 'static>(
    operation: &'static str,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    spawn_blocking(work).await.unwrap_or(Err(Error::Interrupted { operation }))
}

/// A value whose destructor may wait for a disk, and so runs on the blocking pool.
///
/// The last to close a large file that has no name any more waits until the file system has freed its bytes.
#[derive(Debug)]
pub(crate) struct DroppedThere<T: Send + 'static>(Option<T>);

impl<T: Send> DroppedThere<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(Some(value))
    }
}

impl<T: Send> Deref for DroppedThere<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect("the value is there until it is dropped")
    }
}

impl<T: Send + 'static> Drop for DroppedThere<T> {
    fn drop(&mut self) {
        let value = self.0.take();
        // Outside of a runtime there is nobody else whom the wait could hold up.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn_blocking(move || drop(value));
        }
    }
}
