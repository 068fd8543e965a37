//! The client against a real server that lies. Everything is on loopback.

mod authorization;
mod blobs;
mod guard;
mod lists;
mod manifests;
mod names;
mod redirects;
mod refusals;
mod setup;
