//! A blob on its way from its upstream: asked for again behind the last byte that came, whenever the upstream breaks off.

use std::time::Duration;

use bytes::Bytes;
use entrepot_oci::{ByteRange, Digest};
use entrepot_upstream::{BlobBody, BlobFrom, BlobResponse, ServedBy};
use futures_util::{Stream, StreamExt};

use crate::Error;
use crate::limits::{FILL_BACKOFF, FILL_TRIES_MAX, RESUME_WAIT_MAX};
use crate::proxied::{Proxied, advance};

/// The bytes of a blob from some byte on, in order, as they come. They are not verified.
pub(crate) struct Transfer {
    proxied: Proxied,
    digest: Digest,
    /// The position in the blob of the byte that comes next.
    position: u64,
    /// Where it ends, if that is known: an answer that ends before is gone on with.
    end: Option<u64>,
    /// Up to where the upstream is asked, when it is not asked for all that follows.
    until: Option<u64>,
    /// The size of the whole blob, as the upstream told.
    total: Option<u64>,
    body: BlobBody,
    /// Who sent it, in turn: one after each time that it broke off.
    served_by: Vec<ServedBy>,
    /// How many bytes come first that were not asked for: an upstream that ignores ranges begins at 0 again.
    skipped: u64,
    tries_without_progress: u32,
}

impl Transfer {
    /// Asks for the blob from the byte `first` on, up to `until` where it is not wanted to its end. Clients wait for this: a passing
    /// failure is tried again, but not for long.
    pub(crate) async fn begin(proxied: Proxied, digest: Digest, first: u64, until: Option<u64>) -> Result<Self, Error> {
        let mut tries = 1;
        loop {
            match proxied.ask_for_blob(&digest, part(first, until)).await {
                Ok(BlobResponse { first: answered, total, served_by, body }) => {
                    let skipped = first.saturating_sub(answered);
                    let (position, end) = (first, until.or(total));
                    let tries_without_progress = 0;
                    return Ok(Self {
                        proxied,
                        digest,
                        position,
                        end,
                        until,
                        total,
                        body,
                        served_by: vec![served_by],
                        skipped,
                        tries_without_progress,
                    });
                }
                Err(error) if is_worth_repeating(&error) && tries < FILL_TRIES_MAX => {
                    tokio::time::sleep(back_off(tries)).await;
                }
                Err(error) => return Err(proxied.blob_error(error, &digest)),
            }
            tries += 1;
        }
    }

    /// The size of the whole blob, as the upstream told with its first answer.
    pub(crate) const fn total(&self) -> Option<u64> {
        self.total
    }

    /// Says where the blob ends, when that is known better than from the upstream.
    pub(crate) const fn ends_at(&mut self, end: Option<u64>) {
        if end.is_some() {
            self.end = end;
        }
    }

    /// The next bytes; nothing behind the last. Between them it may wait for the upstream to come back.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            match self.body.next().await {
                Some(Ok(mut piece)) => {
                    self.skipped -= advance(&mut piece, self.skipped);
                    if piece.is_empty() {
                        continue;
                    }
                    self.position += piece.len() as u64;
                    self.tries_without_progress = 0;
                    self.proxied.metrics().fill_bytes.inc_by(piece.len() as u64);
                    return Ok(Some(piece));
                }
                None if self.end.is_none_or(|end| self.position >= end) => return Ok(None),
                // What breaks behind the last byte has broken nothing.
                Some(Err(_)) if self.end.is_some_and(|end| self.position >= end) => return Ok(None),
                None => {}
                Some(Err(error)) => tracing::debug!(
                    digest = %self.digest, received = self.position, error = &error as &dyn std::error::Error,
                    "a transfer broke off"
                ),
            }
            self.resume().await?;
        }
    }

    /// Asks the registry itself again, for what is missing: an address that it sent us to may have expired.
    ///
    /// The blob was there a moment ago. So a refusal is not believed at once either: storage refuses what was signed for too short a
    /// time, and one of several servers may not have it yet.
    async fn resume(&mut self) -> Result<(), Error> {
        let mut asked_to_wait = Duration::ZERO;
        let mut refusal = None;
        loop {
            self.tries_without_progress += 1;
            let tries = self.tries_without_progress;
            if tries >= FILL_TRIES_MAX {
                let broken = Error::FillBroken { digest: self.digest.clone(), received: self.position, tries };
                return Err(refusal.map_or(broken, |error| self.proxied.blob_error(error, &self.digest)));
            }
            tokio::time::sleep(back_off(tries).max(asked_to_wait)).await;
            match self.proxied.ask_for_blob(&self.digest, part(self.position, self.until)).await {
                Ok(response) if response.first <= self.position => {
                    self.skipped = self.position - response.first;
                    self.body = response.body;
                    self.note_server(response.served_by);
                    self.proxied.metrics().fills_resumed.inc();
                    return Ok(());
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!(
                        digest = %self.digest, received = self.position, error = &error as &dyn std::error::Error,
                        "a transfer could not be resumed yet"
                    );
                    match wait_before_resuming(&error) {
                        Some(wait) => asked_to_wait = wait,
                        None => return Err(self.proxied.blob_error(error, &self.digest)),
                    }
                    refusal = (!error.is_temporary()).then_some(error);
                }
            }
        }
    }

    /// Says that what came is not what was asked for. Mirrors that had a part in it are not asked for a while, so that the next try
    /// gets it from elsewhere.
    pub(crate) fn distrust_mirrors(&self) {
        for server in self.served_by.iter().filter(|server| server.is_mirror()) {
            tracing::warn!(
                digest = %self.digest, mirror.name = server.name(), remote.name = self.proxied.remote().name(),
                "a mirror had a part in a blob that is not what its digest says, and is not asked for a while"
            );
            server.distrust();
        }
    }

    /// One entry for each server, however often it breaks off.
    fn note_server(&mut self, server: ServedBy) {
        if self.served_by.iter().all(|known| known.name() != server.name()) {
            self.served_by.push(server);
        }
    }

    /// The same as a stream.
    pub(crate) fn stream(&mut self) -> impl Stream<Item = Result<Bytes, Error>> + Send {
        futures_util::stream::try_unfold(self, |transfer| async move {
            Ok(transfer.next().await?.map(|piece| (piece, transfer)))
        })
    }
}

/// What to ask the upstream for.
fn part(first: u64, until: Option<u64>) -> BlobFrom {
    match until.and_then(|until| ByteRange::new(first, until.checked_sub(1)?)) {
        Some(range) => BlobFrom::Range(range),
        None => BlobFrom::Offset(first),
    }
}

/// Whether the first question may be repeated while clients wait: after what fails fast and passes fast. A silent upstream has
/// used up their patience already, and one that asks for patience is not helped by more questions.
const fn is_worth_repeating(error: &entrepot_upstream::Error) -> bool {
    use entrepot_upstream::Error as Upstream;
    matches!(
        error,
        Upstream::Unreachable { .. }
            | Upstream::Interrupted { .. }
            // A circle, 508, stays one.
            | Upstream::Unavailable { retry_after: None, status: ..=507 | 509.. , .. }
    )
}

/// How long to leave the upstream alone in the middle of a blob, at least; nothing when asking again cannot help or has to wait for
/// longer than the clients do.
fn wait_before_resuming(error: &entrepot_upstream::Error) -> Option<Duration> {
    use entrepot_upstream::Error as Upstream;
    match error {
        Upstream::RateLimited { retry_after, .. }
        | Upstream::Suspended { retry_after, .. }
        | Upstream::Unavailable { retry_after: Some(retry_after), .. } => {
            (*retry_after <= RESUME_WAIT_MAX).then_some(*retry_after)
        }
        Upstream::CredentialsRefused { .. } | Upstream::AddressRefused { .. } | Upstream::UntrustedRealm { .. } => None,
        _ => Some(Duration::ZERO),
    }
}

fn back_off(tries: u32) -> Duration {
    FILL_BACKOFF * 2_u32.saturating_pow(tries.saturating_sub(1))
}
