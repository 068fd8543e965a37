//! Who may do what, asked over the socket: every route by everybody, and what nobody may find out.

mod callers;
mod doors;
mod oidc;
mod oracle;
mod pages;
mod rights;
mod setup;
mod table;
mod uploads;
