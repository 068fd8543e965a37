//! The client against a real server that lies. Everything is on loopback.

mod authorization;
mod blobs;
mod budget;
mod callers;
mod circuit;
mod connections;
mod credential_helper;
mod documents;
mod guard;
mod handshake;
mod lists;
mod manifests;
mod mirrors;
mod names;
mod redirects;
mod refusals;
mod setup;
