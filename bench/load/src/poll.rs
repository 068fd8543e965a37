//! Many connections on one thread, which sleeps until one of them has something to receive.

use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

use crate::channel::{Bodies, Channel, SCRATCH_BYTES};
use crate::error::Error;

/// A server that says nothing for this long has failed.
const SILENCE: Duration = Duration::from_mins(2);

/// What is asked, and how often.
pub(crate) struct Plan {
    request: Vec<u8>,
    /// Where a number of [`DIGITS`] digits stands in the request, and how many of them there are.
    varying: Option<(usize, u64)>,
    pub(crate) bodies: Bodies,
    pub(crate) duration: Duration,
    pub(crate) requests: usize,
    taken: AtomicUsize,
}

/// How long a number in a path is.
const DIGITS: usize = 7;

/// What the connections of one thread saw.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) whole: Vec<Duration>,
    pub(crate) first_byte: Vec<Duration>,
    /// Of each connection.
    pub(crate) bytes: Vec<u64>,
    /// When each connection had its last answer, for those that had.
    pub(crate) finished: Vec<Duration>,
}

impl Plan {
    /// `{}` in the request is replaced by numbers below `spread`, in an order that looks random.
    pub(crate) fn new(request: &str, spread: u64, bodies: Bodies, duration: Duration, requests: usize) -> Self {
        let varying = request.find("{}").map(|place| (place, spread.max(1)));
        let request = request.replacen("{}", &"0".repeat(DIGITS), 1).into_bytes();
        Self { request, varying, bodies, duration, requests, taken: AtomicUsize::new(0) }
    }

    /// The next request, unless there were enough.
    fn next<'a>(&self, request: &'a mut [u8]) -> Option<&'a [u8]> {
        let number = self.taken.fetch_add(1, Ordering::Relaxed);
        if number >= self.requests {
            return None;
        }
        if let Some((place, spread)) = self.varying {
            // Multiplied by an odd constant, neighbours are far from each other.
            let mixed = (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
            let text = format!("{:0DIGITS$}", mixed % spread);
            request[place..place + DIGITS].copy_from_slice(text.as_bytes());
        }
        Some(request)
    }
}

/// Opens `count` connections, waits until all threads have theirs, asks what the plan says, and waits for the others
/// again before the connections are closed.
pub(crate) fn run(address: &str, count: usize, plan: &Plan, ready: &Barrier, done: &Barrier) -> Result<Seen, Error> {
    let opened = open(address, count);
    ready.wait();
    let (seen, _opened) = match opened {
        Ok((poll, mut channels)) => (ask(&poll, &mut channels, plan), Some((poll, channels))),
        Err(error) => (Err(error), None),
    };
    done.wait();
    seen
}

fn open(address: &str, count: usize) -> Result<(std::os::fd::OwnedFd, Vec<Channel>), Error> {
    let failed = |errno: rustix::io::Errno| Error::socket("watch")(errno.into());
    let poll = epoll::create(CreateFlags::CLOEXEC).map_err(failed)?;
    let channels = (0..count).map(|_| Channel::open(address)).collect::<Result<Vec<_>, _>>()?;
    for (number, channel) in channels.iter().enumerate() {
        epoll::add(&poll, &channel.stream, EventData::new_u64(number as u64), EventFlags::IN).map_err(failed)?;
    }
    Ok((poll, channels))
}

fn ask(poll: &std::os::fd::OwnedFd, channels: &mut [Channel], plan: &Plan) -> Result<Seen, Error> {
    let begun = Instant::now();
    let end = begun + plan.duration;
    let mut seen = Seen::default();
    let mut request = plan.request.clone();
    let mut busy = 0;
    for channel in &mut *channels {
        if let Some(request) = plan.next(&mut request) {
            channel.send(request)?;
            busy += 1;
        }
    }
    let mut scratch = vec![0; SCRATCH_BYTES];
    let mut events = [Event { flags: EventFlags::empty(), data: EventData::new_u64(0) }; 256];
    while busy > 0 {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() && has_anything(&seen, channels) {
            break;
        }
        let timeout = if left.is_zero() { SILENCE } else { left.min(SILENCE) };
        let timeout_spec = Timespec::try_from(timeout).ok();
        let count = match epoll::wait(poll, &mut events, timeout_spec.as_ref()) {
            Ok(count) => count,
            Err(rustix::io::Errno::INTR) => continue,
            Err(errno) => return Err(Error::socket("wait")(errno.into())),
        };
        if count == 0 && timeout == SILENCE {
            return Err(Error::Answer { what: "nothing for two minutes" });
        }
        for event in &events[..count] {
            let number = usize::try_from(event.data.u64()).unwrap_or_default();
            let channel = &mut channels[number];
            let Some(answered) = channel.receive(&mut scratch, plan.bodies)? else { continue };
            seen.whole.push(answered.whole);
            seen.first_byte.push(answered.first_byte);
            if let Some(request) = plan.next(&mut request) {
                channel.send(request)?;
            } else {
                seen.finished.push(begun.elapsed());
                busy -= 1;
            }
        }
    }
    seen.bytes = channels.iter().map(|channel| channel.bytes).collect();
    Ok(seen)
}

/// A time in which nothing came measures nothing: then it is extended, up to the first answer or a good part of one.
fn has_anything(seen: &Seen, channels: &[Channel]) -> bool {
    !seen.whole.is_empty() || channels.iter().any(|channel| channel.bytes >= SCRATCH_BYTES as u64)
}
