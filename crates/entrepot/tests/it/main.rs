//! The whole server over real sockets: the protocol rule by rule, pulling through, and faults.

mod access;
mod admin;
mod architecture;
mod blob_body;
mod command;
mod command_line;
mod crash;
mod deploy;
mod docs;
mod operator;
mod protocol;
mod proxied;
mod remembered;
mod scaled;
mod secrets;
mod shared;
mod start;
mod support;
mod users;
