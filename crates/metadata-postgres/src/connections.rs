//! The connections for requests: having one, sending a statement, and what happens when that fails.
//!
//! Every call is one statement, but for a few. What a statement does is one transaction, so it either happened or did not; when the
//! connection is lost before the answer nobody knows which. [`Repeat`] says of each call what is done then.

use std::time::{Duration, Instant};

use deadpool_postgres::{Client, Manager, Object, Pool, Timeouts};
use entrepot_metadata::Error;
use futures_util::future::BoxFuture;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::failure::{self, NotAvailable, Verdict};
use crate::limits::{CONFLICTS_MAX, CONNECT_WAIT_MAX, PAUSE_FIRST, PAUSE_MAX, STATEMENT_GRACE};
use crate::metrics::{Metrics, Retry};

/// What is bound to a statement.
pub(crate) type Parameters<'a> = &'a [&'a (dyn ToSql + Sync)];

/// What is done when the answer was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// It is sent again. Twice is the same as once, or the caller looks at [`Answer::is_repeated`].
    Yes,
    /// The caller of the store hears that it is unavailable: twice would be more than once.
    No,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) rows: Vec<Row>,
    /// Whether it was sent before and may have happened then.
    pub(crate) is_repeated: bool,
}

/// The pool, and how long everything may take.
#[derive(Debug)]
pub(crate) struct Connections {
    pool: Pool,
    acquire_timeout: Duration,
    statement_timeout: Duration,
    metrics: Metrics,
}

impl Connections {
    pub(crate) fn new(
        manager: Manager,
        connections_max: usize,
        acquire_timeout: Duration,
        statement_timeout: Duration,
    ) -> Result<Self, deadpool_postgres::BuildError> {
        let pool = Pool::builder(manager)
            .max_size(connections_max.max(1))
            .runtime(deadpool_postgres::Runtime::Tokio1)
            .build()?;
        let metrics = Metrics::default();
        metrics.connections_max.set(i64::try_from(connections_max.max(1)).unwrap_or(i64::MAX));
        Ok(Self { pool, acquire_timeout, statement_timeout, metrics })
    }

    pub(crate) const fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Closes every connection that is not in use, and refuses new ones.
    pub(crate) fn close(&self) {
        self.pool.close();
    }

    /// Sends a statement.
    pub(crate) async fn send(&self, repeat: Repeat, sql: &str, parameters: Parameters<'_>) -> Result<Answer, Error> {
        let mut attempts = Attempts::start(self);
        loop {
            let client = attempts.connect().await?;
            let sent = self.limited(query(&client, sql, parameters)).await;
            if let Some(rows) = attempts.after(client, repeat, sent).await? {
                return Ok(Answer { rows, is_repeated: attempts.is_repeated });
            }
        }
    }

    /// Sends a look-up.
    pub(crate) async fn rows(&self, sql: &str, parameters: Parameters<'_>) -> Result<Vec<Row>, Error> {
        Ok(self.send(Repeat::Yes, sql, parameters).await?.rows)
    }

    /// Sends a statement that has one row or none.
    pub(crate) async fn row(&self, sql: &str, parameters: Parameters<'_>) -> Result<Option<Row>, Error> {
        Ok(self.rows(sql, parameters).await?.into_iter().next())
    }

    /// Does several statements in one transaction, which ends with `COMMIT` or, for `None`, without having happened. `true` beside the
    /// result says that it was sent before and may have happened then.
    pub(crate) async fn transaction<T, Work>(&self, repeat: Repeat, work: Work) -> Result<(T, bool), Error>
    where
        T: Send,
        Work: for<'c> Fn(&'c Client) -> BoxFuture<'c, Result<(T, Ending), tokio_postgres::Error>> + Send + Sync,
    {
        let mut attempts = Attempts::start(self);
        loop {
            let mut client = WhileOpen(Some(attempts.connect().await?));
            let Some(connection) = &client.0 else { unreachable!("it was just put there") };
            let sent = self.limited(in_transaction(connection, &work)).await;
            let Some(client) = client.0.take() else { unreachable!("nobody else takes it") };
            if let Some(done) = attempts.after(client, repeat, sent).await? {
                return Ok((done, attempts.is_repeated));
            }
        }
    }

    /// Waits for an answer as long as a statement may take, and a little more.
    async fn limited<T>(
        &self,
        answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<Result<T, tokio_postgres::Error>, NotAvailable> {
        self.metrics.statements.inc();
        let limit = self.statement_timeout + STATEMENT_GRACE;
        tokio::time::timeout(limit, answer).await.map_err(|_| NotAvailable::NoAnswer(limit))
    }

    /// Shows how the pool is.
    pub(crate) fn observe(&self) {
        let status = self.pool.status();
        let gauged = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.metrics.connections.set(gauged(status.size));
        self.metrics.connections_idle.set(gauged(status.available));
        self.metrics.waiting.set(gauged(status.waiting));
    }
}

/// How a transaction of several statements ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Commit,
    RollBack,
}

/// A connection with an open transaction. When the caller leaves in the middle it is closed, and never used by somebody else as it is.
struct WhileOpen(Option<Client>);

impl Drop for WhileOpen {
    fn drop(&mut self) {
        drop(self.0.take().map(Object::take));
    }
}

async fn query(client: &Client, sql: &str, parameters: Parameters<'_>) -> Result<Vec<Row>, tokio_postgres::Error> {
    let statement = client.prepare_cached(sql).await?;
    client.query(&statement, parameters).await
}

async fn in_transaction<T, Work>(client: &Client, work: &Work) -> Result<T, tokio_postgres::Error>
where
    Work: for<'c> Fn(&'c Client) -> BoxFuture<'c, Result<(T, Ending), tokio_postgres::Error>>,
{
    client.batch_execute("BEGIN").await?;
    match work(client).await {
        Ok((done, ending)) => {
            client.batch_execute(if ending == Ending::Commit { "COMMIT" } else { "ROLLBACK" }).await?;
            Ok(done)
        }
        Err(error) => {
            // A connection that cannot even do this is closed, or will be found to be.
            drop(client.batch_execute("ROLLBACK").await);
            Err(error)
        }
    }
}

/// The attempts of one call.
struct Attempts<'a> {
    connections: &'a Connections,
    started: Instant,
    count: u32,
    conflicts: u32,
    is_repeated: bool,
}

impl<'a> Attempts<'a> {
    fn start(connections: &'a Connections) -> Self {
        Self { connections, started: Instant::now(), count: 0, conflicts: 0, is_repeated: false }
    }

    fn remaining(&self, limit: Duration) -> Duration {
        limit.saturating_sub(self.started.elapsed())
    }

    /// How long the whole call may take.
    fn call_limit(&self) -> Duration {
        self.connections.acquire_timeout + self.connections.statement_timeout
    }

    /// A connection. One that cannot be made is tried again for as long as a request may wait for one: a failover takes seconds.
    async fn connect(&mut self) -> Result<Client, Error> {
        let limit = self.connections.acquire_timeout;
        // What was lost late may still be repeated, on a connection that is there or quickly made.
        let until = self.started.elapsed().saturating_add(limit).min(self.call_limit());
        loop {
            let remaining = self.remaining(until);
            let timeouts = Timeouts {
                wait: Some(remaining),
                create: Some(remaining.min(CONNECT_WAIT_MAX)),
                recycle: Some(remaining),
            };
            let got = self.connections.pool.timeout_get(&timeouts).await;
            self.connections.observe();
            let (error, may_help) = match got {
                Ok(client) => return Ok(client),
                Err(error) => failure::not_connected(error, limit),
            };
            if !may_help || self.remaining(until).is_zero() {
                self.connections.metrics.count_failure(&error);
                return Err(error);
            }
            self.connections.metrics.count_retry(Retry::Unreachable);
            self.pause(self.remaining(until)).await;
        }
    }

    /// What an attempt came to: its result, an error, or `None` when it is to be made again.
    async fn after<T>(
        &mut self,
        client: Client,
        repeat: Repeat,
        sent: Result<Result<T, tokio_postgres::Error>, NotAvailable>,
    ) -> Result<Option<T>, Error> {
        let metrics = &self.connections.metrics;
        let verdict = match sent {
            Ok(Ok(result)) => return Ok(Some(result)),
            Ok(Err(error)) => failure::judge(error, client.is_closed()),
            Err(silence) => Verdict::Lost(silence.error()),
        };
        let (error, reason) = match verdict {
            Verdict::Conflict(error) => {
                drop(client);
                self.conflicts += 1;
                if self.conflicts > CONFLICTS_MAX {
                    metrics.count_failure(&error);
                    return Err(error);
                }
                (error, Retry::Conflict)
            }
            // Whatever is the matter with the connection, or with the server at its other end, it is not used again.
            Verdict::Refused(error) => {
                drop(Object::take(client));
                (error, Retry::Refused)
            }
            Verdict::Lost(error) => {
                drop(Object::take(client));
                if repeat == Repeat::No {
                    metrics.count_failure(&error);
                    return Err(NotAvailable::AnswerLost(Box::new(error)).error());
                }
                self.is_repeated = true;
                (error, Retry::Lost)
            }
            Verdict::Final(error) => {
                metrics.count_failure(&error);
                return Err(error);
            }
        };
        let remaining = self.remaining(self.call_limit());
        if remaining.is_zero() {
            metrics.count_failure(&error);
            return Err(error);
        }
        metrics.count_retry(reason);
        self.pause(remaining).await;
        Ok(None)
    }

    async fn pause(&mut self, remaining: Duration) {
        let longest = PAUSE_FIRST.saturating_mul(1 << self.count.min(10)).min(PAUSE_MAX).min(remaining);
        self.count += 1;
        tokio::time::sleep(longest.mul_f64(rand::random_range(0.5..1.0))).await;
    }
}
