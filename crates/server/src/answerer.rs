//! Whatever answers requests, as connections see it.
//!
//! One type for all of them, behind a pointer: HTTP/1 and HTTP/2 are compiled once, in this crate and as fast as it is. Generic over
//! what answers, they would be compiled for each of them, and in the program that names it, most of which is made small.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use http::Request;
use tower::ServiceExt;

/// An answer that is being made.
type Answering = Pin<Box<dyn Future<Output = Response> + Send>>;

/// Answers requests. Cheap to clone.
#[derive(Clone)]
pub struct Answerer(Arc<dyn Fn(Request<Body>) -> Answering + Send + Sync>);

impl Answerer {
    /// Of a function that answers.
    pub(crate) fn new<F>(answer: impl Fn(Request<Body>) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Response> + Send + 'static,
    {
        Self(Arc::new(move |request| Box::pin(answer(request))))
    }

    /// The answer to a request, whatever becomes of it.
    pub fn answer(&self, request: Request<Body>) -> impl Future<Output = Response> + Send + use<> {
        (self.0)(request)
    }
}

impl From<Router> for Answerer {
    fn from(router: Router) -> Self {
        Self::new(move |request| {
            let answer = router.clone().oneshot(request);
            async move {
                let Ok(response) = answer.await;
                response
            }
        })
    }
}

impl fmt::Debug for Answerer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Answerer").finish_non_exhaustive()
    }
}
