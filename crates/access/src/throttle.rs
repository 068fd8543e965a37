//! Wrong passwords slow down whoever sends them.
//!
//! Failures are counted by address, those of IPv6 by the /64 that a subscriber has to himself. A success takes nothing back: whoever
//! owns one account could otherwise guess the passwords of all others, one login of his own between every two tries.
//!
//! Counting by user instead would let a stranger lock out somebody whose name he knows.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

use crate::limits::{FAILURES_MAX, FAILURES_WINDOW, THROTTLED_ADDRESSES_MAX};
use crate::refusal::Refusal;

/// Counts the wrong passwords of each address.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    /// Addresses that have failed lately; `None` stands for all requests of which nobody knows where they come from.
    failures: Mutex<HashMap<Option<IpAddr>, Failures>>,
}

/// When an address failed, oldest first: the last [`FAILURES_MAX`] times.
type Failures = VecDeque<Instant>;

impl Throttle {
    /// Whether the address may try a password. What is cheap and known to be right need not ask.
    ///
    /// # Errors
    /// [`Refusal::TooManyAttempts`] when it has failed too often.
    pub(crate) fn check(&self, address: Option<IpAddr>) -> Result<(), Refusal> {
        let now = Instant::now();
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(times) = failures.get_mut(&address.map(subscriber)) else { return Ok(()) };
        times.retain(|time| is_recent(*time, now));
        match times.front() {
            Some(oldest) if times.len() >= FAILURES_MAX => {
                Err(Refusal::TooManyAttempts { retry_after: (*oldest + FAILURES_WINDOW).duration_since(now) })
            }
            _ => Ok(()),
        }
    }

    /// The address has sent a wrong password.
    pub(crate) fn failed(&self, address: Option<IpAddr>) {
        let now = Instant::now();
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let address = address.map(subscriber);
        if failures.len() >= THROTTLED_ADDRESSES_MAX && !failures.contains_key(&address) {
            make_room(&mut failures, now);
        }
        let times = failures.entry(address).or_default();
        times.push_back(now);
        if times.len() > FAILURES_MAX {
            times.pop_front();
        }
    }
}

/// Forgets what is over; where nothing is, the address that has been quiet for longest.
fn make_room(failures: &mut HashMap<Option<IpAddr>, Failures>, now: Instant) {
    failures.retain(|_, times| times.back().is_some_and(|last| is_recent(*last, now)));
    if failures.len() >= THROTTLED_ADDRESSES_MAX
        && let Some(quietest) = failures.iter().min_by_key(|(_, times)| times.back()).map(|(address, _)| *address)
    {
        failures.remove(&quietest);
    }
}

fn is_recent(time: Instant, now: Instant) -> bool {
    now.duration_since(time) < FAILURES_WINDOW
}

/// What stands for everybody behind one connection to the internet: an address of IPv4, also where it is written as one of IPv6, and
/// the first half of one of IPv6.
fn subscriber(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn address(text: &str) -> Option<IpAddr> {
        text.parse().map(Some).unwrap()
    }

    fn fail(throttle: &Throttle, from: Option<IpAddr>, times: usize) {
        (0..times).for_each(|_| throttle.failed(from));
    }

    #[tokio::test(start_paused = true)]
    async fn a11_ten_wrong_passwords_in_a_minute_close_an_address_for_the_rest_of_it() {
        let throttle = Throttle::default();
        let (stranger, other) = (address("192.0.2.1"), address("192.0.2.2"));
        throttle.failed(stranger);
        tokio::time::advance(Duration::from_secs(20)).await;
        fail(&throttle, stranger, FAILURES_MAX - 2);
        throttle.check(stranger).unwrap();
        throttle.failed(stranger);
        let Err(Refusal::TooManyAttempts { retry_after }) = throttle.check(stranger) else { panic!("open") };
        assert_eq!(retry_after, Duration::from_secs(40));
        throttle.check(other).unwrap();
        throttle.check(None).unwrap();

        tokio::time::advance(Duration::from_secs(40)).await;
        throttle.check(stranger).unwrap();
        throttle.failed(stranger);
        let Err(Refusal::TooManyAttempts { retry_after }) = throttle.check(stranger) else { panic!("open") };
        assert_eq!(retry_after, Duration::from_secs(20), "one try more, and the next when the second failure is over");
    }

    #[tokio::test(start_paused = true)]
    async fn a11_an_address_of_ipv6_is_the_subscribers_and_a_mapped_one_that_of_ipv4() {
        let throttle = Throttle::default();
        for host in 0..FAILURES_MAX {
            throttle.failed(address(&format!("2001:db8:0:1::{host:x}")));
            throttle.failed(address("::ffff:192.0.2.1"));
        }
        for closed in ["2001:db8:0:1:ffff::1", "192.0.2.1"] {
            assert!(throttle.check(address(closed)).is_err(), "{closed}");
        }
        for open in ["2001:db8:0:2::1", "192.0.2.2", "::1"] {
            throttle.check(address(open)).expect(open);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_table_of_addresses_is_bounded_and_forgets_the_quietest() {
        let throttle = Throttle::default();
        let nth = |index: usize| Some(IpAddr::from(u32::try_from(index).unwrap().to_be_bytes()));
        fail(&throttle, address("192.0.2.1"), FAILURES_MAX);
        tokio::time::advance(Duration::from_secs(1)).await;
        fail(&throttle, address("192.0.2.2"), FAILURES_MAX);
        tokio::time::advance(Duration::from_secs(1)).await;
        (0..THROTTLED_ADDRESSES_MAX - 1).for_each(|index| throttle.failed(nth(index)));
        assert_eq!(throttle.failures.lock().unwrap().len(), THROTTLED_ADDRESSES_MAX);
        throttle.check(address("192.0.2.1")).unwrap();
        assert!(throttle.check(address("192.0.2.2")).is_err());

        tokio::time::advance(FAILURES_WINDOW).await;
        throttle.failed(nth(THROTTLED_ADDRESSES_MAX));
        assert_eq!(throttle.failures.lock().unwrap().len(), 1, "what is over is forgotten first");
    }
}
