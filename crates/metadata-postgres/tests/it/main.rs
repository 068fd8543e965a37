//! The store on a real PostgreSQL: the suite of every store, and what only this one can go through.

mod moving;
mod outages;
mod schemas;
mod server;
mod suite;
