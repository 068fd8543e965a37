//! The pace of clients, in a time that passes at once.

use std::sync::atomic::AtomicUsize;
use std::task::Waker;

use futures_util::FutureExt;
use h2::client::SendRequest;
use h2::{Reason, RecvStream};
use http_body_util::{BodyExt, Full, StreamBody};
use tokio::io::DuplexStream;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::*;

const STALL: Duration = limits::STREAM_STALL_TIMEOUT;

/// What a response consists of.
#[derive(Clone, Copy)]
enum Answer {
    Endless,
    /// Nothing for hours, and then twelve bytes.
    Late,
    /// Twelve bytes so many times, and then a failure.
    Broken(usize),
}

fn body(answer: Answer) -> Body {
    let frame = |size: usize| Ok::<_, Infallible>(Frame::data(Bytes::from(vec![7; size])));
    match answer {
        Answer::Endless => {
            let large = Bytes::from(vec![7; 10 * limits::STREAM_PIECE]);
            let frames = futures_util::stream::repeat_with(move || Ok::<_, Infallible>(Frame::data(large.clone())));
            Body::new(StreamBody::new(frames))
        }
        Answer::Late => {
            let frames = Box::pin(futures_util::stream::once(async move {
                tokio::time::sleep(10 * STALL).await;
                frame(12)
            }));
            Body::new(StreamBody::new(frames))
        }
        Answer::Broken(count) => {
            let frames = (0..count).map(|_| Ok(Frame::data(Bytes::from_static(&[7; 12]))));
            let frames = frames.chain([Err(std::io::Error::other("for a test"))]);
            Body::new(StreamBody::new(futures_util::stream::iter(frames)))
        }
    }
}

/// A client of a connection that answers every request in the same way.
async fn client(answer: Answer) -> SendRequest<Bytes> {
    let (near, far): (DuplexStream, DuplexStream) = tokio::io::duplex(1 << 20);
    let answerer = Answerer::new(move |_| async move { Response::new(body(answer)) });
    let peer = Peer::new(([127, 0, 0, 1], 1).into(), false);
    let tasks = TaskTracker::new();
    tasks.spawn(async move {
        serve(near, Backlog::default(), answerer, peer, &ConnectionLimits::default(), Ending::default()).await;
    });
    let (requests, connection) = h2::client::handshake(far).await.expect("a preface");
    tasks.spawn(connection);
    requests
}

async fn get(requests: &mut SendRequest<Bytes>) -> RecvStream {
    let request = Request::get("https://a/").body(()).expect("legal");
    let (response, _) = requests.send_request(request, true).expect("room");
    response.await.expect("an answer").into_body()
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_that_goes_on_is_served() {
    let mut requests = client(Answer::Endless).await;
    let mut body = get(&mut requests).await;
    for _ in 0..50 {
        let data = body.data().await.expect("no end").expect("no reset");
        assert!(data.len() <= limits::STREAM_PIECE);
        // The window is opened by halves, which is two or three frames.
        body.flow_control().release_capacity(data.len()).expect("open");
        tokio::time::sleep(STALL.mul_f64(0.2)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_stops_is_waited_for_and_then_reset() {
    let mut requests = client(Answer::Endless).await;
    let mut body = get(&mut requests).await;
    let started = Instant::now();
    let error = loop {
        match body.data().await.expect("no good end") {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error.reason(), Some(Reason::CANCEL));
    assert!((STALL..2 * STALL).contains(&started.elapsed()), "{:?}", started.elapsed());
}

#[tokio::test]
async fn what_comes_before_the_failure_of_a_body_arrives() {
    for count in [0, 1, 3] {
        let mut requests = client(Answer::Broken(count)).await;
        let mut body = get(&mut requests).await;
        let mut received = 0;
        let error = loop {
            match body.data().await.expect("no good end") {
                Ok(data) => received += data.len(),
                Err(error) => break error,
            }
        };
        assert_eq!((received, error.is_reset()), (count * 12, true));
    }
}

/// A read buffer as a store lends it; all that exist are counted.
struct Lent(Vec<u8>, Arc<AtomicUsize>);

impl Lent {
    fn bytes(count: &Arc<AtomicUsize>) -> Bytes {
        count.fetch_add(1, Ordering::Relaxed);
        Bytes::from_owner(Self(vec![7; 64 << 10], Arc::clone(count)))
    }
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.1.fetch_sub(1, Ordering::Relaxed);
    }
}

#[tokio::test(start_paused = true)]
async fn responses_on_a_socket_that_nobody_reads_hold_two_buffers_each_at_most() {
    const RESPONSES: usize = 64;
    let count = Arc::<AtomicUsize>::default();
    let (near, far): (DuplexStream, DuplexStream) = tokio::io::duplex(1 << 20);
    let lent = Arc::clone(&count);
    let answerer = Answerer::new(move |_| {
        let lent = Arc::clone(&lent);
        let frames = futures_util::stream::repeat_with(move || Ok::<_, Infallible>(Frame::data(Lent::bytes(&lent))));
        async move { Response::new(Body::new(StreamBody::new(frames))) }
    });
    let peer = Peer::new(([127, 0, 0, 1], 1).into(), false);
    TaskTracker::new().spawn(async move {
        serve(near, Backlog::default(), answerer, peer, &ConnectionLimits::default(), Ending::default()).await;
    });
    // Windows without end: what stops the responses is the socket alone.
    let (mut requests, mut connection) = h2::client::Builder::new()
        .initial_window_size(1 << 30)
        .initial_connection_window_size(1 << 30)
        .handshake::<_, Bytes>(far)
        .await
        .expect("a preface");
    let mut responses = Vec::new();
    for _ in 0..RESPONSES {
        let request = Request::get("https://a/").body(()).expect("legal");
        responses.push(requests.send_request(request, true).expect("room"));
    }
    // They are sent, and nothing is read any more.
    assert!(connection.poll_unpin(&mut Context::from_waker(Waker::noop())).is_pending());
    tokio::time::sleep(Duration::from_secs(1)).await;
    let lent = count.load(Ordering::Relaxed);
    assert!((RESPONSES..=2 * RESPONSES).contains(&lent), "{lent} buffers for {RESPONSES} responses");
}

#[tokio::test(start_paused = true)]
async fn a_response_that_we_are_late_with_is_not_held_against_the_client() {
    let mut requests = client(Answer::Late).await;
    let mut body = get(&mut requests).await;
    assert_eq!(body.data().await.expect("no end").expect("no reset").len(), 12);
    assert!(body.data().await.is_none_or(|end| end.is_ok_and(|end| end.is_empty())));
}

#[tokio::test]
async fn lengths_are_told_as_over_http_1() {
    let full = || Body::new(Full::new(Bytes::from_static(b"abc")));
    let rows = [
        (StatusCode::OK, false, full(), Some("3")),
        (StatusCode::OK, true, full(), Some("3")),
        (StatusCode::ACCEPTED, false, Body::empty(), Some("0")),
        (StatusCode::OK, true, Body::empty(), None),
        (StatusCode::NO_CONTENT, false, Body::empty(), None),
        (StatusCode::NOT_MODIFIED, false, Body::empty(), None),
        (StatusCode::OK, false, body(Answer::Endless), None),
    ];
    for (index, (status, is_head, body, expected)) in rows.into_iter().enumerate() {
        let mut response = Response::new(body);
        *response.status_mut() = status;
        let response = paced(response, is_head);
        let length = response.headers().get(CONTENT_LENGTH).map(|length| length.to_str().expect("text").to_owned());
        assert_eq!(length.as_deref(), expected, "row {index}");
        assert!(!is_head || response.body().is_end_stream());
    }
}

#[tokio::test]
async fn a_body_comes_in_pieces_and_whole() {
    let large: Vec<u8> = (0..100_000_u32).map(|index| index.to_le_bytes()[0]).collect();
    let response = paced(Response::new(Body::from(large.clone())), false);
    assert_eq!(response.headers()[CONTENT_LENGTH], "100000");
    let mut body = response.into_body();
    let mut received = Vec::new();
    while let Some(frame) = body.frame().await {
        let piece = frame.expect("no failure").into_data().expect("data");
        assert!(piece.len() <= limits::STREAM_PIECE);
        received.extend_from_slice(&piece);
    }
    assert_eq!(received, large);
}
