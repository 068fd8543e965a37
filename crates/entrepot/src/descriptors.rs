//! File descriptors: as many as the system allows, and no more connections than they suffice for.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises this process's limit to the most that the system allows it, and returns it; `None` where there is none.
///
/// The usual limit of 1,024 is a relic of `select`; the server needs one descriptor for a connection and one for the file
/// that is sent over it.
pub(crate) fn raise_limit() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => maximum,
        Err(error) => {
            tracing::debug!(%error, ?current, ?maximum, "the limit of file descriptors stays as it is");
            current
        }
    }
}

/// How many connections so many descriptors suffice for, at most `wanted`. Running out in the middle of a request would fail
/// it; a connection too many is told to come back.
pub(crate) fn connections_for(descriptors: Option<u64>, wanted: usize) -> usize {
    let Some(descriptors) = descriptors else { return wanted };
    let possible = usize::try_from(descriptors / 2).unwrap_or(usize::MAX).max(1);
    if possible < wanted {
        tracing::warn!(
            descriptors,
            wanted,
            possible,
            "fewer connections than server.connections_max: raise the limit of open files (ulimit -n, LimitNOFILE)"
        );
    }
    possible.min(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_needs_two_descriptors() {
        assert_eq!(connections_for(None, 10_000), 10_000);
        assert_eq!(connections_for(Some(1024), 10_000), 512);
        assert_eq!(connections_for(Some(1_000_000), 10_000), 10_000);
        assert_eq!(connections_for(Some(0), 10_000), 1);
    }

    #[test]
    fn the_limit_is_raised_to_the_hard_one() {
        let maximum = getrlimit(Resource::Nofile).maximum;
        assert_eq!(raise_limit(), maximum);
        assert_eq!(getrlimit(Resource::Nofile).current, maximum);
    }
}
