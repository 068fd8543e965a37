//! Blobs that the kernel sends: from the page cache to the socket, without a copy of ours.
//!
//! The HTTP library writes what bodies give it, and bodies give it bytes. So a body gives it *placeholders*: slices of one region of
//! memory that nobody ever reads or writes, as long as the part of a file that each stands for. The library counts them, queues
//! them behind the head and hands them to the socket, as it does with every body. Below the library sits [`SendfileSocket`], which
//! knows placeholders by their address and sends the part of the file instead. Nothing is copied, no thread is taken, and what the
//! library does about lengths, keep-alive, pipelining and slow readers holds as it is. It costs what it costs nginx.
//!
//! What must never happen is that a placeholder itself is sent, or another part of a file than the one it stands for. The
//! [`Outbox`] of a connection, which makes placeholders and notes what they stand for, is asked before each write: every slice
//! that is a placeholder must be the one that was made next, at the very address and of the very length that are left of it, and
//! none may be missing, as it would be if somebody on the way had copied it. On any doubt nothing is written and the connection ends.
//!
//! Only plain HTTP/1 sockets have an outbox, which their requests carry among their extensions. Where there is none (TLS,
//! HTTP/2, a request that never was on a socket) blobs are read into memory.

mod outbox;
mod placeholder;
mod socket;

pub(crate) use outbox::Outbox;
pub(crate) use socket::SendfileSocket;

#[cfg(test)]
mod tests;
