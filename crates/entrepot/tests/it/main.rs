//! The whole server over real sockets: the protocol rule by rule, pulling through, and faults.

mod architecture;
mod crash;
mod protocol;
mod proxied;
mod readme;
mod start;
mod support;
