//! Every store of this crate runs the suite; what only files can do has its own tests.

mod filesystem;
mod memory;
